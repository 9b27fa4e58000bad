"""Idleness: waiting until a task manager holds nothing but tasks that themselves wait for just that."""

from __future__ import annotations

from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from .._ground import kernel
from .._task.first_steps import FirstSteps
from .._task.handle import TaskHandle
from .._task.slots import Slots
from .._task.waiting import begin_awaiting, closing_tasks, end_awaiting
from .records import AbandonedTask

T = TypeVar("T")

NO_TASKS: frozenset[Task[Any]] = frozenset()


class Wait:
    """One caller that waits until the manager is idle."""

    __slots__ = ("drains_from_inside", "exempt", "idle", "tasks")

    def __init__(self, tasks: frozenset[Task[Any]], *, drains_from_inside: bool) -> None:
        self.idle = kernel.new_future()
        self.tasks = tasks  # which depend on this wait: they cannot end before it does
        self.drains_from_inside = drains_from_inside
        self.exempt = tasks


class Idleness:
    """Who waits for a manager's tasks to end, and which of them they leave out, so as not to wait in a circle.

    1. A task does not wait for itself, nor for a task that waits for it through a release.
    2. A task that closes the manager is waited for by none, in whatever order they came.
    3. Tasks of the manager that drain it do not wait for each other; every other waits for them.
    4. A task of the manager that waits here has lent its slot to those that it waits for.

    Args:
        running: the manager's running tasks.
        slots: where its other tasks wait.
        first_steps: notices, while a caller waits, tasks that a foreign cancellation ends before they begin.
    """

    def __init__(self, running: Mapping[TaskHandle[Any], None], slots: Slots, first_steps: FirstSteps) -> None:
        self._running = running
        self._slots = slots
        self._first_steps = first_steps
        self._waits: list[Wait] = []
        self._closers = NO_TASKS
        #: While more tasks run than this, no wait can be over, and `check` need not be called.
        self.threshold = -1

    @property
    def awaited(self) -> bool:
        """Whether any caller waits."""
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
                for handle in self._running:
                    self._first_steps.expect(handle)
                return await wait(entry.idle)
        finally:
            end_awaiting(manager, tasks)
            self._waits.remove(entry)
            self._review()

    @contextmanager
    def exempt_caller(self) -> Iterator[None]:
        """Leave the calling task out of every wait meanwhile: it closes the manager."""
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

    def awaitable_by_caller(self) -> list[TaskHandle[Any]]:
        """Return the running tasks that the calling task may wait for."""
        exempt = closing_tasks() | self._closers
        return [handle for handle in self._running if handle._task not in exempt]

    def has_joined_closers(self) -> bool:
        """Whether a task waits in a close of its own manager; only callers outside see it."""
        return bool(self._running) and not self._count(closing_tasks()) and self._count(self._closers) > 0

    def has_stayed_closers(self) -> bool:
        """Whether a task that closed the manager, so that none waited for it, runs on; only callers outside see it."""
        return bool(self._running) and not self._count(closing_tasks()) and bool(self.awaitable_by_caller())

    def _count(self, tasks: frozenset[Task[Any]]) -> int:
        """Return how many of *tasks* are running tasks of the manager."""
        return sum(handle._task in tasks for handle in self._running)

    def check(self) -> None:
        """End the waits that are over; called when a task has ended, at the `threshold` and below."""
        for entry in self._waits:
            if not entry.idle.done() and self._is_idle(entry.exempt):
                entry.idle.set_result(None)

    def _review(self) -> None:
        """Work out again who waits for whom: a caller has come or gone."""
        drainers = NO_TASKS.union(*(entry.tasks for entry in self._waits if entry.drains_from_inside))
        for entry in self._waits:
            entry.exempt = entry.tasks | self._closers | (drainers if entry.drains_from_inside else NO_TASKS)
        self.threshold = max((len(entry.exempt) for entry in self._waits), default=-1)
        self.check()

    def _is_idle(self, exempt: frozenset[Task[Any]]) -> bool:
        return not self._slots.queued and all(handle._task in exempt for handle in self._running)


def next_turn() -> Future[None]:
    """Return a future that is done when all has run that is ready now."""
    turn = kernel.new_future()
    kernel.running_loop().call_soon(turn.set_result, None)
    return turn


def describe(handle: TaskHandle[Any], now: float) -> AbandonedTask:
    """Return the record of a task that would not end."""
    started = handle.started_at if handle.started_at is not None else now
    stack = kernel.suspended_at(handle._task) if handle._task is not None else ()
    return AbandonedTask(handle.name, now - started, stack)
