"""An independent answer to "when does this cron expression fire": walk over the minutes of UTC and look at the clock.

Shares nothing with the library but the rules it is held to: no search, no jumps, no arithmetic with offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


class Expression:
    """A plain five-field cron expression: stars, numbers, ranges, lists and steps.

    Args:
        text: minute, hour, day of month, month, day of week.
    """

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = text.split()
        self.every_hour = hour == "*"
        self._minutes = values(minute, 0, 59)
        self._hours = values(hour, 0, 23)
        self._days = values(day, 1, 31)
        self._months = values(month, 1, 12)
        self._weekdays = values(weekday, 0, 6)
        self._both_days = day.startswith("*") or weekday.startswith("*")

    def names(self, wall: datetime) -> bool:
        """Return whether the expression names this minute of the wall clock."""
        if wall.minute not in self._minutes or wall.hour not in self._hours or wall.month not in self._months:
            return False
        days = wall.day in self._days, wall.isoweekday() % 7 in self._weekdays
        return all(days) if self._both_days else any(days)


def values(field: str, low: int, high: int) -> set[int]:
    """Return the numbers that a field stands for."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (low, high) if span == "*" else (int(first), int(last or (high if step else first)))
        found.update(range(begin, end + 1, int(step or 1)))
    return found


def occurrences(text: str, zone: ZoneInfo, begin: datetime, minutes: int) -> Iterator[float]:
    """Yield the instants, of so many minutes after *begin*, at which the expression fires, in seconds since the epoch.

    One that takes every hour fires whenever the clock shows a named minute. One that names hours fires when the clock
    shows a named minute for the first time, and at the first minute after a gap that holds a named one.
    """
    expression = Expression(text)
    before = begin.astimezone(zone)
    for number in range(1, minutes + 1):
        instant = begin + number * MINUTE
        wall = instant.astimezone(zone)
        fires = expression.names(wall)
        if not expression.every_hour:
            fires = (fires and wall.fold == 0) or skipped(expression, before, wall)
            before = wall
        if fires:
            yield instant.timestamp()


def skipped(expression: Expression, before: datetime, after: datetime) -> bool:
    """Return whether the clock, from one minute to the next, jumped over a minute that the expression names."""
    wall, end = before.replace(tzinfo=None, fold=0) + MINUTE, after.replace(tzinfo=None, fold=0)
    while wall < end:
        if expression.names(wall):
            return True
        wall += MINUTE
    return False


def utc(year: int, month: int = 1, day: int = 1) -> datetime:
    """Return midnight, UTC, of a day."""
    return datetime(year, month, day, tzinfo=UTC)
