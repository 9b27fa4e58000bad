"""Alarms: warnings about what strangers can cause as often as they like, each told once in a while."""

from __future__ import annotations

import logging
import time
from typing import Final

logger = logging.getLogger("lifecycle.scheduler")

PAUSE: Final = 60.0
"""Seconds between two records of the same event: an attacker must not fill the log."""


class Alarms:
    """Logs an event when it happens, and then at most once a minute, with how often it has happened meanwhile.

    Do not use it for what the scheduler itself does: nothing of that is left out.

    Args:
        owner: who tells it.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._next: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def tell(self, event: str, **about: object) -> None:
        """Log *event* as a warning, with what it is about, unless it was told a short time ago."""
        now = time.monotonic()
        if now < self._next.get(event, 0.0):
            self._untold[event] += 1
            return
        times = self._untold.get(event, 0) + 1
        self._next[event], self._untold[event] = now + PAUSE, 0
        logger.warning(event, extra={"owner": self._owner, **about, "times": times})
