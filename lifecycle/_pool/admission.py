"""Admission: how many creations of one pool may be in progress, and when none may begin.

While all is well there is no bound but ``max_creating``. After a failure one creation at a time tries whether the other
side is back, with longer and longer pauses; when it is, two may begin, then four, and so on. A shared pause alone would
not do: all who have waited for it would begin together.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from contextvars import Context

from .._ground import kernel
from .._ground.checks import checked_limit

#: Rounds of creations that may fail in a row before there are pauses: one connection that is refused means little.
FORGIVEN = 2

#: Seconds of the first pause, and of the longest one; a borrower may be waiting.
PAUSES = (0.05, 1.0)

#: The part of a pause by which it may be shorter, so that the pools of many processes do not knock together.
JITTER = 0.2


class Admission:
    """The bound on creations in progress.

    Attributes:
        failed_rounds: how many rounds of creations have failed one after the other. Those that are in progress together
            are one round, however many of them fail.
    """

    __slots__ = ("_begun", "_limit", "_random", "_resume", "_timer", "_width", "failed_rounds")

    def __init__(self, limit: int | None, resume: Callable[[], None], random: Callable[[], float]) -> None:
        self._limit = checked_limit(limit, what="max_creating")
        self._resume = resume
        self._random = random
        self._timer: TimerHandle | None = None
        self._width: int | None = None  # None for no bound of ours
        self._begun = 0  # creations that had begun when the last round failed
        self.failed_rounds = 0

    @property
    def binds(self) -> bool:
        """Whether a creation may be kept from beginning at present."""
        return self._width is not None or self._limit is not None

    @property
    def probes(self) -> bool:
        """Whether a creation stands for all who wait: so many have failed that the next ones will not fare better."""
        return self.failed_rounds >= FORGIVEN

    def admits(self, in_progress: int) -> bool:
        """Whether another creation may begin beside those."""
        if self._width is not None and (in_progress >= self._width or self._timer is not None):
            return False
        return self._limit is None or in_progress < self._limit

    def failed(self, number: int, begun: int, context: Context) -> None:
        """Note that the creation with that number has failed; so many have begun until now."""
        if number <= self._begun:
            return  # its round has failed already
        self._begun = begun
        self._width = 1
        self.failed_rounds += 1
        if self.failed_rounds > FORGIVEN:
            first, longest = PAUSES
            pause = min(first * 2.0 ** min(self.failed_rounds - FORGIVEN - 1, 16), longest)
            self.stop()
            pause *= 1.0 - JITTER * self._random()
            self._timer = kernel.running_loop().call_later(pause, self._open, context=context)

    def succeeded(self, most: int) -> None:
        """Note that a creation has succeeded; *most* is as many as there could be."""
        self.failed_rounds = 0
        if self._width is not None:
            self.stop()
            self._width += 1  # so that each round is twice as wide as the last
            if self._width >= most:
                self._width = None

    def stop(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """Forget what has failed: its loop is gone."""
        self._timer = self._width = None
        self.failed_rounds = 0

    def _open(self) -> None:
        self._timer = None
        self._resume()
