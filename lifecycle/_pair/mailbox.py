"""Mailbox: what one loop of a pair hands to the other, bounded, in order, and never lost by a cancellation."""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict, deque
from typing import Generic, NoReturn, TypeVar

from .._ground import kernel
from .._ground.closing import refuse

T = TypeVar("T")


class Waiters:
    """Those that wait for one thing in line, and those that have been woken and have not run yet.

    Attributes:
        woken: how many of the latter there are.
    """

    __slots__ = ("_line", "woken")

    def __init__(self) -> None:
        self._line: OrderedDict[Future[None], None] = OrderedDict()  # any of them may leave
        self.woken = 0

    def __len__(self) -> int:
        return len(self._line) + self.woken

    async def wait(self) -> None:
        """Wait until it is one's turn.

        Cancellation: leaves the line.
        """
        place = kernel.new_future()
        self._line[place] = None
        try:
            await place
        finally:
            if self._line.pop(place, place) is place:  # it was no longer in line
                self.woken -= 1

    def wake(self) -> bool:
        """Wake the first in line; return False where there is none."""
        while self._line:
            place, _ = self._line.popitem(last=False)
            self.woken += 1
            if not place.done():
                place.set_result(None)
                return True
        return False


class Mailbox(Generic[T]):
    """A bounded line of items from senders to receivers.

    An item belongs to the sender until `send` returns and to the receiver from the step on in which the iteration
    yields it; in between it lies here, whichever of them is cancelled. A wake-up that meets a waiter that has been
    cancelled goes to the next one.

    Where neither has to wait, sending and receiving are a few plain steps: no future, no turn of the loop.

    Args:
        owner: whose mailbox it is, for errors.
        capacity: how many items lie here before a sender has to wait.

    Attributes:
        capacity: the same.
    """

    __slots__ = ("_items", "_open", "_owner", "_receivers", "_senders", "_why", "capacity")

    def __init__(self, owner: str, capacity: int) -> None:
        self._owner = owner
        self.capacity = capacity
        self._items: deque[T] = deque()
        self._senders = Waiters()
        self._receivers = Waiters()
        self._open = True
        self._why = ""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def waiting_senders(self) -> int:
        """How many senders wait for room."""
        return len(self._senders)

    # Sending

    async def send(self, item: T) -> None:
        """Put *item* in, and wait for room first where there is none.

        Returns without a turn of the loop where there is room. Several tasks may send; they are served in order.

        Cancellation: *item* has not been put in.

        Raises:
            OwnerClosed: the receiver has ended; *item* has not been put in.
        """
        # In order: while a sender waits for room, or was woken for it and has not run yet, others get in line.
        if not self._open or self._senders or len(self._items) >= self.capacity:
            await self._wait_for_room()
        self._items.append(item)
        if self._receivers:
            self._receivers.wake()
        if self._senders:
            self._offer_room()  # to one who got in line when there was room for more than those before it

    async def _wait_for_room(self) -> None:
        if not self._open:
            self._refuse()
        try:
            await self._senders.wait()
        except BaseException:
            self._offer_room()  # it may have been woken for room that is now another's
            raise
        if not self._open:
            self._refuse()

    def _offer_room(self) -> None:
        """Tell as many of those in line as there is room for; it is theirs until they have run."""
        senders = self._senders
        while senders.woken < self.capacity - len(self._items) and senders.wake():
            pass

    def _refuse(self) -> NoReturn:
        refuse(self._owner, "an item", self._why)

    # Receiving

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item; the iteration ends when nothing is left and nothing will come.

        Cancellation: nothing is taken out.
        """
        if not self._items:
            await self._wait_for_item()
        item = self._items.popleft()
        if self._senders:
            self._offer_room()
        return item

    async def _wait_for_item(self) -> None:
        while not self._items:
            if not self._open:
                raise StopAsyncIteration
            try:
                await self._receivers.wait()
            except BaseException:
                if self._items:
                    self._receivers.wake()  # this one may have been woken for an item that is now another's
                raise

    # Ending

    def end(self, why: str) -> None:
        """Take nothing more: senders are refused, those in line included; what is in can still be received."""
        if self._open:
            self._open = False
            self._why = why
            for waiters in (self._senders, self._receivers):
                while waiters.wake():
                    pass
