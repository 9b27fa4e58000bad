"""What `lifecycle.hooks` exports, for type checkers."""

from ._manager.hooks import TaskHooks as TaskHooks
from ._manager.overdue import QueueAlarm as QueueAlarm
from ._manager.overdue import RunAlarm as RunAlarm
from ._timers.records import TimerHooks as TimerHooks

__all__ = [
    "QueueAlarm",
    "RunAlarm",
    "TaskHooks",
    "TimerHooks",
]
