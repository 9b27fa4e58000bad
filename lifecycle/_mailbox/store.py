"""Store: what lies in a mailbox, who waits for room or for an item, and who is next.

Theory of operation
-------------------

An item is its sender's until `send` returns, and its receiver's from the step on in which it is returned; in between it
lies here, whichever of them is cancelled. So nothing is ever handed to a task that has yet to run: a waiter is only
*told* that there is room, or an item, which is reserved for it until it runs. One that is cancelled meanwhile has
changed nothing, and what was reserved for it goes to the next in line.

*In order*: an item that comes while senders were told of room, and have not run yet, lies behind the places that are
kept for theirs (`_coming`) until those have come or gone: so items are received in the order in which they were sent,
and a sender that runs need not wait a turn of the loop for each of the others. A receiver that comes takes an item at
once where there are enough for all who came before it, and stands behind them where there are not: so those lose
nothing but, at most, the first place in this turn of the loop, and a crowd of receivers need not change places for
every item.

An item that a waiting receiver was told of takes no room: it would have gone to that one past the box, were it not for
cancellations. Where such a receiver is cancelled, there may be more items than ``capacity`` for a while.

*The short way*: where nobody waits, sending and receiving are a few plain steps. Two thresholds say so: below `_easy`
items a sender need not look any further, and above `_reserved` items a receiver need not. Every step that changes who
waits, or whether the box is open, sets them again (`_settle`). `_easy` is never above the largest number of items that
there was so far, which therefore costs nothing to know.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import islice
from typing import Generic, Literal, TypeVar

from typing_extensions import override

from .._ground.bound import Bound
from .._ground.kernel import FOREVER
from .._ground.logs import OwnerLog
from .._ground.waking import MANY
from .._ground.watchers import tell_failure
from .line import Line

T = TypeVar("T")

Overflow = Literal["wait", "refuse", "drop_oldest", "drop_newest"]

logger = OwnerLog("lifecycle.mailbox")


class Store(Bound, Generic[T]):
    """A bounded line of items, and the lines of those who wait; sending and receiving are the `Box`'s.

    Args:
        label: what it is, for errors.
        capacity: how many items may lie in it; infinity for no bound.
        overflow: what becomes of an item that comes when there is no room.
        on_drop: called with every item that is dropped, in the context that the box was made in.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_coming", "_context", "_declined", "_discarded", "_easy", "_emptied", "_evicted",
        "_given_up", "_high_water", "_items", "_joiners", "_on_drop", "_open", "_overflow", "_receivers", "_refused",
        "_reported", "_reserved", "_senders", "_sent", "_waiters", "_waits", "_why",
    )  # fmt: skip

    def __init__(
        self, label: str, capacity: float, overflow: Overflow = "wait", on_drop: Callable[[T], object] | None = None
    ) -> None:
        super().__init__(label)
        self._open = True
        self._sent = self._refused = 0
        self._evicted = 0  # dropped after it had been put in
        self._declined = 0  # dropped instead
        self._discarded = 0
        self._reported = 0  # done, as receivers say
        self._high_water = 0
        self._easy: float = 0
        self._capacity = capacity
        self._overflow: Overflow = overflow
        self._waits = overflow == "wait"
        self._on_drop = on_drop
        self._context: Context | None = None if on_drop is None else copy_context()
        self._items: deque[T] = deque()  # that can be received
        self._coming: deque[Future[None] | tuple[T]] = deque()  # places of senders that were told; items behind those
        self._why = ""
        self._given_up = False  # whether nobody is to wait for what receivers have not reported done
        self._emptied = False  # whether nothing is to be left, because all was taken out after the close
        self._senders = Line()
        self._receivers = Line()
        self._waiters = Line()  # for it to be closed and empty
        self._joiners = Line()  # for all to be done
        self._settle()

    def __len__(self) -> int:
        coming = self._coming
        return len(self._items) + (len(coming) - self._senders.told if coming else 0)

    @property
    def waiting_senders(self) -> int:
        """How many senders wait for room."""
        return len(self._senders)

    # Who waits

    def _is_full(self) -> bool:
        return len(self._items) + len(self._coming) - self._receivers.told >= self._capacity

    def _put_at(self, place: Future[None], item: T) -> None:
        """Put *item* where a place was kept for it."""
        if self._coming[0] is place:
            self._coming.popleft()
            self._items.append(item)
            self._move_up()
        else:  # one that was told before has yet to run
            self._coming[self._coming.index(place)] = (item,)
            self._settle()

    def _move_up(self) -> None:
        """Let those items be received that nobody's place is before any more."""
        coming, items = self._coming, self._items
        while coming and isinstance(entry := coming[0], tuple):
            items.append(entry[0])
            coming.popleft()
        self._note_items()

    def _move_all_up(self) -> None:
        """Keep no place any longer: those who were told of them are refused, or gone with their loop."""
        self._items.extend(entry[0] for entry in self._coming if isinstance(entry, tuple))
        self._coming.clear()
        self._note_items()

    def _note_items(self) -> None:
        """Tell those who wait of items that have come."""
        items, receivers = self._items, self._receivers
        if receivers.places:
            self._offer_items()
        lying = (len(self) if self._coming else len(items)) - receivers.told
        if lying > self._high_water:
            self._high_water = lying
        if self._senders.places:
            self._offer_room()
        self._settle()

    def _leave(self, line: Line, place: Future[None]) -> None:
        """Take one that does not go on out of *line*, and give what was reserved for it to the next."""
        line.leave(place)
        if place in self._coming:
            self._coming.remove(place)
            self._move_up()
        self._offer_items()
        self._offer_room()
        self._settle()
        if not self._open and (line is self._senders or not self._items):
            line.tell()  # of the end, as this one would have
        if self._emptied:
            self._drop_unreserved()

    def _offer_room(self) -> None:
        """Tell as many senders as there is room for; of many, each tells one more, so that no step takes long."""
        senders, coming = self._senders, self._coming
        room = self._capacity - len(self._items) - len(coming) + self._receivers.told if self._open else 0
        while room > 0 and senders.told < MANY and (place := senders.tell()):
            coming.append(place)
            room -= 1

    def _offer_items(self) -> None:
        """Tell as many receivers as there are items for; of many, each tells one more."""
        receivers = self._receivers
        while receivers.told < min(MANY, len(self._items)) and receivers.tell():
            pass

    def _settle(self) -> None:
        """Say when the short ways may be taken."""
        senders, receivers = self._senders, self._receivers
        told = receivers.told
        if senders.places or not self._open:
            self._easy = 0
            self._reserved = FOREVER
        else:
            self._reserved = told + len(receivers.places)
            if senders.told or receivers.places:
                self._easy = 0
            elif self._high_water < self._capacity:
                self._easy = self._high_water + told
            else:
                self._easy = self._capacity + told

    # Ending

    def close(self, reason: str | None = None) -> None:
        """Take nothing more: senders are refused, those that wait included; what is in can still be received.

        When that is done, iterations end, and `receive` raises. Idempotent.

        Args:
            reason: why, for the errors of those that come late.
        """
        self._bind()
        if self._open:
            self._open = False
            self._why = reason or "it was closed"
            self._move_all_up()
            self._senders.tell_many()
            self._settle()
            if not self._items:
                self._tell_over()

    def discard(self) -> list[T]:
        """Take out all that is in, and return it, the oldest first; those who wait for room get it.

        An item that a waiting receiver has been told of, and takes as soon as it runs, is left to that one.
        """
        self._bind()
        items = self._items
        kept = list(islice(items, self._receivers.told))
        left = [*islice(items, len(kept), None), *(entry[0] for entry in self._coming if isinstance(entry, tuple))]
        items.clear()
        items.extend(kept)
        places = [entry for entry in self._coming if not isinstance(entry, tuple)]
        self._coming.clear()
        self._coming.extend(places)
        self._discarded += len(left)
        self._offer_room()
        self._settle()
        if not self._open:
            self._emptied = True
            if left and not items:
                self._tell_over()
        self._look_whether_done()
        return left

    def _give_up(self) -> None:
        """Let nobody wait any longer for what receivers have not reported."""
        self._given_up = True
        self._look_whether_done()

    def _drop_unreserved(self) -> None:
        """Drop what a receiver was told of that was cancelled, after all else had been taken out."""
        while len(self._items) > self._receivers.told:
            item = self._items.pop()
            self._evicted += 1
            if not self._items:
                self._tell_over()
            self._hand_back(item)

    def _drop_all(self) -> None:
        """Close it for good, and drop what is left in it, which nobody will take."""
        self.close()
        while self._items:
            self._evicted += 1
            item = self._items.popleft()
            if not self._items:
                self._tell_over()
            self._hand_back(item)

    def _tell_over(self) -> None:
        """Tell everybody that nothing is left, and nothing will come."""
        self._receivers.tell_many()
        self._waiters.tell_many()

    def _is_over(self) -> bool:
        return not (self._open or self._items)

    # What is done

    def _unfinished(self) -> int:
        """Return how many items were put in, and are neither done nor dropped nor discarded."""
        return self._sent - self._evicted - self._discarded - self._reported

    def _is_done(self) -> bool:
        """Return whether nobody has to wait for what receivers report any more."""
        return self._given_up or not self._unfinished()

    def _look_whether_done(self) -> None:
        if self._joiners.places and self._is_done():
            self._joiners.tell_many()

    def _hand_back(self, item: T) -> None:
        """Hand a dropped item over, when all else is done."""
        self._look_whether_done()
        if self._on_drop is not None and self._context is not None:
            try:
                self._context.copy().run(self._on_drop, item)
            except BaseException as error:
                tell_failure(logger, "drop hook failed", error, owner=self._label)

    # Loops

    @override
    def _is_awaited(self) -> bool:
        return bool(self._senders or self._receivers or self._waiters or self._joiners)

    @override
    def _forget_waiters(self) -> None:
        self._senders = Line()
        self._receivers = Line()
        self._waiters = Line()
        self._joiners = Line()
        self._move_all_up()

    def _check_invariants(self) -> None:
        """Assert what always holds; for tests."""
        items, receivers, senders = len(self._items), self._receivers, self._senders
        assert 0 <= receivers.told <= items or not (self._open or items)
        assert senders.told >= 0
        assert not receivers.places or receivers.told >= min(1, items)
        assert not senders.places or senders.told or self._is_full() or receivers.told
        assert items <= self._high_water + receivers.told or receivers.told == 0
        assert self._easy <= min(self._high_water, self._capacity) + receivers.told
        assert self._unfinished() >= len(self)
        places = [entry for entry in self._coming if not isinstance(entry, tuple)]
        assert len(places) == (senders.told if self._open else 0)
        assert places[:1] == list(self._coming)[:1], "an item waits behind nobody"
