"""Retry: how often, how long and after which errors something is tried again, and how long to wait before it is."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .._ground.checks import checked_limit, checked_part, checked_timeout
from .._ground.foreign import members


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What a `connect` does after a failed attempt.

    Do not use it to hide a defect: what is not in ``retry_on`` fails at once, and should.

    Example::

        Retry(attempts=5, timeout=60.0, retry_on=(OSError, asyncpg.CannotConnectNowError))

    Attributes:
        attempts: how many attempts at most, from 1; None for no bound.
        timeout: seconds for everything: all attempts, their rollbacks and the pauses between them; None for no bound.
            No attempt begins, and no pause is made, that could not be over in time.
        backoff: the first pause and the longest one, in seconds; each is twice the one before it.
        jitter: the part of a pause, from 0 to 1, that chance may take away, so that those who failed together do not
            return together.
        retry_on: the errors after which it is tried again. A group counts if all that is in it does.

    Raises:
        TypeError, ValueError: a value is out of its range.
    """

    attempts: int | None = None
    timeout: float | None = None
    backoff: tuple[float, float] = (0.1, 10.0)
    jitter: float = 0.5
    retry_on: type[Exception] | tuple[type[Exception], ...] = (OSError, TimeoutError)

    def __post_init__(self) -> None:
        checked_limit(self.attempts, what="attempts")
        checked_timeout(self.timeout, "timeout")
        if not isinstance(self.backoff, tuple) or len(self.backoff) != 2:
            raise TypeError(f"backoff must be two numbers, the first pause and the longest, got {self.backoff!r}")
        for pause in self.backoff:
            checked_timeout(pause, "backoff")
        checked_part(self.jitter, "jitter")
        kinds = self.retry_on if isinstance(self.retry_on, tuple) else (self.retry_on,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise TypeError(f"retry_on must be exception classes, got {kind!r}")

    def covers(self, error: BaseException) -> bool:
        """Return whether *error* is one after which it is tried again."""
        if isinstance(error, self.retry_on):
            return True
        if not isinstance(error, BaseExceptionGroup):
            return False
        return all(isinstance(inner, (BaseExceptionGroup, self.retry_on)) for inner in members(error))

    def pause_after(self, attempts: int, error: BaseException, left: float) -> float | None:
        """Return the seconds to wait before the next attempt, None where there is to be none.

        Args:
            attempts: how many have been made, 1 or more.
            error: what the last of them failed with.
            left: seconds until `timeout` has passed.
        """
        if not self.covers(error) or (self.attempts is not None and attempts >= self.attempts):
            return None
        pause = self.pause(attempts)
        return pause if pause < left else None

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after that many failures: doubled each time, bounded, shortened by chance.

        Args:
            failures: how often it has failed, 1 or more.
        """
        first, longest = self.backoff
        # The exponent is bounded: 2.0 ** 10_000 is an OverflowError.
        return min(longest, first * 2.0 ** min(failures - 1, 60)) * (1.0 - self.jitter * random.random())
