"""Strangers: connections that have not said yet who they are, or anything at all. They are few, and they are short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

HURRY: Final = 0.5
"""Seconds that a stranger has while there are more of them than there should be."""

LOOK: Final = 0.25
"""Seconds between two looks at them, while there are any."""


class Strangers:
    """Ends connections that stay silent, so that they never take the place of those that have something to say.

    Each has ``patience``. While there are more than ``few``, each has half a second, which is plenty for a client that
    speaks as soon as it is connected: a crowd that comes at once is not turned away, and a crowd that says nothing is
    gone before anybody else has to wait.

    Args:
        few: how many may take their time.
        patience: the seconds that they may take.
        start: starts a task, and is called whenever there are strangers and nobody looks at them.

    Attributes:
        ended: how many were ended.
    """

    def __init__(self, few: int, patience: float, start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        self.ended = 0
        self._few = few
        self._patience = patience
        self._start = start
        self._here: dict[object, tuple[float, Callable[[], object]]] = {}  # in the order of their arrival
        self._looking = False

    def __len__(self) -> int:
        return len(self._here)

    def enter(self, who: object, cut: Callable[[], object]) -> None:
        """Take in a stranger, whose connection *cut* ends."""
        self._here[who] = (anyio.current_time(), cut)
        if not self._looking:
            self._looking = True
            self._start(self._watch)

    def leave(self, who: object) -> None:
        """Forget one that is known now, or gone. Idempotent."""
        self._here.pop(who, None)

    async def _watch(self) -> None:
        try:
            while self._here:
                await anyio.sleep(LOOK)
                self._look()
        finally:
            self._looking = False

    def _look(self) -> None:
        """End those whose time is up, the oldest first."""
        now = anyio.current_time()
        for who, (since, cut) in list(self._here.items()):
            if now - since < (HURRY if len(self._here) > self._few else self._patience):
                return
            del self._here[who]
            self.ended += 1
            cut()
