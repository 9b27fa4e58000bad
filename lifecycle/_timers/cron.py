"""Cron rules: which instants an expression names in a time zone, clock changes included.

The expression is read by ``cronsim``; what the wall clock does is handled here, because it decides what a user gets
twice a year. Two kinds of expression, by their hour field:

* One that names hours (``30 2 * * *``, ``*/10 1-4 * * *``) speaks of the clock on the wall: every time of day that it
  names happens once a day. A time that the clock skips in spring is run at the first instant after the gap (several
  such times make one run); a time that the clock shows twice in autumn is run the first time.
* One that takes every hour (``*/5 * * * *``) speaks of time as it passes: it goes on through both hours of autumn,
  and over the gap in spring.

Wall times are integers here: seconds since the epoch as if the wall clock showed UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Self

from .cron_syntax import CronSyntax
from .schedule import MissedPolicy, Occasions, OnRule

DAY = 86400
_EPOCH = date(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH.toordinal()

#: Days to look ahead: the calendar's rarest day that any expression can name comes every 40 years.
_HORIZON = 50 * 366

#: Occasions counted one by one when many were missed; beyond, a lower bound is enough.
_COUNTED = 10_000


class CronRule:
    """The instants that a cron expression names in a time zone.

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), six with seconds in front, or a
            nickname such as ``@daily``.
        timezone: a name such as ``"Europe/Berlin"``, or a ``tzinfo``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: the expression cannot be read or names no instant; the time zone is not known.
        ImportError: ``cronsim`` is not installed.
    """

    __slots__ = ("_day", "_every_hour", "_minutes", "_months", "_seconds", "_syntax", "expression", "timezone")

    def __init__(self, expression: str, timezone: str | tzinfo) -> None:
        self.timezone: tzinfo = checked_timezone(timezone)
        self.expression: str = expression
        self._syntax = syntax = _parse(expression)
        self._months = syntax.months
        self._every_hour = len(syntax.hours) == 24
        self._minutes = sorted(hour * 3600 + minute * 60 for hour in syntax.hours for minute in syntax.minutes)
        self._seconds = sorted(syntax.seconds)
        self._day = -1  # the last day that was found to match, in days since the epoch
        if self._matching_day((date.today() - _EPOCH).days) is None:
            raise ValueError(f"cron expression {expression!r} names a date that does not exist")

    def after(self, instant: float) -> float | None:
        """Return the first instant later than *instant*, both in seconds since the epoch; None past the calendar."""
        try:
            return (self._after_as_time_passes if self._every_hour else self._after_on_the_wall)(instant)
        except (OverflowError, ValueError):
            return None

    def newest(self, instant: float) -> float:
        """Return the last instant that is not later than *instant*, both in seconds since the epoch."""
        back = 60.0
        while (found := self.after(instant - back)) is None or found > instant:
            back *= 2  # an instant is only found by looking forward: from ever further back
        while (later := self.after(found)) is not None and later <= instant:
            found = later
        return found

    def count(self, after: float, until: float) -> int:
        """Return how many instants are later than *after* and not later than *until*; beyond 10,000 just that."""
        count = 0
        while count < _COUNTED and (found := self.after(after)) is not None and found <= until:
            count += 1
            after = found
        return count

    def _after_as_time_passes(self, instant: float) -> float | None:
        """Look for a match in one stretch of time after the other, in each of which the wall clock runs straight."""
        since, offset = instant, self._offset(instant)
        wall = since + offset
        while (matching := self._wall_after(wall)) is not None:
            found = matching - offset
            change = self._first_change(since, found, offset)
            if change is None:
                return float(found)
            since, offset = change, self._offset(change)
            wall = since + offset - 1  # the instant of the change itself is looked at as well
        return None

    def _after_on_the_wall(self, instant: float) -> float | None:
        """Go from one time of day to the next, and take the instant at which the wall clock first shows it."""
        wall = self._wall_after(instant + self._offset(instant))
        while wall is not None:
            found = self._first_shown(wall)
            if found > instant:
                return float(found)
            wall = self._wall_after(wall)
        return None

    # The calendar, without a zone

    def _wall_after(self, wall: float) -> int | None:
        """Return the first matching wall time later than *wall*."""
        day, second = divmod(int(wall // 1), DAY)
        matching = self._matching_day(day)
        if matching == day:
            later = self._later_that_day(second)
            if later is not None:
                return day * DAY + later
            matching = self._matching_day(day + 1)
        return None if matching is None else matching * DAY + self._minutes[0] + self._seconds[0]

    def _later_that_day(self, second: int) -> int | None:
        minutes, seconds = self._minutes, self._seconds
        minute, rest = second - second % 60, second % 60
        place = bisect_right(minutes, minute)
        if place and minutes[place - 1] == minute and rest < seconds[-1]:
            return minute + seconds[bisect_right(seconds, rest)]
        return minutes[place] + seconds[0] if place < len(minutes) else None

    def _matching_day(self, day: int) -> int | None:
        """Return the first matching day from *day* on, in days since the epoch."""
        if day == self._day:
            return day
        for candidate in range(day, day + _HORIZON):
            on = date.fromordinal(candidate + _EPOCH_ORDINAL)
            if on.month in self._months and self._syntax.match_day(on):
                self._day = candidate
                return candidate
        return None

    # The zone

    def _offset(self, instant: float) -> int:
        """Return how far the wall clock is ahead of UTC at *instant*, in seconds."""
        offset = datetime.fromtimestamp(instant, self.timezone).utcoffset()
        assert offset is not None
        return offset.days * DAY + offset.seconds

    def _first_change(self, after: float, until: float, offset: int) -> int | None:
        """Return the first instant in ``(after, until]`` at which the offset is no longer *offset*."""
        while after < until:
            day_later = min(after + DAY, until)  # nowhere do two changes undo each other within a day
            if self._offset(day_later) != offset:
                return self._bisect_change(int(after // 1), int(day_later // 1))
            after = day_later
        return None

    def _bisect_change(self, before: int, after: int) -> int:
        """Return the instant in ``(before, after]`` at which the offset changes."""
        offset = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after

    def _first_shown(self, wall: int) -> int:
        """Return the first instant at which the wall clock shows *wall*, or a later time for one that it skips.

        Only the offsets at instants are asked for: a ``tzinfo`` may read a wall time in a way of its own, as those of
        pytz do, to which it is one of the year 1900.
        """
        since = wall - DAY  # no clock is a day ahead: it shows an earlier time
        while True:
            offset = self._offset(since)
            shown = max(since, wall - offset)
            change = self._first_change(since, shown, offset)
            if change is None:
                return shown
            since = change

    def __str__(self) -> str:
        return f"{self.expression!r} in {self.timezone}"


@dataclass(frozen=True, slots=True)
class CronPlan:
    """At the instants of a cron expression, by the wall clock."""

    rule: CronRule
    missed: MissedPolicy
    clock: Callable[[], float]

    def begin(self, now: float) -> Occasions:
        return OnRule(self.rule, self.rule.after(now), self.missed)

    def again(self, now: float) -> Occasions:
        return self.begin(now)

    def changed(self, rule: float | str) -> Self:
        if not isinstance(rule, str):
            raise TypeError(f"a cron timer goes by an expression, got {rule!r}")
        return replace(self, rule=CronRule(rule, self.rule.timezone))

    def __str__(self) -> str:
        return f"cron {self.rule}"


def checked_timezone(timezone: str | tzinfo) -> tzinfo:
    """Return the time zone called *timezone*, or itself.

    Raises:
        TypeError: it is neither a name nor a ``tzinfo``.
        ValueError: no such zone is known.
    """
    if isinstance(timezone, tzinfo):
        return timezone
    if not isinstance(timezone, str):
        raise TypeError(f"timezone must be a name such as 'Europe/Berlin' or a tzinfo, got {timezone!r}")
    if timezone.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, OSError) as error:
        hint = "on a machine without time zone data, install it with `pip install tzdata`"
        raise ValueError(f"time zone {timezone!r} is not known; {hint}") from error


def _parse(expression: str) -> CronSyntax:
    if not isinstance(expression, str):
        raise TypeError(f"a cron expression is text such as '*/5 * * * *', got {expression!r}")
    return CronSyntax(expression)
