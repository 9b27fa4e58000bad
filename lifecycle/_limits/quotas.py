"""Quotas: the slots of an owner of tasks that has bounds for each key, or in a time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sized
from contextlib import contextmanager
from contextvars import Context, copy_context
from enum import Enum
from typing import Any, Final

from .._ground import kernel
from .._ground.checks import checked_limit
from .._task.handle import TaskHandle
from .._task.slots import SlotOwner, Slots
from .._task.waiting import NOBODY, Tasks
from .bounds import LimitBy, Rate
from .share import Share
from .turns import Turns


class Key(Enum):
    """What a ``limit_key`` can be besides a key."""

    UNSAID = "unsaid"  #: none was given


UNSAID: Final = Key.UNSAID


class QueuedTask:
    """A task that stands in line; it keeps its submitter's context, see `Slots`."""

    __slots__ = ("_context", "_slots", "_submitted", "handle", "number", "share")

    #: It leaves the line when it is cancelled.
    gone = False

    def __init__(self, slots: Quotas, handle: TaskHandle[Any], share: Share, number: int, context: Context | None):
        self._slots = slots
        self._submitted = copy_context()
        self._context = context
        self.handle = handle
        self.share = share
        self.number = number

    def admit(self) -> None:
        """Start it."""
        self._slots._note_left(self)
        self._slots.assign(self.handle, self.share)
        owner: SlotOwner = self.handle._owner  # type: ignore[assignment]
        self._submitted.run(owner._launch_queued, self.handle, self._context)


class Quotas(Slots):
    """Slots of which not every newcomer can have one: it depends on its key, and on the time.

    To those that look at slots they are like any other; to get one takes the `Share` of the newcomer.

    Args:
        running: the container of running tasks.
        limit: how many may run at once, None for no bound.
        by: bounds for each key.
        rate: how many may begin in a time.
    """

    __slots__ = ("_places", "_shares", "by", "turns")

    def __init__(self, running: Sized, limit: int | None, by: LimitBy | None, rate: Rate | None) -> None:
        super().__init__(running, None)
        self.by = by
        self.turns = Turns("an owner of tasks with bounds", limit, by, rate)
        self._places: dict[TaskHandle[Any], QueuedTask] = {}
        self._shares: dict[object, Share] = {}  # of those that run, by their handles or by themselves

    # What other slots can do, too

    @property
    def limit(self) -> int | None:
        """How many tasks may run at once; None for no bound."""
        return self.turns.all.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self.turns.all.limit = checked_limit(limit, least=0)
        if self.turns.waiting:
            self.turns.serve()

    @property
    def has_room(self) -> bool:
        """Whether the next in line could begin."""
        return self.turns.could_serve

    def queued_tasks(self) -> list[TaskHandle[Any]]:
        """Return the tasks in line, first come first."""
        return list(self._places)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return self.turns.waiting

    def leave(self, handle: TaskHandle[Any]) -> bool:
        """Take a task out of the line; return whether it stood there."""
        place = self._places.get(handle)
        if place is None:
            return False
        self._note_left(place)
        return self.turns.leave(place)

    @contextmanager
    def lent(self, number: int, tasks: Tasks = NOBODY) -> Iterator[None]:
        """Let others have the slots of those of *tasks* that run, as long as they wait for them."""
        shares = [share for member, share in self._shares.items() if native(member) in tasks] if number else []
        self.turns.lend(shares)
        try:
            yield
        finally:
            self.turns.lend(shares, -1)

    def serve(self) -> None:
        """Let begin whoever can."""
        self.turns.serve()

    def dismiss(self) -> None:
        """Wake every caller that waits for a slot: the owner is closed, and they will find it so."""
        self.turns.dismiss()

    # What takes the share of the newcomer

    def share_for(self, owner: object, args: tuple[Any, ...], key: Hashable = UNSAID) -> Share:
        """Return the share of a newcomer: of *key*, or else of the key that is made of *args*.

        Raises:
            TypeError: there is a key, but no bounds by key.
            BaseException: what the key function or the key raises; nothing has happened then.
        """
        if key is UNSAID:
            return self.turns.share_for(args)
        if self.by is None:
            raise TypeError(f"{owner} has no limit_by, so that a limit_key means nothing to it")
        return self.turns.share_of(key)

    def check_key(self, owner: object, key: Hashable) -> None:
        """Check that *key* is given where there are no arguments to make it of.

        Raises:
            TypeError: it is not.
        """
        if key is UNSAID and self.by is not None:
            raise TypeError(f"{owner} has bounds by key, and a coroutine shows no arguments: give it a limit_key=")

    async def wait_for(self, share: Share | None, owner: object) -> None:
        """Wait in line for what is kept for the caller then; see `Turns.wait`. Cancellation: leaves the line."""
        share = self.turns.share_for_anybody if share is None else share
        if not self.turns.keep(share):
            await self.turns.wait(share, kernel.FOREVER, owner)

    def line_up(self, handle: TaskHandle[Any], share: Share, context: Context | None) -> None:
        """Put a task in line, which the caller has submitted."""
        place = self._places[handle] = QueuedTask(self, handle, share, self.turns.next_number(), context)
        self.queued += 1
        self.turns.stand(place)

    def assign(self, task: object, share: Share) -> None:
        """Let the task have what was kept for it; it begins in this step."""
        self._shares[task] = share

    def end(self, task: object) -> None:
        """Let the next have what a task had that has ended; nothing where it had none."""
        share = self._shares.pop(task, None)
        if share is not None:
            self.turns.release(share)

    def _note_left(self, place: QueuedTask) -> None:
        del self._places[place.handle]
        self.queued -= 1


def native(member: object) -> object:
    """Return the native task of a handle, or what is one."""
    return member._task if isinstance(member, TaskHandle) else member


def bounded_slots(running: Sized, limit: int | None, by: LimitBy | None, rate: Rate | None) -> Slots:
    """Return slots under the given bounds."""
    return Slots(running, limit) if by is None and rate is None else Quotas(running, limit, by, rate)
