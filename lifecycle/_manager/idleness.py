"""Idleness: waiting until a task manager holds nothing but tasks that themselves wait for just that."""

from __future__ import annotations

from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, TypeVar

from .._ground import kernel
from .._ground.waking import wake
from .._task.first_steps import FirstSteps
from .._task.handle import TaskHandle
from .._task.slots import Slots
from .._task.waiting import Waiting, bound_tasks, closing_tasks, closing_tasks_with_bonds
from .._task.work import handle_of
from .records import AbandonedTask

T = TypeVar("T")

#: How many running tasks are looked at as soon as the call stack of one task that may be one of the manager's.
MANY = 8


class Tally(dict[Task[Any], int]):
    """Tasks, and for how many reasons each of them is in here."""

    __slots__ = ()

    def add(self, tasks: Iterable[Task[Any]]) -> None:
        """Take them in, for one reason more."""
        for task in tasks:
            self[task] = self.get(task, 0) + 1

    def remove(self, tasks: Iterable[Task[Any]]) -> None:
        """Take back what `add` was told."""
        for task in tasks:
            self[task] -= 1
            if not self[task]:
                del self[task]


class Crowd:
    """Callers that leave out the same tasks, so that they wait for the same: however many, one look answers all.

    Attributes:
        tasks: what they leave out, and for how many of them.
        waiting: what wakes those for whom it is not over yet.
        cancelled: whether the manager's tasks have been cancelled.
    """

    __slots__ = ("cancelled", "tasks", "waiting")

    def __init__(self, *, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.tasks = Tally()
        self.waiting: dict[Future[None], None] = {}

    def join(self, idle: Future[None], tasks: frozenset[Task[Any]]) -> None:
        """Add a caller, on whose wait *tasks* depend."""
        self.waiting[idle] = None
        self.tasks.add(tasks)

    def leave(self, idle: Future[None], tasks: frozenset[Task[Any]]) -> None:
        """Take a caller back."""
        self.waiting.pop(idle, None)
        self.tasks.remove(tasks)

    def wake(self) -> None:
        """Tell all that it is over."""
        waiting, self.waiting = self.waiting, {}
        for idle in waiting:
            wake(idle)


class Idleness:
    """Who waits for a manager's tasks to end, and which of them they leave out, so as not to wait in a circle.

    1. A task does not wait for itself, nor for a task that waits for it; in a close, once it has cancelled the tasks,
       only for those that no cancellation frees.
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
        self._waits = 0
        self._crowds: list[Crowd] = []  # each close is one of its own
        self._drains_from_outside: Crowd | None = None
        self._drains_from_inside: Crowd | None = None
        self._before_closers = Tally()  # those that close it, with all that wait for one of them
        self._closers = Tally()  # and with those alone that are bound to
        #: While more tasks run than this, no wait can be over, and `check` need not be called.
        self.threshold = -1

    @property
    def awaited(self) -> bool:
        """Whether any caller waits."""
        return self._waits > 0

    async def wait(
        self,
        manager: object,
        wait: Callable[[Future[None]], Coroutine[Any, Any, T]],
        *,
        draining: bool = False,
        cancelled: bool = False,
    ) -> T | None:
        """Wait in the given way until the manager is idle; None if it is so already.

        Args:
            manager: the owner of all the tasks.
            wait: the way, which gets a future.
            draining: whether it is a drain that waits, and not a close.
            cancelled: whether the tasks have been cancelled.

        Cancellation: as *wait* does it; leaves nothing behind.
        """
        if not self._running and not self._slots.queued:
            return None
        # To those that drain or close the manager beside it, a drain applies the rules 2 and 3.
        caller = kernel.current_task()
        tasks = bound_tasks(caller) if cancelled else closing_tasks(but_for=manager if draining else None)
        own = self._count(tasks) if draining else 0
        crowd = self._crowd(inside=own > 0) if draining else self._new_crowd(cancelled=cancelled)
        idle = kernel.new_future()
        crowd.join(idle, tasks)
        self._waits += 1
        try:
            with Waiting(manager, bound=not draining, until=idle), self._slots.lent(own, tasks):
                self._review()
                if idle.done():
                    return None
                if self._waits == 1:  # what starts while somebody waits is expected when it does
                    for handle in self._running:
                        self._first_steps.expect(handle)
                return await wait(idle)
        finally:
            crowd.leave(idle, tasks)
            if not crowd.tasks:  # it was the last
                self._disperse(crowd)
            self._waits -= 1
            self._review()

    @contextmanager
    def exempt_caller(self, closing: Future[None] | None) -> Iterator[None]:
        """Leave the calling task out of every wait meanwhile: it closes the manager.

        Args:
            closing: the end of the close that is under way; those that wait for it have been left out already.
        """
        waiting = closing_tasks_with_bonds(but_for=closing)
        bound = [task for task, is_bound in waiting.items() if is_bound]
        new = frozenset(task for task in bound if task not in self._closers)
        own = self._count(new)
        self._before_closers.add(waiting)
        self._closers.add(bound)
        self._review()
        try:
            with self._slots.lent(own, new):
                yield
        finally:
            self._before_closers.remove(waiting)
            self._closers.remove(bound)
            self._review()

    def awaitable_by_caller(self) -> list[TaskHandle[Any]]:
        """Return the running tasks that the calling task may wait for."""
        if not self._running:
            return []
        exempt = bound_tasks(kernel.current_task()) | self._closers.keys()
        return [handle for handle in self._running if handle._task not in exempt]

    def has_joined_closers(self) -> bool:
        """Whether a task waits in a close of its own manager; only callers outside see it."""
        return bool(self._running) and self._asked_from_outside() and self._count(self._closers.keys()) > 0

    def has_stayed_closers(self) -> bool:
        """Whether a task that closed the manager, so that none waited for it, runs on; only callers outside see it."""
        return bool(self._running) and self._asked_from_outside() and bool(self.awaitable_by_caller())

    def _asked_from_outside(self) -> bool:
        """Whether the calling task is none of the manager's, and what it does is not what one of them is bound to."""
        return not self._count(bound_tasks(kernel.current_task()))

    def _count(self, tasks: AbstractSet[Task[Any]]) -> int:
        """Return how many of *tasks* are running tasks of the manager; whichever are fewer are looked through."""
        if len(self._running) <= MANY * len(tasks):
            return sum(handle._task in tasks for handle in self._running)
        return sum(handle_of(task) in self._running for task in tasks)

    def _crowd(self, *, inside: bool) -> Crowd:
        """Return the crowd of those that drain the manager from inside, or from outside."""
        if inside:
            self._drains_from_inside = self._drains_from_inside or self._new_crowd()
            return self._drains_from_inside
        self._drains_from_outside = self._drains_from_outside or self._new_crowd()
        return self._drains_from_outside

    def _disperse(self, crowd: Crowd) -> None:
        self._crowds.remove(crowd)
        if crowd is self._drains_from_inside:
            self._drains_from_inside = None
        elif crowd is self._drains_from_outside:
            self._drains_from_outside = None

    def _new_crowd(self, *, cancelled: bool = False) -> Crowd:
        crowd = Crowd(cancelled=cancelled)
        self._crowds.append(crowd)
        return crowd

    def check(self) -> None:
        """End the waits that are over; called when a task has ended, at the `threshold` and below."""
        for crowd in self._crowds:
            if crowd.waiting and self._is_idle(crowd):
                crowd.wake()

    def _review(self) -> None:
        """Work out again when a wait can be over: a caller has come or gone."""
        sizes = [len(crowd.tasks) for crowd in self._crowds if crowd.waiting]
        self.threshold = max(sizes) + len(self._before_closers) if sizes else -1
        if len(self._running) <= self.threshold:
            self.check()

    def _is_idle(self, crowd: Crowd) -> bool:
        if self._slots.queued:
            return False
        closers = self._closers if crowd.cancelled else self._before_closers
        return all(handle._task in crowd.tasks or handle._task in closers for handle in self._running)


def describe(handle: TaskHandle[Any], now: float) -> AbandonedTask:
    """Return the record of a task that would not end."""
    started = handle.started_at if handle.started_at is not None else now
    stack = kernel.suspended_at(handle._task) if handle._task is not None else ()
    return AbandonedTask(handle.name, now - started, stack)
