"""QueueAlarm and RunAlarm: hooks of a task manager that see a task wait for its slot, or run, for too long."""

from __future__ import annotations

from asyncio import TimerHandle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .._ground import kernel
from .._ground.checks import checked_sync, checked_timeout
from .._ground.watchers import tell_failure
from .._task.handle import TaskHandle
from .hooks import logger

OnAlarm = Callable[[TaskHandle[Any]], object]


class Overdue:
    """Reports, once each, the tasks that are not done within *seconds*.

    All have the same time, so they fall due in the order in which they came, and one timer, set for the first of
    them, serves all. There is none while no task is watched.

    Args:
        seconds: how long a task may take; more than 0.
        on_alarm: called in the loop with the handle of a task that took longer. It may cancel it. An error that it
            raises is logged.

    Raises:
        TypeError, ValueError: *seconds* is not such a number, or *on_alarm* cannot be called.
    """

    __slots__ = ("_due", "_on_alarm", "_timer", "alarms", "seconds")

    def __init__(self, seconds: float, on_alarm: OnAlarm) -> None:
        self.seconds: float = checked_timeout(seconds, "seconds")
        if self.seconds in (0.0, kernel.FOREVER):
            raise ValueError(f"seconds must be more than 0 and finite, got {seconds}")
        checked_sync(on_alarm, "on_alarm")
        #: How many tasks it has reported.
        self.alarms: int = 0
        self._on_alarm = on_alarm
        self._due: OrderedDict[TaskHandle[Any], float] = OrderedDict()  # the loop time at which each is overdue
        self._timer: TimerHandle | None = None

    def __len__(self) -> int:
        """How many tasks are being watched now."""
        return len(self._due)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.seconds:g} s>"

    def _watch(self, handle: TaskHandle[Any]) -> None:
        loop = kernel.running_loop()
        self._due[handle] = due = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._report_overdue)

    def _forget(self, handle: TaskHandle[Any]) -> None:
        if self._due.pop(handle, None) is not None and not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _report_overdue(self) -> None:
        """Report all that are overdue, and come back when the next one may be."""
        loop = kernel.running_loop()
        self._timer = None
        now = loop.time()
        while self._due:
            handle, due = next(iter(self._due.items()))
            if due > now:
                break
            del self._due[handle]
            self._report(handle)
        if self._due and self._timer is None:  # on_alarm may have started a task, and so the timer
            self._timer = loop.call_at(next(iter(self._due.values())), self._report_overdue)

    def _report(self, handle: TaskHandle[Any]) -> None:
        self.alarms += 1
        try:
            self._on_alarm(handle)
        except BaseException as error:
            owner = getattr(handle._owner, "name", None)  # a manager, since this is one's hook
            tell_failure(logger, "on_alarm failed", error, owner=owner, task=handle.name, hook=repr(self))


class QueueAlarm(Overdue):
    """Reports each task that has waited in line for a slot for more than *seconds*: ``on_alarm(handle)``.

    A hook for ``TaskManager(hooks=[...])``; ``handle.cancel()`` in it drops the task. Callers that wait in
    ``await manager.spawn(...)`` have no task yet: put an ``asyncio.timeout`` around them.
    """

    __slots__ = ()

    def queued(self, handle: TaskHandle[Any]) -> None:
        """Begin to watch a task that stands in line."""
        self._watch(handle)

    def before(self, handle: TaskHandle[Any]) -> None:
        """Stop: it has its slot."""
        self._forget(handle)

    def after(self, handle: TaskHandle[Any]) -> None:
        """Stop: it was dropped."""
        self._forget(handle)


class RunAlarm(Overdue):
    """Reports each task that has had its slot for more than *seconds* and has not ended: ``on_alarm(handle)``.

    A hook for ``TaskManager(hooks=[...])``. ``handle.cancel()`` in it makes it a time limit. Tasks that a closing
    manager has abandoned still run, and are still watched.
    """

    __slots__ = ()

    def before(self, handle: TaskHandle[Any]) -> None:
        """Begin to watch a task that is started."""
        self._watch(handle)

    def after(self, handle: TaskHandle[Any]) -> None:
        """Stop: it has ended."""
        self._forget(handle)
