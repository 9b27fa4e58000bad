"""How long to wait before the next attempt: the core's rule, with less left to chance."""

from __future__ import annotations

from lifecycle import Retry

JITTER = 0.2
"""A pause is shortened by up to this share, so that jobs that failed together do not return together."""


LONGEST = 10.0
"""Seconds that the longest pause has where only the first is given, unless that is longer."""


def pauses_from(first: float) -> tuple[float, float]:
    """Return the first and the longest pause where only the first is given."""
    return float(first), max(float(first), LONGEST)


def pause_before(failures: int, backoff: tuple[float, float]) -> float:
    """Return the seconds to wait after that many failures.

    Args:
        failures: how often it has failed, 1 or more.
        backoff: the first and the longest pause, in seconds; a store may hold a first one that is longer.
    """
    first, longest = backoff
    return Retry(backoff=(min(first, longest), longest), jitter=JITTER).pause(failures)
