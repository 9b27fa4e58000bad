"""Box: sending to and receiving from a store, in which nothing is lost, doubled or overtaken."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from .._ground.bound import here
from .._ground.closing import refuse
from .._ground.errors import MailboxEmpty, MailboxFull, OwnerClosed
from .._ground.kernel import FOREVER, current_loop
from .store import Store

T = TypeVar("T")


class Box(Store[T]):
    """A bounded line of items from any number of senders to any number of receivers; see `Store` for its arguments."""

    __slots__ = ()

    # Sending

    async def send(self, item: T) -> bool:
        """Put *item* in, and wait for room first where there is none and that is the policy.

        Returns without a turn of the loop where it does not have to wait. Several tasks may send; they are served in
        the order in which they came.

        Returns:
            Whether *item* was put in; it is not where ``"drop_newest"`` has dropped it.

        Cancellation: *item* has not been put in.

        Raises:
            OwnerClosed: the mailbox is closed, or was while this waited; *item* has not been put in.
            MailboxFull: there is no room, and the policy is ``"refuse"``; the same.
            WrongLoop: it is used in another event loop or thread; the same.
        """
        items = self._items
        if len(items) >= self._easy or here() != self._home:
            return await self._send_at_length(item)
        items.append(item)
        self._sent += 1
        return True

    def send_nowait(self, item: T) -> bool:
        """Put *item* in, and never wait.

        Returns:
            Whether *item* was put in; it is not where ``"drop_newest"`` has dropped it.

        Raises:
            MailboxFull: there is no room, or other senders wait for it, and the policy is not to drop anything.
            OwnerClosed: the mailbox is closed.
            WrongLoop: it is used in another event loop or thread.
        """
        items = self._items
        if len(items) >= self._easy or here() != self._home:
            return self._send_at_once(item)
        items.append(item)
        self._sent += 1
        return True

    async def _send_at_length(self, item: T) -> bool:
        if (loop := current_loop()) is not self._loop:
            self._bind()
        assert loop is not None
        senders = self._senders
        if senders.places or self._is_full():
            if not self._open:
                self._refuse_late()
            if not self._waits:
                return self._overflow_with(item)
            place = loop.create_future()
            senders.places[place] = None
            self._easy = 0
            self._reserved = FOREVER
            try:
                await place
            except BaseException:
                self._leave(senders, place)
                raise
            senders.told -= 1
            if not self._open:
                self._refuse_late()
            self._sent += 1
            self._put_at(place, item)
            return True
        if not self._open:
            self._refuse_late()
        self._put(item)
        return True

    def _send_at_once(self, item: T) -> bool:
        self._bind()
        if not self._open:
            self._refuse_late()
        if self._senders.places or self._is_full():
            return self._overflow_with(item)
        self._put(item)
        return True

    def _overflow_with(self, item: T) -> bool:
        if self._overflow == "drop_newest":
            self._declined += 1
            self._hand_back(item)
            return False
        if self._overflow == "drop_oldest":
            oldest = self._items.popleft()
            self._evicted += 1
            self._put(item)
            self._hand_back(oldest)
            return True
        self._refused += 1
        wait = "wait for room with send(), " if self._overflow == "wait" else ""
        raise MailboxFull(
            f"{self._label} is full: {len(self._items)} items lie in it and {len(self._senders)} senders wait, its "
            f"capacity is {self._capacity}; {wait}try again later, receive faster, or raise the capacity"
        )

    def _put(self, item: T) -> None:
        self._sent += 1
        if self._coming:  # behind those that were told of room before
            self._coming.append((item,))
        else:
            self._items.append(item)
            self._note_items()

    def _refuse_late(self) -> NoReturn:
        self._refused += 1
        self._senders.tell()  # one more of those in line
        refuse(self._label, "an item", self._why)

    # Receiving

    async def receive(self) -> T:
        """Return the next item, and wait for it where there is none.

        Returns without a turn of the loop where it does not have to wait. Several tasks may receive; they are served in
        the order in which they came. ``async for item in mailbox`` does the same until nothing will come.

        Cancellation: nothing is taken out.

        Raises:
            OwnerClosed: the mailbox is closed, and nothing is left in it.
            WrongLoop: it is used in another event loop or thread, and there is no item that nobody waits for.
        """
        items = self._items
        if len(items) <= self._reserved:
            return await self._receive_at_length(OwnerClosed)
        return items.popleft()

    def __aiter__(self) -> Box[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item; the iteration ends where nothing is left and nothing will come.

        Cancellation: nothing is taken out, and the iteration can go on.
        """
        items = self._items
        if len(items) <= self._reserved:
            return await self._receive_at_length(StopAsyncIteration)
        return items.popleft()

    def receive_nowait(self) -> T:
        """Return the next item, and never wait.

        Raises:
            MailboxEmpty: there is no item for now, or others wait for those that there are.
            OwnerClosed: the mailbox is closed, and nothing is left in it.
            WrongLoop: it is used in another event loop or thread.
        """
        self._bind()
        if len(self._items) > len(self._receivers):
            return self._take()
        if not self._open and not self._items:
            self._end(OwnerClosed)
        raise MailboxEmpty(
            f"{self._label} has nothing for one who does not wait: {len(self._items)} items lie in it, and "
            f"{len(self._receivers)} receivers were there before; wait with receive()"
        )

    async def _receive_at_length(self, end: type[Exception]) -> T:
        if (loop := current_loop()) is not self._loop:
            self._bind()
        assert loop is not None
        items, receivers = self._items, self._receivers
        if len(items) <= len(receivers.places) + receivers.told:
            if not items and not self._open:
                self._end(end)
            place = loop.create_future()
            receivers.places[place] = None
            self._easy = 0
            self._reserved = FOREVER
            try:
                await place
            except BaseException:
                self._leave(receivers, place)
                raise
            receivers.told -= 1
            if not items:
                receivers.tell()
                self._end(end)
        return self._take()

    def _take(self) -> T:
        item = self._items.popleft()
        if self._senders.places:
            self._offer_room()
        if self._receivers.places:
            self._offer_items()
        self._settle()
        if not self._open and not self._items:
            self._tell_over()
        return item

    def _end(self, end: type[Exception]) -> NoReturn:
        raise end(f"nothing is left in {self._label}, and nothing will come: {self._why}")
