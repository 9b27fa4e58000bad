"""Slots: a limit on the tasks that run at once, and one first-in first-out line of those that wait for a slot."""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Protocol

from .._ground import kernel
from .._ground.checks import checked_limit
from .._ground.waking import MANY, in_turns, put_off, wake
from .handle import TaskHandle
from .waiting import NOBODY, Tasks

Waiting = TaskHandle[Any] | Future[None]

_ABSENT = object()


class SlotOwner(Protocol):
    """The owner of a task that stands in line."""

    def _launch_queued(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start a task that has got its slot; an error has no caller to go to."""


class Slots:
    """A bound on the number of running tasks, with direct hand-over in order of arrival.

    A freed slot goes to the head of the line in the same step: to a task that was queued, which is started, or to a
    caller that waits for a slot, for whom it is kept until the caller's next step. Nobody overtakes.

    Who frees a slot is not who has submitted the task that gets it: a task in line keeps its submitter's context, in
    which it is started, whatever that is: its hooks, the loop's task factory, the task itself.

    Args:
        running: the container of running tasks; its length counts.
        limit: how many may run at once, None for no bound.
    """

    __slots__ = ("_granted", "_lent", "_limit", "_running", "_serving", "line", "queued")

    def __init__(self, running: Sized, limit: int | None) -> None:
        self._running = running
        self._limit = checked_limit(limit, least=0)
        #: Tasks and callers that wait, first come first; of a task the context of its submitter, and the one that it
        #: was given to run in. To look at. Not a dict: taking the first key of a dict whose head was emptied walks over
        #: all the holes.
        self.line: OrderedDict[Waiting, tuple[Context, Context | None] | None] = OrderedDict()
        self._granted = 0
        self._lent = 0
        self._serving = False
        #: How many tasks stand in line, callers that wait for a slot not counted.
        self.queued = 0

    @property
    def limit(self) -> int | None:
        """How many tasks may run at once; None for no bound."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = checked_limit(limit, least=0)
        self.serve()

    @property
    def free(self) -> bool:
        """Whether a newcomer may start at once: a slot is free and the line is empty."""
        return self._limit is None or (not self.line and self.has_room)

    @property
    def has_room(self) -> bool:
        """Whether there is a free slot, even if it belongs to the head of the line."""
        return self._limit is None or len(self._running) + self._granted - self._lent < self._limit

    def queued_tasks(self) -> list[TaskHandle[Any]]:
        """Return the tasks in line, first come first."""
        return [entry for entry in self.line if isinstance(entry, TaskHandle)]

    @property
    def waiting(self) -> int:
        """How many stand in line: queued tasks and callers that wait for a slot."""
        return len(self.line)

    def enqueue(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Put a task in line, which the caller has submitted; *context* is what it was given to run in."""
        self.line[handle] = (copy_context(), context)
        self.queued += 1

    def leave(self, handle: TaskHandle[Any]) -> bool:
        """Take a task out of the line; return whether it stood there."""
        if handle not in self.line:
            return False
        del self.line[handle]
        self.queued -= 1
        return True

    def keep(self) -> bool:
        """Keep a free slot for the caller, until it calls `take` or `give_back` in the same step; False if none is."""
        if self.line or not self.has_room:
            return False
        self._granted += 1
        return True

    async def wait_for_slot(self) -> None:
        """Wait in line for a slot, which is kept for the caller until it calls `take` in the same step.

        Does not suspend where a slot is free.

        Cancellation: leaves the line; a slot that was granted meanwhile goes to the next.
        """
        if self.keep():
            return
        place = kernel.new_future()
        self.line[place] = None
        try:
            await place
        except BaseException:
            stood_in_line = self.line.pop(place, _ABSENT) is not _ABSENT
            if (
                not stood_in_line and place.done() and not place.cancelled()
            ):  # the slot had been granted in the same loop iteration
                self.give_back()
            raise

    def take(self) -> None:
        """Turn the slot that `wait_for_slot` kept into a running task's; the task joins `running` in this step."""
        self._granted -= 1

    def give_back(self) -> None:
        """Hand the slot that `wait_for_slot` kept to the next in line."""
        self._granted -= 1
        self.serve()

    @contextmanager
    def lent(self, number: int, tasks: Tasks = NOBODY) -> Iterator[None]:
        """Let others have the slots of *number* running tasks of *tasks*, which do nothing but wait for them meanwhile.

        When those tasks go on, more may run than the limit allows, until one of them ends.
        """
        self._lent += number
        self.serve()
        try:
            yield
        finally:
            self._lent -= number

    def serve(self) -> None:
        """Hand free slots to the head of the line, as long as there are both; where many, not all in one step."""
        if not self.line or self._serving:
            return
        # A task that starts eagerly may end at once and get here again: it leaves the rest to the loop below, or a
        # long line would nest as deep as it is long.
        self._serving = True
        try:
            served = 0
            while self.line and self.has_room:
                if served >= MANY and put_off(self.serve):
                    break
                served += 1
                entry, contexts = self.line.popitem(last=False)
                if isinstance(entry, TaskHandle):
                    self.queued -= 1
                    assert contexts is not None
                    submitted, context = contexts
                    # Through the handle: with a method of its owner in here, owner and slots would be a cycle.
                    owner: SlotOwner = entry._owner  # type: ignore[assignment]
                    # Run in it, not handed over: a task factory need not take a context.
                    submitted.run(owner._launch_queued, entry, context)
                elif not entry.done() and not entry.get_loop().is_closed():  # one that is has left it behind
                    self._granted += 1
                    wake(entry)
        finally:
            self._serving = False

    def dismiss(self) -> None:
        """Wake every caller that waits for a slot: the owner is closed, and they will find it so."""
        in_turns(self.line, self._dismiss)

    def _dismiss(self, entry: Waiting) -> None:
        if not isinstance(entry, TaskHandle) and self.line.pop(entry, _ABSENT) is not _ABSENT and not entry.done():
            self._granted += 1
            wake(entry)
