"""Functions: what can be called again, and with what; the rest is refused before anything has happened."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .._ground.calls import is_surely_synchronous, name_of, refuse_function
from .._ground.foreign import in_words

CLAIM = "a Retry takes an async function"

#: What can be used once; another attempt would find it empty.
ONCE = (CoroutineType, GeneratorType, AsyncGeneratorType)


def check_function(fn: Any) -> None:
    """Check that *fn* can be called again and again and, as far as can be seen without that, is asynchronous.

    Raises:
        TypeError: it is not; it says what to do instead.
    """
    if isinstance(fn, (staticmethod, classmethod)):
        raise TypeError(f"{CLAIM}, got a {type(fn).__name__}; put the retry below @{type(fn).__name__}")
    if not callable(fn):
        refuse_function(CLAIM, fn, args_follow=True)
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.iscoroutinefunction(inner):
        return
    if _yields(inner) or _yields(getattr(type(inner), "__call__", None)):  # noqa: B004
        raise TypeError(
            f"{CLAIM}, and {name_of(fn)} yields: what it has yielded cannot be taken back; "
            "put the retry around what it awaits, or make it a connector of connect()"
        )
    if is_surely_synchronous(fn):
        refuse_function(CLAIM, fn, args_follow=True)


def _yields(function: Any) -> bool:
    """Return whether *function* is a generator of either kind, or a context manager made of one."""
    while function is not None:
        if inspect.iscoroutinefunction(function):
            return False
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def check_arguments(arguments: Iterable[object]) -> None:
    """Check that *arguments* can be used by each attempt.

    Raises:
        TypeError: one can be used but once. A coroutine is closed.
    """
    for argument in arguments:
        if isinstance(argument, ONCE):
            if isinstance(argument, CoroutineType):
                argument.close()
            raise TypeError(f"an argument can be used but once: {in_words(argument)}; hand over what makes it")
