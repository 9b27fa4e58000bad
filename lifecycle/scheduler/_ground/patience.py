"""Patience with connections that are to do something soon, such as to say who they are: they are few, and short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from lifecycle import OwnerClosed

from .bridge import loop_time

HURRY: Final = 0.5
"""Seconds that each has while there are more of them than there should be."""

LOOK: Final = 0.25
"""Seconds between two looks at them, while there are any."""


class Patience:
    """Ends connections that do not get on, so that they never take the place of those that do.

    Each has its time. While there are more than ``few``, each has half a second, which is plenty for a client that
    speaks as soon as it is connected: a crowd that comes at once is not turned away, and a crowd that says nothing is
    gone before anybody else has to wait.

    Only time in which the loop turns counts: while it stands still, nobody reads what a connection has said long ago.

    Args:
        few: how many may take their time.
        seconds: how much time that is.
        start: starts a task, and is called whenever there are connections to wait for and nobody looks at them.

    Attributes:
        ended: how many were ended.
    """

    def __init__(self, few: int, seconds: float, start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        self.ended = 0
        self._few = few
        self._seconds = seconds
        self._start = start
        self._here: dict[object, tuple[float, Callable[[], object]]] = {}  # in the order of their arrival
        self._looking = False
        self._time = self._looked_at = 0.0  # for how long it has looked, and when it last did

    def __len__(self) -> int:
        return len(self._here)

    def enter(self, who: object, cut: Callable[[], object]) -> None:
        """Begin to wait for a connection, which *cut* ends: at once when the server is closing already."""
        if not self._looking:
            self._looked_at = loop_time()
        self._here[who] = (self._now(), cut)
        if not self._looking:
            try:
                self._start(self._watch)
            except OwnerClosed:
                self.leave(who)
                cut()
                return
            self._looking = True

    def leave(self, who: object) -> None:
        """Stop waiting: it has done what it should, or is gone. Idempotent."""
        self._here.pop(who, None)

    async def _watch(self) -> None:
        try:
            while self._here:
                await anyio.sleep(LOOK)
                self._look()
        finally:
            self._looking = False

    def _now(self) -> float:
        return self._time + min(loop_time() - self._looked_at, LOOK)

    def _look(self) -> None:
        """End those whose time is up, the oldest first."""
        now = self._time = self._now()
        self._looked_at = loop_time()
        for who, (since, cut) in list(self._here.items()):
            if now - since < (HURRY if len(self._here) > self._few else self._seconds):
                return
            del self._here[who]
            self.ended += 1
            cut()
