"""The dialect of cron expressions: what ``cronsim`` reads, with nicknames, ``L-3`` and ``15W``, and what is wrong said.

=====================  ================================================================================
``@daily``, ...        nicknames of whole expressions, see `NICKNAMES`
``L``, ``LW``          day of month: the last day, the last weekday (Monday to Friday)
``L-3``                day of month: three days before the last; not in a month that is too short
``15W``                day of month: the weekday nearest to the 15th, in the same month
``5L``, ``MON#2``      day of week: the last Friday, the second Monday
``MON-FRI``            names, also in ranges; a week may end with ``SUN``
=====================  ================================================================================
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cronsim import CronSim

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_FIELDS: Final = ("second", "minute", "hour", "day of month", "month", "day of week")
_NUMBERS: Final = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NAMES: Final = {"month": _MONTHS, "day of week": _DAYS}
_EPOCH: Final = datetime(1970, 1, 1)

_BEFORE_LAST: Final = re.compile(r"L-([1-9]|[12]\d|30)")
_NEAREST: Final = re.compile(r"([1-9]|[12]\d|3[01])W")
_TO_SUNDAY: Final = re.compile(r"(?<!SUN)-SUN\b")


class CronSyntax:
    """A cron expression that has been read.

    Args:
        expression: five fields, six with seconds in front, or a nickname.

    Attributes:
        seconds, minutes, hours, months: the numbers that it names.

    Raises:
        ValueError: it cannot be read; the message says which field, which part of it, and why.
        ImportError: ``cronsim`` is not installed.
    """

    __slots__ = ("_fixed", "_month", "_moving", "_sim", "hours", "minutes", "months", "seconds")

    def __init__(self, expression: str) -> None:
        fields = _fields_of(expression)
        days = fields[3].split(",")
        moving = [part for part in days if _BEFORE_LAST.fullmatch(part) or _NEAREST.fullmatch(part)]
        fixed = [part for part in days if part not in moving]
        # Where nothing is fixed, anything that can be read stands in, and is taken out again.
        fields[3] = ",".join(fixed) or "1"
        fields[5] = _TO_SUNDAY.sub("-7", fields[5])
        self._sim = _read(expression, fields)
        self._fixed = set(self._sim.days) if fixed else set[int]()
        self._moving = moving
        self._month = (0, 0)
        self.seconds, self.minutes = self._sim.seconds, self._sim.minutes
        self.hours, self.months = self._sim.hours, self._sim.months

    def match_day(self, on: date) -> bool:
        """Return whether the expression names this day."""
        if self._moving and self._month != (on.year, on.month):
            self._month = (on.year, on.month)
            self._sim.days = self._fixed | {_day_of(part, *self._month) for part in self._moving}
        return self._sim.match_day(on)


def _day_of(part: str, year: int, month: int) -> int:
    """Return the day of a month that ``L-3`` or ``15W`` is, 0 in a month that has none."""
    first, last = monthrange(year, month)
    if part.startswith("L"):
        return max(0, last - int(part[2:]))
    day = int(part[:-1])
    if day > last:
        return 0
    weekday = (first + day - 1) % 7
    if weekday == 5:
        return day - 1 if day > 1 else 3
    if weekday == 6:
        return day + 1 if day < last else day - 2
    return day


def _fields_of(expression: str) -> list[str]:
    """Return the six fields of an expression, a nickname written out."""
    text = expression.strip()
    if text.startswith("@"):
        text = _of_nickname(expression, text.lower())
    fields = text.upper().split()
    if len(fields) == 5:
        return ["0", *fields]
    if len(fields) != 6:
        years = "; there is none for years" if len(fields) == 7 else ""
        expected = "expected 5 fields (minute, hour, day of month, month, day of week), or 6 with seconds in front"
        raise _refusal(expression, f"{expected}, got {len(fields)}{years}")
    return fields


def _of_nickname(expression: str, nickname: str) -> str:
    if nickname in NICKNAMES:
        return NICKNAMES[nickname]
    if nickname == "@reboot":
        raise _refusal(expression, "'@reboot' names no time; do it once when the program starts")
    if nickname.startswith("@every"):
        raise _refusal(expression, "'@every' names no time of the clock; use a fixed rate")
    raise _refusal(expression, f"unknown nickname; there are {', '.join(NICKNAMES)}")


def _read(expression: str, fields: list[str]) -> CronSim:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise ImportError("cron() needs cronsim; install it with `pip install asyncio-lifecycle[scheduler]`") from error
    try:
        return CronSim(" ".join(fields), _EPOCH)
    except CronSimError as error:
        why = _what_is_wrong(fields) or f"day of month {fields[3]!r}: no month that it names is so long"
        raise _refusal(expression, why) from error


def _readable(place: int, text: str) -> bool:
    from cronsim import CronSim, CronSimError

    fields = ["*"] * 6
    fields[place] = text
    try:
        CronSim(" ".join(fields), _EPOCH)
    except CronSimError:
        return False
    return True


def _what_is_wrong(fields: list[str]) -> str | None:
    """Return which part of which field cannot be read, and why; None when each can, and only not together."""
    for place, field in enumerate(fields):
        for part in field.split(","):
            if not part or not _readable(place, part):
                return f"{_FIELDS[place]} {part!r}: {_why(place, part)}"
    return None


def _why(place: int, part: str) -> str:
    name, (least, most) = _FIELDS[place], _NUMBERS[place]
    names = _NAMES.get(name, ())
    wanted = f"expected {least} to {most}" + (f" or {names[0]} to {names[-1]}" if names else "")
    if not part:
        return f"a comma with nothing beside it; {wanted}"
    if "?" in part:
        return "is of another dialect; write '*'"
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step)):
        return "expected a step of 1 or more after '/'"
    first, dash, last = span.partition("-")
    if name == "day of month" and "W" in part:
        return "expected one day before 'W', as in 15W, or LW"
    if name == "day of month" and first == "L":
        return "expected L, LW, or L-1 to L-30"
    if "L" in span and not names and name != "day of month":
        return f"'L' is for days; {wanted}"
    if "#" in part and name != "day of week":
        return f"'#' is for days of the week; {wanted}"
    if "#" in part:
        return "expected a day and 1 to 5, as in MON#2"
    if name == "day of week" and span.endswith("L"):
        return "expected a number before 'L', as in 5L for the last Friday"
    if dash and last == "L" and name == "day of month":
        return f"a range ends with a number; write {first}-31{slash}{step}"
    if dash and all(end and _readable(place, end) for end in (first, last)):
        return f"a range that runs backwards; write {_forwards(place, first, last, step)}"
    return wanted


def _forwards(place: int, first: str, last: str, step: str) -> str:
    """Return how the same is written that a range means which runs backwards, as from Saturday to Monday."""
    least, most = _NUMBERS[place]
    names = _NAMES.get(_FIELDS[place], ())
    if names == _DAYS:
        most, first = 6, "0" if first == "7" else first
    begin, end = (names[0], names[-1]) if first in names else (least, most)
    if not step:
        return f"0-{last}" if first == "0" else f"{first}-{end},{begin}-{last}"
    one, other = (names.index(text) + least if text in names else int(text) for text in (first, last))
    around = most - least + 1
    until = other if one <= other else other + around
    return ",".join(str((number - least) % around + least) for number in range(one, until + 1, int(step)))


def _refusal(expression: str, why: str) -> ValueError:
    return ValueError(f"cron expression {expression!r} cannot be read: {why}")
