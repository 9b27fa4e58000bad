"""Broadcast: every item to every subscriber, in one order; what a slow one misses is its own affair."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Generic, Self, TypeVar

from typing_extensions import override

from .._ground.bound import Bound, here
from .._ground.checks import check_choice, checked_count, checked_name
from .._ground.closing import OwnerState, refuse
from .._ground.errors import MailboxFull
from .._ground.kernel import new_future
from .._ground.logs import OwnerLog
from .._ground.roots import Portrait, Thing, enroll
from .._ground.waking import in_turns
from .inbox import Inbox, SlowSubscriber
from .line import Line
from .mailbox import checked_capacity
from .statistics import BroadcastStatistics
from .subscription import Subscription

__all__ = ["Broadcast", "SlowSubscriber"]

T = TypeVar("T")

logger = OwnerLog("lifecycle.mailbox")


class Broadcast(Bound, Generic[T]):
    """Tells every subscriber every item, all of them in the same order.

    A subscription begins with the call that makes it: what is published from then on is in it, whether anybody reads or
    not. Each has a bound, and a policy of its own for what comes when it is behind by so many items. By default it
    misses the oldest, and a publisher is never held up.

    Publishing is one step, of one to three microseconds for each subscriber. Where one is to be waited for, an
    item is published when all of them have room: to all subscribers, or, where the publisher is cancelled, to none.

    It belongs to one event loop at a time, as a `Mailbox` does. Leaving its block closes it.

    Do not use it for work that one of several workers is to do: that is a `Mailbox`.

    Example::

        async def follow(news):
            with news.subscribe() as subscription:
                async for line in subscription:
                    print(line, subscription.missed)

        async with TaskGroup() as group, Broadcast("news", replay=1) as news:
            news.publish_nowait("first")
            group.start_soon(follow, news)
            await news.publish("second")

    Args:
        name: for errors, logs and snapshots.
        capacity: by how many items a subscriber may be behind, at least 1; None for no bound.
        overflow: what becomes of an item that comes when a subscriber has no room: the publisher waits (``"wait"``);
            this subscriber misses the one that it has had for longest (``"drop_oldest"``), or the one that comes
            (``"drop_newest"``); or it is disconnected (``"disconnect"``): it loses what it has not received, and gets
            `SubscriberTooSlow`.
        replay: how many of the latest items a new subscriber gets first, as far as it has room for them.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_crowded", "_disconnected", "_history", "_inboxes", "_missed", "_number", "_open",
        "_overflow", "_published", "_publishers", "_why", "name",
    )  # fmt: skip

    def __init__(
        self,
        name: str | None = None,
        *,
        capacity: int | None = 64,
        overflow: SlowSubscriber = "drop_oldest",
        replay: int = 0,
    ) -> None:
        self.name: str = checked_name(name, "broadcast")
        super().__init__(f"broadcast {self.name!r}")
        self._capacity = checked_capacity(capacity)
        check_choice(overflow, SlowSubscriber, "overflow")
        self._overflow: SlowSubscriber = overflow
        self._history: deque[T] = deque(maxlen=checked_count(replay, "replay"))
        self._inboxes: dict[Inbox[T], None] = {}
        self._crowded: dict[Inbox[T], None] = {}  # those that the publisher has to wait for
        self._publishers = Line()
        self._open = True
        self._why = ""
        self._number = 0  # of the last subscriber
        self._published = 0
        self._missed = 0  # by those that are gone
        self._disconnected = 0
        enroll(self)

    def __repr__(self) -> str:
        return f"<{self._label}: {self._state.value}, {len(self._inboxes)} subscribers>"

    async def __aenter__(self) -> Self:
        """Return the broadcast; does not suspend."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it; does not suspend."""
        self.close("its block was left")

    # Publishing

    async def publish(self, item: T) -> int:
        """Give *item* to every subscriber, and wait first where one that is to be waited for has no room.

        Returns without a turn of the loop where it does not have to wait. Several tasks may publish; they are served in
        the order in which they came.

        Returns:
            How many subscribers got it: not those that have missed it, or are disconnected.

        Cancellation: *item* has not been published.

        Raises:
            OwnerClosed: it is closed, or was while this waited; *item* has not been published.
            WrongLoop: it is used in another event loop or thread; the same.
        """
        if self._crowded or self._publishers or here() != self._home or not self._open:
            await self._wait_for_turn()
        return self._give(item)

    def publish_nowait(self, item: T) -> int:
        """Give *item* to every subscriber, and never wait.

        Returns:
            How many subscribers got it: not those that have missed it, or are disconnected.

        Raises:
            MailboxFull: a subscriber that is to be waited for has no room, or other publishers wait for that.
            OwnerClosed: it is closed.
            WrongLoop: it is used in another event loop or thread.
        """
        self._bind()
        self._check_open()
        if self._crowded or self._publishers:
            slow = ", ".join(inbox.name for inbox in list(self._crowded)[:3])
            raise MailboxFull(
                f"{self._label} has subscribers that are to be waited for and have no room: {slow or 'none by now'}; "
                f"{len(self._publishers)} publishers wait. Wait with publish(), or give them another overflow"
            )
        return self._give(item)

    async def _wait_for_turn(self) -> None:
        self._bind()
        self._check_open()
        publishers = self._publishers
        told_before = False
        while self._crowded or (publishers and not told_before):
            place = new_future()
            publishers.places[place] = None
            if told_before:  # and one who came in between has filled the room: it is still the first
                publishers.places.move_to_end(place, last=False)
            try:
                await place
            except BaseException:
                publishers.leave(place)
                self._tell_publisher()
                raise
            publishers.told -= 1
            told_before = True
            if not self._open:
                publishers.tell()
                self._check_open()

    def _tell_publisher(self) -> None:
        """Tell the next publisher that it is its turn, or that there will be none."""
        if not self._open or not (self._crowded or self._publishers.told):
            self._publishers.tell()

    def _check_open(self) -> None:
        if not self._open:
            refuse(self._label, "an item", self._why)

    def _give(self, item: T) -> int:
        got = 0
        slow: list[Inbox[T]] = []
        self._published += 1
        for inbox in list(self._inboxes):
            if inbox.disconnects and inbox.is_crowded():
                slow.append(inbox)
                continue
            got += inbox.send_nowait(item)
            if inbox.waits and inbox.is_crowded():
                self._crowded[inbox] = None
        self._history.append(item)
        if self._publishers:
            self._tell_publisher()
        if slow:
            self._disconnect(slow)
        return got

    # Subscribing

    def subscribe(
        self, name: str | None = None, *, capacity: int | None = None, overflow: SlowSubscriber | None = None
    ) -> Subscription[T]:
        """Return a subscription to what is published from now on, which its block ends.

        It begins with what is to be replayed. Of a broadcast that is closed there is none: its iteration ends at once.

        Args:
            name: the subscriber's; a number by default.
            capacity: by how many items it may be behind; as the broadcast says by default.
            overflow: what becomes of what comes then; as the broadcast says by default.

        Raises:
            TypeError, ValueError: an argument is out of its range.
            WrongLoop: the broadcast is used in another event loop or thread.
        """
        limit = self._capacity if capacity is None else checked_capacity(capacity)
        policy = self._overflow if overflow is None else overflow
        check_choice(policy, SlowSubscriber, "overflow")
        self._bind()
        self._number += 1
        inbox: Inbox[T] = Inbox(checked_name(name, str(self._number)), self._label, limit, policy)
        if self._open:
            history = list(self._history)
            for item in history[int(max(0, len(history) - limit)) :]:
                inbox.send_nowait(item)
            self._inboxes[inbox] = None
            if inbox.waits and inbox.is_crowded():
                self._crowded[inbox] = None
        else:
            inbox.close(self._why)
        return Subscription(inbox, self._note_room, self._let_go)

    def _note_room(self, inbox: Inbox[T]) -> None:
        if inbox in self._crowded and not inbox.is_crowded():
            del self._crowded[inbox]
            self._tell_publisher()

    def _let_go(self, inbox: Inbox[T]) -> None:
        """Forget a subscriber; the collector may ask for it, in any thread."""
        if inbox not in self._inboxes:
            return
        loop = self._loop
        if here() == self._home or loop is None or loop.is_closed() or not loop.is_running():
            self._forget(inbox)
        else:
            loop.call_soon_threadsafe(self._forget, inbox)

    def _forget(self, inbox: Inbox[T]) -> None:
        if self._inboxes.pop(inbox, inbox) is None:
            self._missed += inbox.missed
            self._crowded.pop(inbox, None)
            self._tell_publisher()

    def _disconnect(self, slow: list[Inbox[T]]) -> None:
        for inbox in slow:
            inbox.disconnect()
            self._forget(inbox)
        self._disconnected += len(slow)
        for inbox in slow:  # when all else is done: a log may be what is published here
            facts = {"owner": self.name, "subscriber": inbox.name, "missed": inbox.missed}
            logger.warning("subscriber disconnected", extra=facts)

    # Ending

    def close(self, reason: str | None = None) -> None:
        """Publish nothing more: publishers are refused, those that wait included.

        Subscribers get what they have not received yet; then their iterations end. Idempotent.

        Args:
            reason: why, for the errors of those that come late.
        """
        self._bind()
        if self._open:
            self._open = False
            self._why = reason or "it was closed"
            self._history.clear()
            self._publishers.tell_many()
            self._crowded.clear()
            in_turns(self._inboxes, self._close_inbox)

    def _close_inbox(self, inbox: Inbox[T]) -> None:
        inbox.close(self._why)
        self._forget(inbox)

    # Looking

    @property
    def closed(self) -> bool:
        """Whether nothing more is published."""
        return not self._open

    @property
    def subscribers(self) -> int:
        """How many subscribers there are."""
        return len(self._inboxes)

    def statistics(self) -> BroadcastStatistics:
        """Return what it holds at this moment, and what has become of what was published."""
        return BroadcastStatistics(
            name=self.name,
            state=self._state.value,
            subscribers=len(self._inboxes),
            waiting_publishers=len(self._publishers),
            published=self._published,
            missed=self._missed + sum(inbox.missed for inbox in self._inboxes),
            disconnected=self._disconnected,
            most_behind=max(map(len, self._inboxes), default=0),
            replayed=len(self._history),
        )

    @property
    def _state(self) -> OwnerState:
        return OwnerState.OPEN if self._open else OwnerState.CLOSED

    def _portrait(self) -> Portrait:
        things = [Thing("subscription", inbox.name, f"{len(inbox)} waiting") for inbox in list(self._inboxes)]
        counts = {"publishers waiting": len(self._publishers)}
        vacant = not things and not self._publishers
        return Portrait("broadcast", self.name, self._state.value, None, things, counts, vacant=vacant)

    @override
    def _is_awaited(self) -> bool:
        return bool(self._publishers) or any(inbox._is_awaited() for inbox in self._inboxes)

    @override
    def _forget_waiters(self) -> None:
        self._publishers = Line()
