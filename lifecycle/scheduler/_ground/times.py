"""Durations as programs give them: seconds, or a ``timedelta``."""

from __future__ import annotations

from datetime import timedelta

from .checks import check_seconds


def seconds_of(value: float | timedelta, what: str) -> float:
    """Return a duration in seconds.

    Raises:
        TypeError: it is neither a number nor a timedelta.
        ValueError: it is negative, or longer than a century.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    check_seconds(seconds, what, needed=True)
    return float(seconds)
