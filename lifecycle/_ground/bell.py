"""Bell: a sleep that any callback or task of the loop can cut short."""

from __future__ import annotations

from asyncio import BaseEventLoop, Future
from math import ceil

from . import kernel

#: Timers per second of a loop that is not asyncio's own: uvloop counts, and rounds, in milliseconds.
TICKS = 1000


class Bell:
    """Sleeps for one task, and wakes it early when it is rung; a ring that comes while it is awake is kept.

    Do not use it for two sleepers at once.
    """

    __slots__ = ("_coarse", "_loop", "_rung", "_sleeper")

    def __init__(self) -> None:
        self._loop = kernel.running_loop()
        self._coarse = not isinstance(self._loop, BaseEventLoop)
        self._rung = False
        self._sleeper: Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*, for ever where it is infinite, or until it is rung; always gives the loop a turn.

        Cancellation: ends the sleep; nothing is left in the loop.
        """
        assert self._sleeper is None, "one sleeper at a time"
        self._sleeper = self._loop.create_future()
        if self._rung:
            seconds = 0.0
        if self._coarse and seconds != kernel.FOREVER:
            seconds = ceil(seconds * TICKS) / TICKS  # rounded down it would wake early, and again, and again
        timer = self._loop.call_later(seconds, self.ring) if seconds != kernel.FOREVER else None
        try:
            await self._sleeper
        finally:
            self._sleeper = None
            self._rung = False
            if timer is not None:
                timer.cancel()

    def ring(self) -> None:
        """Wake the sleeper, or the next one at once."""
        if self._sleeper is None:
            self._rung = True
        elif not self._sleeper.done():
            self._sleeper.set_result(None)
