"""Checks of numbers, names and functions, with one wording for what a program passes and what a flow file says.

The core has checks of its own, which are private: the scheduler is built on the core's public face alone.
"""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime
from typing import Final

from .text import is_storable, quote

LONGEST: Final = 36_525 * 86_400.0
"""No duration may be longer where there has to be an end: a century, in seconds, as for the timers of the core."""

LAST_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""No point in time may be later: what is shown to people, in whatever zone, is in the calendar."""


def is_number(value: object) -> bool:
    """Return whether *value* is a number; a boolean does not count as one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def integer_problem(value: object, least: int, most: int | None = None) -> str | None:
    """Return what is wrong with *value* as an integer from *least* to *most*, None if nothing is."""
    wanted = _wanted_integer(value, least, most)
    return f"expected {wanted}, got {quote(value)}" if wanted else None


def seconds_problem(value: object, *, positive: bool = False) -> str | None:
    """Return what is wrong with *value* as a duration in seconds, None if nothing is."""
    wanted = _wanted_seconds(value, positive)
    return f"expected {wanted}, got {quote(value)}" if wanted else None


def check_integer(value: int, what: str, least: int, most: int | None = None) -> None:
    """Check an integer; without *most* it has no upper bound.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is out of its range.
    """
    if wanted := _wanted_integer(value, least, most):
        kind = ValueError if _is_integer(value) else TypeError
        raise kind(f"{what} must be {wanted}, got {quote(value)}")


def check_seconds(value: float | None, what: str, *, positive: bool = False, needed: bool = False) -> None:
    """Check a number of seconds. None and infinity mean no bound, and are refused where one is *needed*.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, zero where it must be *positive*, or more than a century.
    """
    if value in (None, math.inf) and not needed:
        return
    if wanted := _wanted_seconds(value, positive):
        kind = ValueError if is_number(value) else TypeError
        raise kind(f"{what} must be {wanted}, got {quote(value)}")


def wall_time(value: datetime | float | None, what: str) -> float | None:
    """Return a point in time as seconds since 1970.

    Raises:
        TypeError: it is neither a number nor a datetime.
        ValueError: it is a datetime without a time zone, not finite, or at the end of the calendar.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"{what} must have a time zone, got {value!r}; .astimezone() gives it the local one")
        value = value.timestamp()
    if value is not None and not is_number(value):
        raise TypeError(f"{what} must be a datetime, or seconds since 1970, got {quote(value)}")
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{what} must be finite, got {quote(value)}")
    if value is not None and value > LAST_TIME:
        raise ValueError(f"{what} must be before the end of the year 9999, in seconds since 1970, got {quote(value)}")
    return value


def check_name(name: str | None, what: str = "name") -> None:
    """Check a name; None stands for the default.

    Raises:
        TypeError: it is neither a string nor None.
        ValueError: there is half a character in it, so that no store can have it.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{what} must be a string or None, got {name!r}")
    if name is not None and not is_storable(name):
        raise ValueError(f"{what} must be text that has a form in UTF-8, got {quote(name)}")


def check_number(value: int, what: str) -> None:
    """Check the number of a job or a run; whether there is one of that number is the store's to say.

    Raises:
        TypeError: it is not an integer.
    """
    if not _is_integer(value):
        raise TypeError(f"{what} must be an integer, got {quote(value)}")


def check_flag(value: bool, what: str) -> None:
    """Check a boolean: another value that counts as true is a mistake more often than it is meant.

    Raises:
        TypeError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, got {value!r}")


def check_callable(function: object, what: str) -> None:
    """Check that *function* can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(function):
        raise TypeError(f"{what} must be callable, got {function!r}")


def check_synchronous(function: object, what: str) -> None:
    """Check that *function* can be called, and is not asynchronous: nobody would await what it returns.

    Raises:
        TypeError: it is not a function, or an async one.
    """
    check_callable(function, what)
    if any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))):  # noqa: B004
        raise TypeError(f"{what} must be a synchronous function, got {function!r}; it can start a task")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wanted_integer(value: object, least: int, most: int | None) -> str | None:
    """Return what *value* should have been, None if it is that."""
    if not isinstance(value, int) or isinstance(value, bool):
        return "an integer"
    if value < least or (most is not None and value > most):
        return f"an integer of at least {least}" if most is None else f"an integer from {least:,} to {most:,}"
    return None


def _wanted_seconds(value: object, positive: bool) -> str | None:
    """Return what *value* should have been, None if it is that."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return "a number of seconds"
    if not (0 <= value <= LONGEST) or (positive and value == 0):
        return f"{'more than 0' if positive else '0 or more'} and at most {LONGEST:,.0f} seconds"
    return None
