"""Durations as programs give them, seconds or a ``timedelta``; and points in time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def local_time(instant: float) -> str:
    """Return a wall-clock time in local time, with its offset: ISO 8601; one that no calendar has as a number."""
    try:
        return datetime.fromtimestamp(instant, UTC).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{instant:.0f} seconds after 1970"
