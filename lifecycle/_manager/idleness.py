"""Idleness: waiting until a task manager holds nothing but tasks that themselves wait for just that."""

from __future__ import annotations

from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from .._ground import kernel
from .._task.handle import PENDING, TaskHandle
from .._task.slots import Slots
from .._task.waiting import begin_awaiting, closing_tasks, end_awaiting
from .records import AbandonedTask

T = TypeVar("T")

NOBODY: frozenset[Task[Any]] = frozenset()


class Wait:
    """One caller that waits until the manager is idle."""

    __slots__ = ("drains_from_inside", "exempt", "idle", "tasks")

    def __init__(self, tasks: frozenset[Task[Any]], *, drains_from_inside: bool) -> None:
        self.idle = kernel.new_future()
        self.tasks = tasks  # which depend on this wait: they cannot end before it does
        self.drains_from_inside = drains_from_inside
        self.exempt = tasks


class Idleness:
    """Who waits for a manager's tasks to end, and for which of them nobody waits, because they would wait in a circle.

    1. A task does not wait for itself, nor for a task that waits for it through a release.
    2. Nobody waits for a task that closes the manager, whoever came first.
    3. Tasks of the manager that drain it do not wait for each other; everybody else waits for them.
    4. A task of the manager that waits here has lent its slot to those that it waits for.

    Args:
        running: the manager's running tasks.
        slots: where its other tasks wait.
    """

    def __init__(self, running: Mapping[TaskHandle[Any], None], slots: Slots) -> None:
        self._running = running
        self._slots = slots
        self._waits: list[Wait] = []
        self._closers = NOBODY
        #: While more tasks run than this, nobody needs to `check`.
        self.threshold = -1

    @property
    def awaited(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waits)

    async def wait(
        self, manager: object, wait: Callable[[Future[None]], Coroutine[Any, Any, T]], *, draining: bool
    ) -> T | None:
        """Wait in the given way until the manager is idle; None if it is so already.

        Args:
            manager: the owner of all the tasks.
            wait: the way, which gets a future.
            draining: whether it is a drain that waits, and not a close.

        Cancellation: as *wait* does it; leaves nothing behind.
        """
        tasks = closing_tasks()
        own = self._count(tasks) if draining else 0
        entry = Wait(tasks, drains_from_inside=own > 0)
        self._waits.append(entry)
        begin_awaiting(manager, tasks)
        try:
            with self._slots.lent(own):
                self._review()
                if entry.idle.done():
                    return None
                kernel.running_loop().call_soon(self._watch_unstarted)
                return await wait(entry.idle)
        finally:
            end_awaiting(manager, tasks)
            self._waits.remove(entry)
            self._review()

    @contextmanager
    def exempt_caller(self) -> Iterator[None]:
        """Let nobody wait for the calling task meanwhile: it closes the manager."""
        before = self._closers
        tasks = closing_tasks() - before
        self._closers = before | tasks
        self._review()
        try:
            with self._slots.lent(self._count(tasks)):
                yield
        finally:
            self._closers -= tasks
            self._review()

    def others(self) -> list[TaskHandle[Any]]:
        """Return the running tasks that the calling task may wait for."""
        exempt = closing_tasks() | self._closers
        return [handle for handle in self._running if handle._task not in exempt]

    def somebody_joined(self) -> bool:
        """Whether a task waits in a close of its own manager; only callers outside see it."""
        return bool(self._running) and not self._count(closing_tasks()) and self._count(self._closers) > 0

    def somebody_stayed(self) -> bool:
        """Whether a task runs on that nobody waited for, because it closed the manager; only callers outside see it."""
        return bool(self._running) and not self._count(closing_tasks()) and bool(self.others())

    def _count(self, tasks: frozenset[Task[Any]]) -> int:
        """Return how many of *tasks* are running tasks of the manager."""
        return sum(handle._task in tasks for handle in self._running)

    def check(self) -> None:
        """Wake whoever waits for what is now so; called when a task has ended, at the `threshold` and below."""
        for entry in self._waits:
            if not entry.idle.done() and self._is_idle(entry.exempt):
                entry.idle.set_result(None)

    def _review(self) -> None:
        """Work out again who waits for whom: somebody has come or gone."""
        drainers = NOBODY.union(*(entry.tasks for entry in self._waits if entry.drains_from_inside))
        for entry in self._waits:
            entry.exempt = entry.tasks | self._closers | (drainers if entry.drains_from_inside else NOBODY)
        self.threshold = max((len(entry.exempt) for entry in self._waits), default=-1)
        self.check()

    def _is_idle(self, exempt: frozenset[Task[Any]]) -> bool:
        return not self._slots.queued and all(handle._task in exempt for handle in self._running)

    def _watch_unstarted(self) -> None:
        """See, while somebody waits, the end of tasks that somebody else cancels before their first step.

        Called one loop iteration late, when nearly all have made it.
        """
        watch_unstarted(list(self._running))


def sweep(running: Mapping[TaskHandle[Any], None]) -> None:
    """Find the tasks that somebody else cancelled before their first step: nothing told us of them."""
    for handle in [handle for handle in running if handle._task is not None and handle._task.done()]:
        handle._sweep()


def next_turn() -> Future[None]:
    """Return a future that is done when all has run that is ready now."""
    turn = kernel.new_future()
    kernel.running_loop().call_soon(turn.set_result, None)
    return turn


def watch_unstarted(handles: list[TaskHandle[Any]]) -> None:
    """End those of *handles* that were cancelled before their first step, and learn at once of others that will be."""
    for handle in handles:
        if handle._status is PENDING:
            handle._sweep()
            if handle._status is PENDING and handle._task is not None:
                handle._watch_native_task()


def describe(handle: TaskHandle[Any], now: float) -> AbandonedTask:
    """Return the record of a task that would not end."""
    started = handle.started_at if handle.started_at is not None else now
    stack = kernel.suspended_at(handle._task) if handle._task is not None else ()
    return AbandonedTask(handle.name, now - started, stack)
