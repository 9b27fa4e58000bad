"""Checks of arguments: every number, name and function is looked at when it is given, before anything has happened."""

from __future__ import annotations

import inspect
import math
from typing import get_args

from . import kernel
from .calls import is_surely_synchronous, name_of, refuse_function
from .foreign import in_words
from .signatures import check_takes

#: The shortest period of anything that repeats, in seconds: one that a clock can still tell from nothing.
SHORTEST = 1e-6

#: The longest time that can be asked for where there has to be an end, in seconds: a century.
LONGEST = 36_525 * 86_400.0


def checked_name(name: str | None, default: str, *, what: str = "name") -> str:
    """Return *name*, or *default* where there is none.

    Raises:
        TypeError: it is not a string.
    """
    if name is None:
        return default
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string or None, got {name!r}")
    return name


def checked_callable(function: object, what: str, *, args_follow: bool = False, takes: int | None = None) -> None:
    """Check that *function* can be called; a coroutine in its place is closed.

    Args:
        function: what was given.
        what: which argument it is.
        args_follow: whether the function's arguments are given after it.
        takes: how many arguments it will be called with; None where that is not known.

    Raises:
        TypeError: it cannot, or not with so many arguments.
    """
    if not callable(function):
        refuse_function(f"{what} must be a function", function, args_follow=args_follow)
    if takes is not None:
        check_takes(function, takes, what)


def checked_async(function: object, claim: str, *, args_follow: bool = False) -> None:
    """Check that *function* can be called and, as far as can be seen without that, is asynchronous.

    Args:
        function: what was given.
        claim: what is expected where, as the beginning of a sentence.
        args_follow: whether the function's arguments are given after it.

    Raises:
        TypeError: it is not. A coroutine in its place is closed.
    """
    if not callable(function) or is_surely_synchronous(function):
        refuse_function(claim, function, args_follow=args_follow)


def checked_sync(function: object, what: str, *, takes: int | None = None) -> None:
    """Check that *function* can be called, and is not asynchronous: nobody would await what it returns.

    Raises:
        TypeError: it is not a function, or an async one, or takes another number of arguments.
    """
    checked_callable(function, what, takes=takes)
    if any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))):  # noqa: B004
        raise TypeError(f"{what} must be a synchronous function, got {in_words(function)}; it can start a task")


def checked_timeout(seconds: float | None, what: str) -> float:
    """Return *seconds* as a float, infinity for None.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative or NaN.
    """
    if type(seconds) is float and seconds >= 0.0:
        return seconds
    if seconds is None:
        return kernel.FOREVER
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} must be seconds or None, got {seconds!r}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{what} must be 0 or more seconds, or None for no bound, got {seconds}")
    return float(seconds)


def checked_instant(instant: float, what: str) -> float:
    """Return *instant*, seconds of any clock, as a float.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not finite.
    """
    if isinstance(instant, bool) or not isinstance(instant, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, got {instant!r}")
    if not math.isfinite(instant):
        raise ValueError(f"{what} must be finite, got {instant!r}")
    return float(instant)


def checked_seconds(seconds: float, what: str, *, least: float = 0.0) -> float:
    """Return *seconds* as a float from *least* to a century.

    Raises:
        TypeError: it is not a number.
        ValueError: it is NaN, too small or too large.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, got {seconds!r}")
    if not least <= seconds <= LONGEST:
        raise ValueError(f"{what} must be from {least:g} to {LONGEST:g} seconds, got {seconds!r:.50}")
    return float(seconds)


def checked_period(seconds: float, what: str = "period") -> float:
    """Return *seconds* as a float from a microsecond to a century.

    Raises:
        TypeError: it is not a number.
        ValueError: it is zero, negative, NaN, or out of range.
    """
    return checked_seconds(seconds, what, least=SHORTEST)


def checked_part(part: float, what: str) -> float:
    """Return *part*, a fraction from 0 to 1, as a float.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not from 0 to 1.
    """
    if isinstance(part, bool) or not isinstance(part, (int, float)):
        raise TypeError(f"{what} must be a number from 0 to 1, got {part!r}")
    if not 0.0 <= part <= 1.0:
        raise ValueError(f"{what} must be from 0 to 1, got {part!r}")
    return float(part)


def checked_limit(limit: int | None, *, what: str = "limit", least: int = 1) -> int | None:
    """Return *limit* if it is None, for no bound, or a whole number of at least *least*.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"{what} must be a whole number or None, got {limit!r}")
    if limit < least:
        raise ValueError(f"{what} must be at least {least} or None, got {limit}")
    return limit


def checked_count(count: int, what: str, *, least: int = 0) -> int:
    """Return *count* if it is a whole number of at least *least*.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{what} must be a whole number, got {count!r}")
    if count < least:
        raise ValueError(f"{what} must be at least {least}, got {count}")
    return count


def checked_flag(flag: bool, what: str) -> bool:
    """Return *flag*.

    Raises:
        TypeError: it is no bool.
    """
    if not isinstance(flag, bool):
        raise TypeError(f"{what} must be True or False, got {in_words(flag)}")
    return flag


def check_choice(value: str, choices: object, what: str) -> None:
    """Check that *value* is one of the words of *choices*, a ``Literal``.

    Raises:
        ValueError: it is not.
    """
    allowed = get_args(choices)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def checked_async_context(thing: object) -> None:
    """Check that *thing* is an asynchronous context manager; a coroutine in its place is closed.

    Raises:
        TypeError: it is not; it says what to do with what it is.
    """
    if _is_async_context(thing):
        return
    got = in_words(thing)
    if inspect.iscoroutine(thing):
        thing.close()
        got = f"a coroutine of {name_of(thing)}()"
        what_to_do = "; await it first, or hand its function to acquire()"
    elif inspect.isasyncgen(thing):
        what_to_do = "; decorate its function with @resource"
    elif _is_context(thing):
        what_to_do = "; it is a synchronous one, which is for enter_context()"
    elif callable(thing):
        what_to_do = f"; call it: {name_of(thing)}(...)"
    else:
        what_to_do = ""
    raise TypeError(f"expected an asynchronous context manager, got {got}{what_to_do}")


def checked_context(thing: object) -> None:
    """Check that *thing* is a synchronous context manager.

    Raises:
        TypeError: it is not.
    """
    if not _is_context(thing):
        what_to_do = "; it is an asynchronous one, which is for enter()" if _is_async_context(thing) else ""
        raise TypeError(f"expected a context manager, got {in_words(thing)}{what_to_do}")


def _is_async_context(thing: object) -> bool:
    return hasattr(type(thing), "__aenter__") and hasattr(type(thing), "__aexit__")


def _is_context(thing: object) -> bool:
    return hasattr(type(thing), "__enter__") and hasattr(type(thing), "__exit__")
