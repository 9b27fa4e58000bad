"""RetryFailure: one failed attempt, as the hook of a `Retry` is told of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class RetryFailure:
    """A failed attempt, and what comes of it; for the ``on_failure`` of a `Retry`.

    Attributes:
        name: what is being tried.
        attempt: which attempt it was, from 1.
        error: what it failed with, as ``retry_on`` has judged it.
        pause: seconds until the next attempt; None where there is to be none.
        elapsed: seconds since the first attempt began.
    """

    name: str
    attempt: int
    error: BaseException
    pause: float | None
    elapsed: float
