"""What clients have not read, all of them together: bounded, at the cost of those that read least."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from lifecycle import ServedStream


class Client(Protocol):
    """Who may not read."""

    @property
    def stream(self) -> ServedStream:
        """The connection."""


C = TypeVar("C", bound=Client)


class Unread(Generic[C]):
    """The clients for which much waits to go out.

    Args:
        limit: bytes that may wait for all of them together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sessions: set[C] = set()

    def add(self, session: C) -> list[C]:
        """Note that much waits for a client; return those to cut off, so that not too much waits for all."""
        self._sessions.add(session)
        waiting = {one: one.stream.unsent for one in self._sessions}
        self._sessions = {one for one, unsent in waiting.items() if unsent}
        excess = sum(waiting.values()) - self._limit
        worst: list[C] = []
        while excess > 0:
            session = max(waiting, key=waiting.__getitem__)
            excess -= waiting.pop(session)
            self._sessions.discard(session)
            worst.append(session)
        return worst

    def discard(self, session: C) -> None:
        """Forget a client, which has left or has read all."""
        self._sessions.discard(session)
