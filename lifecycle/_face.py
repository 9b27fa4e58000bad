"""The public faces of the core: which name lives in which private room, and how it is loaded when it is first used.

Who needs a scope does not pay for a pool. The same names, spelled out for type checkers, are in the `.pyi` file of each
face; a test holds the two equal.
"""

import sys
from collections.abc import Callable
from importlib import import_module

#: Not always ``"lifecycle"``: a program may carry its own copy of the package inside of another.
PACKAGE = __package__

#: For each face its homes, and for each home the public names that it defines.
FACES: dict[str, dict[str, str]] = {
    PACKAGE: {
        "_connect.connect": "connect",
        "_connect.dial": "dial dial_tcp dial_tls dial_unix",
        "_connect.stages": "Stages",
        "_ground.errors": "ConnectError ConnectTimeout ConnectionLost CreationTimeout KeyMissing LifecycleError "
        "LimiterFull MailboxEmpty MailboxFull ManagerFull NotConnected OwnerClosed PoolFull PoolTimeout "
        "RegistryFull ReleaseTimeout ServerDraining StillLent SubscriberTooSlow TaskCancelled TaskNotFinished "
        "TimeoutExpired WrongLoop",
        "_group.completions": "as_completed",
        "_group.gather": "amap gather race",
        "_group.group": "TaskGroup",
        "_kept.keep": "keep_connected",
        "_limits.bounds": "Rate limit_by",
        "_limits.limiter": "Limiter",
        "_mailbox.broadcast": "Broadcast",
        "_mailbox.mailbox": "Mailbox",
        "_manager.manager": "TaskManager",
        "_manager.records": "AbandonedTask DrainReport",
        "_pair.link": "link",
        "_pair.pair": "ReaderWorker",
        "_pool.pool": "Pool",
        "_registry.cached": "cached",
        "_registry.lifetimes": "Lifetime",
        "_registry.registrations": "Registration RemovalCause",
        "_registry.registry": "Registry",
        "_retry.retry": "Retry",
        "_run.background": "background create_background_task get_background_manager",
        "_run.run": "run",
        "_scope.resource": "resource",
        "_scope.scope": "Scope",
        "_serve.serve": "serve_tcp serve_unix",
        "_serve.stream": "ServedStream",
        "_snapshot": "Snapshot take_snapshot",
        "_task.handle": "TaskHandle TaskStatus",
        "_timers.timers": "cron fixed_delay fixed_rate once",
    },
    f"{PACKAGE}.hooks": {
        "_manager.hooks": "TaskHooks",
        "_manager.overdue": "QueueAlarm RunAlarm",
        "_timers.records": "TimerHooks",
    },
    f"{PACKAGE}.types": {
        "_connect.attempt": "ConnectAttempt",
        "_connect.state": "AttemptState",
        "_connect.statistics": "ConnectStatistics",
        "_ground.closing": "OwnerState",
        "_group.completions": "Completions",
        "_group.statistics": "TaskGroupStatistics",
        "_kept.kept": "KeptConnection",
        "_kept.records": "ConnectionDown ConnectionUp KeptStatistics",
        "_kept.state": "KeptState",
        "_lender": "ReturnReport",
        "_limits.bounds": "LimitBy",
        "_limits.limiter": "Hold LimiterStatistics TryHold",
        "_mailbox.statistics": "BroadcastStatistics MailboxStatistics",
        "_mailbox.subscription": "Subscription",
        "_manager.records": "TaskManagerStatistics",
        "_pair.ends": "LinkOutcome LoopEnd",
        "_pair.statistics": "ReaderWorkerStatistics",
        "_pool.loans": "Loan TryLoan",
        "_pool.statistics": "PoolStatistics",
        "_registry.cached": "CachedFunction CachedMethod",
        "_registry.leases": "Lease TryLease",
        "_registry.registrations": "RegistrationLease",
        "_registry.statistics": "RegistryStatistics",
        "_retry.attempts": "RetryAttempt",
        "_retry.failure": "RetryFailure",
        "_scope.resource": "OwnedResource ResourceFactory",
        "_scope.statistics": "ScopeStatistics",
        "_serve.connections": "ServerStatistics",
        "_serve.server": "Server",
        "_snapshot": "Growth SnapshotDiff SnapshotNode",
        "_timers.cron": "CronRule",
        "_timers.records": "TimerRun TimerStatistics",
        "_timers.schedule": "RateRule",
        "_timers.timer": "Timer",
    },
}


def face(module: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return the ``__getattr__``, the ``__dir__`` and the ``__all__`` of the face *module*."""
    home_of = {name: home for home, names in FACES[module].items() for name in names.split()}
    every = sorted(home_of)

    def load(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        import typing  # noqa: F401  # all of it: a dataclass takes it as it is, also half imported by another thread

        value = getattr(import_module(f"{PACKAGE}.{home_of[name]}"), name)
        setattr(sys.modules[module], name, value)
        _show_faces()
        return value

    return load, lambda: every, every


def _show_faces() -> None:
    """Let every public name that has been loaded, whoever asked for it, say that it is of its face.

    So tracebacks and pickles speak of ``lifecycle.OwnerClosed``, wherever that lives and will live. The price:
    ``inspect.getsource`` looks for a class in the file of the module that it names, and so finds the source of a public
    class's methods, but not of the class. It says so, where Python has no line of the class; a line of its home would
    make it show what happens to stand in the face. (Python forgets the line itself, unless there is a metaclass.)
    """
    for module, homes in FACES.items():
        for home, names in homes.items():
            loaded = sys.modules.get(f"{PACKAGE}.{home}")
            for name in names.split() if loaded is not None else ():
                value = getattr(loaded, name, None)  # None while the home is being imported
                if value is not None:
                    value.__module__ = module
                    if "__firstlineno__" in vars(value):
                        del value.__firstlineno__
