"""Ladder: how often and how long something that has to end is asked to, before it is given up and named."""

from __future__ import annotations

from asyncio import Handle
from collections.abc import Callable

from . import kernel

#: The most seconds that something has to end after its second cancellation; less where its bound is shorter.
GRACE = 1.0

#: The loop iterations after the first cancellation that come before a timer is set: one for a first step, where it has
#: not been made, and one for the end. Nearly everything has ended then, and an iteration costs less than a timer.
TURNS = 2


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

    __slots__ = ("_bound", "_ended", "_give_up", "_interrupt", "_timer", "rung")

    def __init__(self, interrupt: Callable[[], object], give_up: Callable[[], object], bound: float) -> None:
        self._interrupt = interrupt
        self._give_up = give_up
        self._bound = bound
        self._timer: Handle | None = None
        self._ended = False
        self.rung = 0  # how often it has been interrupted; 3 when it was given up

    def expect(self, within: float) -> None:
        """Leave it in peace for *within* seconds; then `climb`."""
        self._wait(within, self.climb)

    def climb(self) -> None:
        """Interrupt it now, unless that was done already."""
        if self.rung == 0:
            self.rung = 1
            if self._timer is not None:
                self._drop_timer()
            self._interrupt()
            self._let_turn(TURNS)

    def end(self) -> None:
        """It has ended: no timer is left, and what was given to the ladder is let go."""
        self._ended = True
        self._drop_timer()

    def _let_turn(self, turns: int) -> None:
        if self._ended or self._bound == kernel.FOREVER:
            return
        if turns:
            self._timer = kernel.running_loop().call_soon(self._let_turn, turns - 1)
        else:
            self._wait(patience(1, self._bound), self._insist)

    def _insist(self) -> None:
        self.rung = 2
        self._wait(patience(2, self._bound), self._abandon)
        self._interrupt()

    def _abandon(self) -> None:
        self.rung = 3
        self._timer = None
        self._give_up()

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float, step: Callable[[], object]) -> None:
        self._drop_timer()
        if seconds != kernel.FOREVER:
            self._timer = kernel.running_loop().call_later(seconds, step)
