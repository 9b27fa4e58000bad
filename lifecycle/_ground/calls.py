"""Calling what users hand in: functions of either kind, their names, and the coroutines that they make."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable, iscoroutine
from types import CoroutineType
from typing import Any, TypeVar

from typing_extensions import TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def name_of(thing: object) -> str:
    """Return what a person would call *thing*: its qualified name, a partial's function's, or its type's."""
    name = getattr(thing, "__qualname__", None)
    if name is not None:
        return str(name)
    return name_of(thing.func) if isinstance(thing, functools.partial) else type(thing).__qualname__


def coroutine_of(fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], args: tuple[Unpack[Ts]]) -> Coroutine[Any, Any, T]:
    """Return the coroutine that ``fn(*args)`` makes.

    Raises:
        TypeError: *fn* made something else; nothing was started.
    """
    coro = fn(*args)
    if type(coro) is CoroutineType or iscoroutine(coro):
        return coro
    return checked_coroutine(coro)


def checked_coroutine(coro: object) -> Coroutine[Any, Any, Any]:
    """Return *coro* if it is a coroutine.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(coro, Coroutine):
        raise TypeError(
            f"expected an async function or a coroutine, got {coro!r}; pass the function itself, "
            "not the value that it returned"
        )
    return coro


def coroutine_for(aw: object) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that awaits *aw*, which may be one already.

    Raises:
        TypeError: it cannot be awaited.
    """
    if iscoroutine(aw):
        return aw
    if not isawaitable(aw):
        raise TypeError(f"expected an awaitable, got {aw!r}; call the function to get its coroutine")
    return await_it(aw)


async def await_it(aw: Awaitable[T]) -> T:
    """Await *aw*."""
    return await aw


async def call(function: Callable[[Unpack[Ts]], Awaitable[T] | T], *args: Unpack[Ts]) -> T:
    """Return the value of ``function(*args)``, a function of either kind.

    Cancellation: raised at once, in what is awaited.
    """
    result = function(*args)
    return await result if isawaitable(result) else result
