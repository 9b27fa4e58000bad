"""Ladder: how often and how long something that has to end is asked to, before it is given up and named."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable

from . import kernel

#: The most seconds that something has to end after its second cancellation; less where its bound is shorter.
GRACE = 1.0


def patience(rung: int, bound: float) -> float:
    """Return how many seconds something has on *rung* before the next: *bound*, and after the second cancellation less.

    For owners that keep one timer for many ladders.
    """
    return bound if rung < 2 else min(GRACE, bound)


class Ladder:
    """Ends something that has had its time: cancels it, cancels it again a bound later, and gives it up after a grace.

    The second cancellation is for what swallows the first, which a stray ``except BaseException`` does. What ignores
    both is *abandoned*: nothing waits for it any longer, and the error of its owner names it.

    Holds one timer at most. Every owner that stops something has one, so that all of them have the same patience.

    Args:
        interrupt: called at each of the first two rungs.
        give_up: called once, at the last.
        bound: seconds from the first cancellation to the second; infinite for no bound.
    """

    __slots__ = ("_bound", "_give_up", "_interrupt", "_timer", "rung")

    def __init__(self, interrupt: Callable[[], object], give_up: Callable[[], object], bound: float) -> None:
        self._interrupt = interrupt
        self._give_up = give_up
        self._bound = bound
        self._timer: TimerHandle | None = None
        self.rung = 0  # how often it has been interrupted; 3 when it was given up

    def expect(self, within: float) -> None:
        """Leave it in peace for *within* seconds; then `climb`."""
        self._wait(within, self.climb)

    def climb(self) -> None:
        """Interrupt it now, unless that was done already."""
        if self.rung == 0:
            self.rung = 1
            self._wait(patience(1, self._bound), self._insist)
            self._interrupt()

    def end(self) -> None:
        """It has ended: no timer is left, and what was given to the ladder is let go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _insist(self) -> None:
        self.rung = 2
        self._wait(patience(2, self._bound), self._abandon)
        self._interrupt()

    def _abandon(self) -> None:
        self.rung = 3
        self._timer = None
        self._give_up()

    def _wait(self, seconds: float, step: Callable[[], object]) -> None:
        self.end()
        if seconds != kernel.FOREVER:
            self._timer = kernel.running_loop().call_later(seconds, step)
