"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks.

Each name is loaded from its home when it is first used: who needs a scope does not pay for a pool. The same names,
spelled out for type checkers, are in ``__init__.pyi``.
"""

import importlib

__version__ = "0.1.0.dev0"

_NAMES = {
    "_connect.attempt": "ConnectAttempt",
    "_connect.connect": "connect",
    "_connect.dial": "dial dial_tcp dial_tls dial_unix",
    "_connect.retry": "Retry",
    "_connect.stages": "Stages",
    "_connect.state": "AttemptState",
    "_ground.errors": "ConnectError ConnectTimeout CreationTimeout LeakError LifecycleError NoSurroundingRun "
    "ManagerFull OwnerClosed PoolFull PoolTimeout ReleaseTimeout StillLent TaskCancelled TaskNotFinished "
    "TimeoutExpired",
    "_group.completions": "Completions as_completed",
    "_group.gather": "amap gather race",
    "_group.group": "TaskGroup TaskGroupStatistics",
    "_manager.hooks": "TaskHooks",
    "_manager.manager": "TaskManager",
    "_manager.overdue": "QueueAlarm RunAlarm",
    "_manager.records": "AbandonedTask DrainReport TaskManagerStatistics",
    "_pair.ends": "LoopEnd PairOutcome",
    "_pair.pair": "ReaderWorker link",
    "_pool.loans": "Loan TryLoan",
    "_pool.pool": "Pool",
    "_pool.statistics": "PoolStatistics",
    "_registry.cached": "CachedFunction cached",
    "_registry.leases": "Lease TryLease",
    "_registry.registrations": "Registration RegistrationState RemovalCause",
    "_registry.registry": "Registry",
    "_registry.statistics": "RegistryStatistics",
    "_run": "background create_background_task run",
    "_scope.resource": "OwnedResource ResourceFactory resource",
    "_scope.scope": "Scope",
    "_scope.statistics": "ScopeStatistics",
    "_serve.connections": "ServerStatistics",
    "_serve.serve": "serve_tcp serve_unix",
    "_serve.server": "Server",
    "_serve.stream": "ServedStream",
    "_snapshot": "Growth Snapshot SnapshotDiff SnapshotNode take_snapshot",
    "_task.handle": "TaskHandle TaskStatus",
    "_timers.cron": "CronRule",
    "_timers.records": "TimerHooks TimerRun TimerStatistics",
    "_timers.timer": "Timer",
    "_timers.timers": "cron fixed_delay fixed_rate once",
}
_home_of = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_home_of)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _home_of:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_home_of[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
