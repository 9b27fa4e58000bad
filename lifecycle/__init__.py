"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks."""

from ._completions import Completions, as_completed
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
from ._run import create_background_task, run
from ._scope import Scope
from ._statistics import DrainReport, LeftBehind, ScopeStatistics, TaskManagerStatistics
from ._tasks import TaskHooks, TaskManager

__version__ = "0.1.0.dev0"

__all__ = [
    "Completions",
    "ConnectError",
    "DrainReport",
    "LeakError",
    "LeftBehind",
    "LifecycleError",
    "NoSurroundingRun",
    "OwnerClosed",
    "PendingLimitReached",
    "PoolFull",
    "PoolTimeout",
    "ReleaseTimeout",
    "Scope",
    "ScopeStatistics",
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
    "amap",
    "as_completed",
    "create_background_task",
    "gather",
    "race",
    "run",
]
