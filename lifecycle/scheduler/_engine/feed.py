"""Publishing events: to one function at once, and to any number of readers, each with a bounded buffer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Self

from lifecycle import Broadcast
from lifecycle.types import Subscription

from .._ground.bridge import end_process
from .._ground.events import Event

logger = logging.getLogger("lifecycle.scheduler")

BUFFER = 1_000
"""Events that wait for a slow reader; beyond, the oldest are dropped and counted."""


class Feed:
    """Passes events on.

    Args:
        listener: called in the loop with every event; what it raises is logged, and changes nothing else.
        owner: the scheduler's name, for logs.
    """

    def __init__(self, listener: Callable[[Event], object] | None, owner: str = "scheduler") -> None:
        self._owner = owner
        self._listener = listener
        self._readers: Broadcast[Event] | None = None  # from the first one on
        self._read = False  # whether there are any, as far as was seen
        self._closed = False
        self.heard: bool = listener is not None
        """Whether there is a listener or a reader; otherwise most events are not even made."""

    def publish(self, event: Event) -> None:
        """Pass an event to every reader, and to the listener."""
        if self._read and self._readers is not None and not self._readers.publish_nowait(event):
            self._read = False
            self.heard = self._listener is not None
        if self._listener is not None:
            try:
                self._listener(event)
            except (SystemExit, KeyboardInterrupt) as error:
                end_process(error)
            except BaseException:  # a cancellation that it raises is not meant for the task that this step is of
                logger.exception("event listener failed", extra={"owner": self._owner, "event": event.kind})

    def read(self, buffer: int = BUFFER) -> AsyncIterator[Event]:
        """Return an iterator over the events from now on; see `Events`."""
        if self._readers is None:
            self._readers = Broadcast(f"events of {self._owner}")
        subscription = self._readers.subscribe(capacity=buffer, overflow="drop_oldest")
        if self._closed:
            self._readers.close()
        else:
            self._read = self.heard = True
        return Events(subscription)

    def close(self) -> None:
        """Let every reader come to its end."""
        self._read = False
        self._closed = True
        if self._readers is not None:
            self._readers.close()


class Events:
    """What one reader gets: the events until the feed is closed; where it was slow, ``events_lost`` before the next.

    It may be stepped under a timeout, and goes on afterwards. It ends with `aclose`, or when it is let go of.
    """

    def __init__(self, subscription: Subscription[Event]) -> None:
        self._subscription = subscription
        self._told = 0  # of the events that were lost, so many
        self._next: Event | None = None  # that comes after the number of those that were lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Cancellation: nothing is lost.
        """
        if self._next is not None:
            event, self._next = self._next, None
            return event
        event = await anext(self._subscription)
        lost = self._subscription.missed - self._told
        if lost:
            self._told += lost
            self._next = event
            return Event("events_lost", data={"count": lost})
        return event

    async def aclose(self) -> None:
        """End it; does not suspend."""
        self._next = None
        self._subscription.close()
