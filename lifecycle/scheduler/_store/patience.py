"""Patience with faults that may pass: how long a store waits, what it refuses meanwhile, and when it says so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

LOCK_SLICE = 0.2
"""Seconds that SQLite itself waits for another process's transaction; `Patience` does the rest."""

LOCK_TIMEOUT = 10.0
"""Seconds for which new work waits as well; then it is refused, and only what has to be recorded waits on."""

LONGEST = 300.0
"""Seconds for which it waits by default, before it ends."""

AT_THE_END = 2.0
"""Seconds for which it waits when it is being closed: whoever opens the store next completes what is left."""

TOLD_AFTER = (1.0, 10.0)
"""Seconds of waiting after which it says so, and then once a minute."""


class Trouble(NamedTuple):
    """What a store tells of a fault that may pass.

    Attributes:
        reason: what is wrong.
        seconds: for how long.
        over: whether it has passed.
    """

    reason: str
    seconds: float
    over: bool = False


class Patience:
    """Waits for one fault at a time; used by one thread.

    Args:
        longest: seconds after which it is over; None for never.
        tell: called with what is worth telling.
    """

    def __init__(self, longest: float | None, tell: Callable[[Trouble], object] = lambda trouble: None) -> None:
        self._longest = math.inf if longest is None else longest
        self._tell = tell
        self._since: float | None = None
        self._reason = ""
        self._told = 0  # so often

    @property
    def seconds(self) -> float:
        """For how long it has been waiting."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @property
    def exhausted(self) -> bool:
        """Whether it has waited for long enough to end."""
        return self.seconds >= self._longest

    @property
    def refuses(self) -> bool:
        """Whether new work need not wait any more."""
        return self.seconds >= min(LOCK_TIMEOUT, self._longest)

    def meet(self, reason: str) -> None:
        """Note a fault, and tell of it when it is time."""
        if self._since is None:
            self._since = time.monotonic()
        self._reason = reason
        after = TOLD_AFTER[self._told] if self._told < len(TOLD_AFTER) else 60.0 * (self._told - len(TOLD_AFTER) + 1)
        if self.seconds >= after:
            self._told += 1
            self._tell(Trouble(reason, self.seconds))

    def passed(self) -> None:
        """Note that there is no fault."""
        if self._since is None:
            return
        if self._told:
            self._tell(Trouble(self._reason, self.seconds, over=True))
        self._since, self._told = None, 0

    def shorten(self) -> None:
        """Wait for a moment only from now on: the store is being closed."""
        self._longest = min(self._longest, self.seconds + AT_THE_END)
