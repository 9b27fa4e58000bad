"""Outage: the failures since the last connection that has lived long enough, and the pause that follows from them.

The pause grows with every failure, and begins anew only after a connection that has *lived* for ``minimum_uptime``: a
peer that accepts and hangs up would otherwise be asked again thousands of times in a second. The time counts from the
moment in which the connection was up, not from the beginning of a slow attempt.

The first pause after a long life is drawn from nothing to the first pause of the `Retry`, unless that has no jitter:
everybody has lost the server in the same moment, and must not come back in the same moment. (Full jitter, as in
"Exponential Backoff And Jitter", M. Brooker, AWS Architecture Blog, 2015.)
"""

from __future__ import annotations

import random

from typing_extensions import TypeIs

from .._ground import kernel
from .._ground.errors import ConnectError, ConnectionLost
from .._retry.deciding import decide
from .._retry.retry import Retry


class Outage:
    """What has gone wrong in a row.

    Attributes:
        failures: how many attempts have failed, and connections have ended early.
        since: the loop time since which there is no connection; None while there is one.
    """

    __slots__ = ("_minimum_uptime", "_retry", "_spent", "failures", "since")

    def __init__(self, retry: Retry, minimum_uptime: float) -> None:
        self._retry = retry
        self._minimum_uptime = minimum_uptime
        self._spent = 0.0  # seconds without a connection, before `since`
        self.failures = 0
        self.since: float | None = None

    def begin(self, now: float) -> None:
        """There is no connection from now on."""
        self.since = now

    def interrupt(self, now: float) -> None:
        """There is a connection from now on; whether the outage is over is seen when that ends."""
        assert self.since is not None
        self._spent += now - self.since
        self.since = None

    def is_long(self, uptime: float) -> bool:
        """Return whether a connection that has lived so long ends the outage."""
        return uptime >= self._minimum_uptime

    def left(self, now: float) -> float:
        """Return the seconds until the time for this outage is up; infinite where it has no bound."""
        if self._retry.timeout is None:
            return kernel.FOREVER
        return self._retry.timeout - self._spent - (0.0 if self.since is None else now - self.since)

    def pause_after_long_life(self, error: BaseException | None) -> float | None:
        """Count anew, and return the seconds until the next attempt; None where *error* is nothing that one mends.

        Raises:
            BaseException: as for `pause_after_failure`.
        """
        self.failures = 0
        self._spent = 0.0
        if error is None:
            return 0.0  # it was dropped on purpose, and has kept nobody busy
        if not _is_clean(error) and not self._retry.covers(error):
            return None
        first, longest = self._retry.backoff
        return min(first, longest) * (random.random() if self._retry.jitter else 1.0)

    def pause_after_failure(self, error: BaseException | None, now: float) -> float | None:
        """Count a failure, and return the seconds until the next attempt; None where there is to be none.

        Raises:
            BaseException: what a judge of the retry has raised, or a complaint about what it has said.
        """
        self.failures += 1
        retry, left = self._retry, self.left(now)
        if not _is_clean(error):
            return decide(retry, self.failures, error, left)
        if retry.attempts is not None and self.failures >= retry.attempts:
            return None
        pause = retry.pause(self.failures)
        return pause if pause < left else None

    @property
    def at_longest(self) -> bool:
        """Whether the pauses do not grow any more."""
        first, longest = self._retry.backoff
        return first * 2.0 ** min(max(self.failures - 1, 0), 60) >= longest


def _is_clean(error: BaseException | None) -> TypeIs[ConnectionLost | None]:
    """Return whether nothing of a user's has failed, so that no ``retry_on`` need cover it."""
    return error is None or type(error) is ConnectionLost


def cause_of(error: BaseException) -> BaseException:
    """Return what has to be judged of a failed attempt: not that it was a connect, but what has ended that."""
    if isinstance(error, ConnectError) and not isinstance(error, TimeoutError) and error.__cause__ is not None:
        return error.__cause__
    return error
