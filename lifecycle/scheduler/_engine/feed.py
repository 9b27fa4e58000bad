"""Publishing events: to one function at once, and to any number of readers, each with a bounded buffer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

from .._ground.bridge import Bell
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
        self._readers: list[Reader] = []
        self._closed = False
        self.heard: bool = listener is not None
        """Whether there is a listener or a reader; otherwise most events are not even made."""

    def publish(self, event: Event) -> None:
        """Pass an event to the listener and to every reader."""
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception:
                logger.exception("event listener failed", extra={"owner": self._owner, "event": event.kind})
        for reader in self._readers:
            reader.put(event)

    async def read(self, buffer: int = BUFFER) -> AsyncIterator[Event]:
        """Yield events from now on until the feed is closed; one that was slow gets ``events_lost`` first.

        Cancellation: nothing is lost that had been yielded.
        """
        reader = Reader(buffer)
        if self._closed:
            return
        self._readers.append(reader)
        self.heard = True
        try:
            while (event := await reader.get()) is not None:
                yield event
        finally:
            self._readers.remove(reader)
            self.heard = self._listener is not None or bool(self._readers)

    def close(self) -> None:
        """Let every reader come to its end."""
        self._closed = True
        for reader in self._readers:
            reader.put(None)


class Reader:
    """The bounded buffer of one reader of events."""

    def __init__(self, buffer: int) -> None:
        self._events: deque[Event | None] = deque(maxlen=buffer)
        self._lost = 0
        self._arrived = Bell()

    def put(self, event: Event | None) -> None:
        """Add an event; when the buffer is full the oldest is dropped. None is the end."""
        if len(self._events) == self._events.maxlen:
            self._lost += 1
        self._events.append(event)
        self._arrived.ring()

    async def get(self) -> Event | None:
        """Return the next event, None at the end."""
        while not self._events and not self._lost:
            await self._arrived.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return Event("events_lost", data={"count": lost})
        return self._events.popleft()
