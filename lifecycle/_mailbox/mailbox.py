"""Mailbox: items from any number of senders to any number of receivers, bounded, closable, in order."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from .._ground import kernel
from .._ground.checks import check_choice, checked_limit, checked_name, checked_sync, checked_timeout
from .._ground.closing import OwnerState
from .._ground.errors import OwnerClosed, TimeoutExpired
from .._ground.kernel import FOREVER
from .._ground.roots import Portrait, Thing, enroll
from .box import Box
from .statistics import MailboxStatistics
from .store import Overflow

__all__ = ["Mailbox", "Overflow"]

T = TypeVar("T")


class Mailbox(Box[T]):
    """A bounded line of items between tasks of one event loop, in which nothing is lost, doubled or overtaken.

    What `send` has returned for is received exactly once, unless a policy drops it or `discard` takes it out; what it
    has raised for is not in. That holds whichever side is cancelled, by whatever means, and whoever closes the mailbox
    meanwhile. Senders and receivers are served in the order in which they came; where nobody has to wait, sending and
    receiving take no turn of the loop.

    An item that a waiting receiver has been told of takes no room. Where that receiver is cancelled before it runs, the
    item goes to the next one, and there may be more than ``capacity`` for a while.

    It can be made before there is a loop, and used in one loop at a time; another thread hands over by
    ``loop.call_soon_threadsafe(mailbox.send_nowait, item)``. Leaving its block closes it; what is left then can still
    be received, or taken out by `discard`.

    Do not use it to tell many tasks the same thing, that is a `Broadcast`; nor for two loops of one connection, that is
    a `ReaderWorker`, which has one inside.

    Example::

        async def work(mailbox):
            async for order in mailbox:
                await deliver(order)
                mailbox.task_done()

        async with TaskGroup() as group, Mailbox(capacity=100) as mailbox:
            for _ in range(3):
                group.start_soon(work, mailbox)
            for order in orders:
                await mailbox.send(order)

    Args:
        name: for errors and snapshots.
        capacity: how many items lie in it before there is no room, at least 1; None for no bound.
        overflow: what becomes of an item that comes when there is no room: its sender waits (``"wait"``) or gets
            `MailboxFull` (``"refuse"``), or one is dropped: the one that has been in for longest (``"drop_oldest"``),
            or the one that comes (``"drop_newest"``).
        on_drop: called with each item that is dropped, when all else is done; for what must be released. Synchronous,
            in the context that the mailbox was made in. What it raises is logged, and changes nothing.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ("name",)

    def __init__(
        self,
        name: str | None = None,
        *,
        capacity: int | None = 64,
        overflow: Overflow = "wait",
        on_drop: Callable[[T], object] | None = None,
    ) -> None:
        self.name: str = checked_name(name, "mailbox")
        check_choice(overflow, Overflow, "overflow")
        if on_drop is not None:
            checked_sync(on_drop, "on_drop", takes=1)
        super().__init__(f"mailbox {self.name!r}", checked_capacity(capacity), overflow, on_drop)
        enroll(self)

    def __repr__(self) -> str:
        return f"<{self._label}: {self._state.value}, {len(self)} waiting>"

    def __bool__(self) -> bool:
        """Return True: it is a mailbox, whether there is something in it or not."""
        return True

    async def __aenter__(self) -> Self:
        """Return the mailbox; does not suspend."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, and let nobody wait in `join`; does not suspend."""
        self.close("its block was left")
        self._give_up()

    async def wait(self) -> None:
        """Wait until it is closed, and nothing is left in it.

        Cancellation: ends the waiting, and changes nothing.
        """
        while not self._is_over():
            self._bind()
            await self._waiters.stand(self._is_over)

    def task_done(self) -> None:
        """Note that what is to be done with a received item is done; see `join`.

        Raises:
            ValueError: it was called more often than items were received.
        """
        if self._unfinished() <= len(self):
            raise ValueError(f"task_done() of {self._label} was called more often than items were received")
        self._reported += 1
        self._look_whether_done()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until all that was put in is done: received and reported by `task_done`, or dropped, or discarded.

        Closing the mailbox changes nothing of that, but leaving its block does: then nobody is waited for any more. A
        receiver that ends without reporting its item keeps this waiting, as does an item that nobody receives: give a
        *timeout* where that may be.

        Cancellation: ends the waiting, and changes nothing.

        Args:
            timeout: seconds that this may take; None for no bound.

        Raises:
            TimeoutExpired: not all is done in time.
            OwnerClosed: its block was left while items were not done.
        """
        seconds = checked_timeout(timeout, "timeout")
        now = kernel.clock()
        deadline = now() + seconds
        while unfinished := self._unfinished():
            if self._given_up:
                raise OwnerClosed(f"{self._label} was given up with {unfinished} of its items not done: {self._why}")
            self._bind()
            if not await self._joiners.stand(self._is_done, deadline - now()):
                raise TimeoutExpired(
                    f"join of {self._label}, of which {self._unfinished()} items are not done,", seconds
                )

    @property
    def capacity(self) -> int | None:
        """How many items may lie in it, None for no bound.

        May be set: those who wait for room get what there is more of, in order; where there is less, nothing is
        dropped, and senders wait until there is room again.
        """
        return None if self._capacity == FOREVER else int(self._capacity)

    @capacity.setter
    def capacity(self, capacity: int | None) -> None:
        self._bind()
        self._capacity = checked_capacity(capacity)
        self._offer_room()
        self._settle()

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return not self._open

    @property
    def full(self) -> bool:
        """Whether there is no room for an item."""
        return self._is_full()

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not len(self)

    def statistics(self) -> MailboxStatistics:
        """Return what it holds at this moment, and what has become of what was put in."""
        return MailboxStatistics(
            name=self.name,
            state=self._state.value,
            capacity=self.capacity,
            waiting=len(self),
            waiting_senders=self.waiting_senders,
            waiting_receivers=len(self._receivers),
            high_water=self._high_water,
            sent=self._sent,
            received=self._sent - len(self) - self._evicted - self._discarded,
            dropped=self._evicted + self._declined,
            refused=self._refused,
            discarded=self._discarded,
            unfinished=self._unfinished(),
        )

    @property
    def _state(self) -> OwnerState:
        if self._open:
            return OwnerState.OPEN
        return OwnerState.CLOSING if len(self) else OwnerState.CLOSED

    def _portrait(self) -> Portrait:
        things = [Thing("item", "items", count=len(self))] if len(self) else []
        counts = {"senders waiting": self.waiting_senders, "receivers waiting": len(self._receivers)}
        vacant = not things and not any(counts.values())
        return Portrait("mailbox", self.name, self._state.value, None, things, counts, vacant=vacant)


def checked_capacity(capacity: int | None) -> float:
    """Return *capacity*, infinity for None.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is not at least 1.
    """
    checked = checked_limit(capacity, what="capacity")
    return FOREVER if checked is None else checked
