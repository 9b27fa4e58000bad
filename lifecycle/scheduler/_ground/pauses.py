"""How long to wait before the next attempt."""

from __future__ import annotations

import random

JITTER = 0.2
"""A pause is shortened by up to this share, so that jobs that failed together do not return together."""


def pause_before(failures: int, backoff: tuple[float, float]) -> float:
    """Return the seconds to wait after so many failures: doubled each time, bounded, a little shortened.

    Args:
        failures: how often it has failed, 1 or more.
        backoff: the first and the longest pause, in seconds.
    """
    first, longest = backoff
    # The exponent is bounded: 2.0 ** 10_000 is an OverflowError.
    pause = min(longest, first * 2.0 ** min(failures - 1, 60))
    return pause * (1.0 - JITTER * random.random())
