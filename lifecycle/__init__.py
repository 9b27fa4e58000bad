"""Owners for everything that lives in an asyncio service: a scope stops, a group joins, a manager drains its tasks."""

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
from ._handle import TaskHandle, TaskStatus
from ._run import create_background_task, run
from ._scope import Scope
from ._statistics import DrainReport, LeftBehind, ScopeStatistics, TaskManagerStatistics
from ._tasks import TaskHooks, TaskManager

__version__ = "0.1.0.dev0"

__all__ = [
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
    "TaskHandle",
    "TaskHooks",
    "TaskManager",
    "TaskManagerStatistics",
    "TaskNotFinished",
    "TaskStatus",
    "create_background_task",
    "run",
]
