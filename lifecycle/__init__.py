"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks.

Each name is loaded from its home when it is first used: who needs a scope does not pay for a pool. The same names,
spelled out for type checkers, are in ``__init__.pyi``.
"""

import importlib

__version__ = "0.1.0.dev0"

_NAMES = {
    "_attempt": "ConnectAttempt",
    "_attempt_state": "AttemptState",
    "_cached": "CachedFunction cached",
    "_chores": "CreationTimeout",
    "_completions": "Completions as_completed",
    "_connect": "connect",
    "_connect_errors": "ConnectTimeout",
    "_cron": "CronRule",
    "_decorators": "OwnedResource ResourceFactory background resource",
    "_dial": "dial dial_tcp dial_tls dial_unix",
    "_errors": "ConnectError LeakError LifecycleError NoSurroundingRun OwnerClosed PendingLimitReached PoolFull "
    "PoolTimeout ReleaseTimeout TaskCancelled TaskNotFinished",
    "_gather": "amap gather race",
    "_groups": "TaskGroup TaskGroupClosed TaskGroupStatistics",
    "_handle": "TaskHandle TaskStatus",
    "_leases": "Lease TryLease",
    "_lender": "StillLent",
    "_loans": "Loan TryLoan",
    "_overdue": "QueueAlarm RunAlarm",
    "_pair": "LoopEnd PairOutcome ReaderWorker link",
    "_pool": "Pool",
    "_registrations": "Registration RegistrationState RemovalCause",
    "_registry": "Registry",
    "_retry": "Retry",
    "_run": "create_background_task run",
    "_scope": "Scope",
    "_serve": "ServedStream Server ServerStatistics serve_tcp serve_unix",
    "_snapshot": "Growth Snapshot SnapshotDiff SnapshotNode take_snapshot",
    "_stages": "Stages",
    "_statistics": "DrainReport LeftBehind PoolStatistics RegistryStatistics ScopeStatistics TaskManagerStatistics",
    "_tasks": "TaskHooks TaskManager",
    "_timer": "Timer",
    "_timer_records": "RunOutcome TimerHooks TimerRun TimerStatistics",
    "_timers": "after cron fixed_delay fixed_rate",
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
