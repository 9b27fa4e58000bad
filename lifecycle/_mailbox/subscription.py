"""Subscription: what one subscriber gets of a broadcast, from the call on that made it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from .inbox import Inbox

T = TypeVar("T")


class Subscription(Generic[T]):
    """What one subscriber gets of a `Broadcast`: an asynchronous iterator, from the call on that made it.

    It ends when the broadcast is closed and all is received. Several tasks may share one; each item goes to one of
    them. Leaving its block ends it, as does `close`, or letting go of it.

    Attributes:
        name: the subscriber's.
    """

    __slots__ = ("__weakref__", "_inbox", "_leave", "_make_room", "name")

    def __init__(
        self, inbox: Inbox[T], make_room: Callable[[Inbox[T]], object], leave: Callable[[Inbox[T]], object]
    ) -> None:
        self.name: str = inbox.name
        self._inbox = inbox
        self._make_room = make_room
        self._leave = leave

    def __repr__(self) -> str:
        return f"<{self._inbox._label}: {len(self._inbox)} waiting, {self.missed} missed>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._leave(self._inbox)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next item; the iteration ends where the broadcast, or this, is closed and all is received.

        Cancellation: nothing is taken out, and the iteration can go on.

        Raises:
            SubscriberTooSlow: it was disconnected.
        """
        item = await self._inbox.__anext__()
        if self._inbox.waits:
            self._make_room(self._inbox)
        return item

    async def receive(self) -> T:
        """Return the next item, and wait for it where there is none.

        Cancellation: nothing is taken out.

        Raises:
            OwnerClosed: the broadcast, or this, is closed, and all is received.
            SubscriberTooSlow: it was disconnected.
            WrongLoop: it is used in another event loop or thread.
        """
        item = await self._inbox.receive()
        if self._inbox.waits:
            self._make_room(self._inbox)
        return item

    def receive_nowait(self) -> T:
        """Return the next item, and never wait.

        Raises:
            MailboxEmpty: there is no item for now, or others wait for those that there are.
            OwnerClosed: the broadcast, or this, is closed, and all is received.
            SubscriberTooSlow: it was disconnected.
            WrongLoop: it is used in another event loop or thread.
        """
        item = self._inbox.receive_nowait()
        if self._inbox.waits:
            self._make_room(self._inbox)
        return item

    def close(self) -> None:
        """End it: it gets nothing more, and loses what it has not received; those who wait in it come to their end.

        Idempotent.
        """
        self._leave(self._inbox)
        self._inbox.close("it was closed")
        self._inbox.discard()

    @property
    def missed(self) -> int:
        """How many items it has not got, because it was too slow for them."""
        return self._inbox.missed

    @property
    def waiting(self) -> int:
        """How many items it has not received yet."""
        return len(self._inbox)

    @property
    def closed(self) -> bool:
        """Whether it gets nothing more."""
        return not self._inbox._open
