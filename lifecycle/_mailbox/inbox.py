"""Inbox: what one subscriber of a broadcast has not received yet, and what becomes of it when that is too much."""

from __future__ import annotations

from typing import Literal, NoReturn, TypeVar

from typing_extensions import override

from .._ground.errors import SubscriberTooSlow
from .._ground.kernel import FOREVER
from .box import Box

T = TypeVar("T")

SlowSubscriber = Literal["wait", "drop_oldest", "drop_newest", "disconnect"]


class Inbox(Box[T]):
    """A box that a broadcast fills.

    Args:
        name: the subscriber's.
        owner: what the broadcast calls itself.
        limit: how many items may lie in it.
        overflow: what becomes of those that come when there is no room. A box with one of the first and the last takes
            any number: the broadcast looks whether it is crowded.

    Attributes:
        name: the subscriber's.
        limit: how many items may lie in it.
        waits: whether the publisher waits for room in it.
        disconnects: whether the subscriber is disconnected where there is none.
        cut: how many items it missed when it was disconnected; None where it was not.
    """

    __slots__ = ("cut", "disconnects", "limit", "name", "waits")

    def __init__(self, name: str, owner: str, limit: float, overflow: SlowSubscriber) -> None:
        self.name: str = name
        self.limit: float = limit
        self.waits: bool = overflow == "wait"
        self.disconnects: bool = overflow == "disconnect"
        self.cut: int | None = None
        label = f"subscription {name!r} to {owner}"
        if overflow == "wait" or overflow == "disconnect":
            super().__init__(label, FOREVER)
        else:
            super().__init__(label, limit, overflow)

    @property
    def missed(self) -> int:
        """How many items the subscriber will not get."""
        return self._evicted + self._declined + (self.cut or 0)

    def is_crowded(self) -> bool:
        """Return whether there is no room in it."""
        return len(self._items) - self._receivers.told >= self.limit

    def disconnect(self) -> None:
        """Let the subscriber hear that it was too slow: as soon as it runs, whatever lies in it."""
        if self._open:
            self.close("it was too slow")
            self.cut = len(self.discard()) + 1

    @override
    def _end(self, end: type[Exception]) -> NoReturn:
        if self.cut is not None:
            raise SubscriberTooSlow(self.name, self.missed)
        super()._end(end)
