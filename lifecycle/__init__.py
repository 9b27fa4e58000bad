"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks."""

from ._cached import CachedFunction, cached
from ._chores import CreationTimeout
from ._completions import Completions, as_completed
from ._decorators import OwnedResource, ResourceFactory, background, resource
from ._errors import (
    ConnectError,
    LeakError,
    LifecycleError,
    NoSurroundingRun,
    OwnerClosed,
    PendingLimitReached,
    PoolFull,
    PoolTimeout,
    ReleaseTimeout,
    TaskCancelled,
    TaskNotFinished,
)
from ._gather import amap, gather, race
from ._groups import TaskGroup, TaskGroupClosed, TaskGroupStatistics
from ._handle import TaskHandle, TaskStatus
from ._leases import Lease, TryLease
from ._lender import StillLent
from ._loans import Loan, TryLoan
from ._pool import Pool
from ._registrations import Registration, RegistrationState, RemovalCause
from ._registry import Registry
from ._run import create_background_task, run
from ._scope import Scope
from ._snapshot import Growth, Snapshot, SnapshotDiff, SnapshotNode, take_snapshot
from ._statistics import (
    DrainReport,
    LeftBehind,
    PoolStatistics,
    RegistryStatistics,
    ScopeStatistics,
    TaskManagerStatistics,
)
from ._tasks import TaskHooks, TaskManager
from ._timer import Timer
from ._timer_records import RunOutcome, TimerHooks, TimerRun, TimerStatistics
from ._timers import after, cron, fixed_delay, fixed_rate

__version__ = "0.1.0.dev0"

__all__ = [
    "CachedFunction",
    "Completions",
    "ConnectError",
    "CreationTimeout",
    "DrainReport",
    "Growth",
    "LeakError",
    "Lease",
    "LeftBehind",
    "LifecycleError",
    "Loan",
    "NoSurroundingRun",
    "OwnedResource",
    "OwnerClosed",
    "PendingLimitReached",
    "Pool",
    "PoolFull",
    "PoolStatistics",
    "PoolTimeout",
    "Registration",
    "RegistrationState",
    "Registry",
    "RegistryStatistics",
    "ReleaseTimeout",
    "RemovalCause",
    "ResourceFactory",
    "RunOutcome",
    "Scope",
    "ScopeStatistics",
    "Snapshot",
    "SnapshotDiff",
    "SnapshotNode",
    "StillLent",
    "TaskCancelled",
    "TaskGroup",
    "TaskGroupClosed",
    "TaskGroupStatistics",
    "TaskHandle",
    "TaskHooks",
    "TaskManager",
    "TaskManagerStatistics",
    "TaskNotFinished",
    "TaskStatus",
    "Timer",
    "TimerHooks",
    "TimerRun",
    "TimerStatistics",
    "TryLease",
    "TryLoan",
    "after",
    "amap",
    "as_completed",
    "background",
    "cached",
    "create_background_task",
    "cron",
    "fixed_delay",
    "fixed_rate",
    "gather",
    "race",
    "resource",
    "run",
    "take_snapshot",
]
