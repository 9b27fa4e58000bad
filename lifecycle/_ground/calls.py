"""Calling what users hand in: functions of either kind, their names, and the coroutines that they make."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_ITERABLE_COROUTINE,
    isawaitable,
    iscoroutine,
    iscoroutinefunction,
)
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, FunctionType, MethodType
from typing import Any, NoReturn, TypeVar, cast

from typing_extensions import TypeVarTuple, Unpack

from .bytecode import returns_nothing
from .foreign import in_words

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def name_of(thing: object) -> str:
    """Return what a person would call *thing*: its qualified name, a partial's function's, or its type's."""
    name = getattr(thing, "__qualname__", None)
    if name is not None:
        return str(name)
    return name_of(thing.func) if isinstance(thing, functools.partial) else type(thing).__qualname__


def coroutine_of(fn: Callable[[Unpack[Ts]], Awaitable[T]], args: tuple[Unpack[Ts]]) -> Coroutine[Any, Any, T]:
    """Return the coroutine that ``fn(*args)`` makes, or one that awaits what else it returns.

    Raises:
        TypeError: *fn* cannot be called, or returned nothing that can be awaited.
    """
    if type(fn) is not FunctionType and type(fn) in SUSPECTS:
        check_asynchronous(fn)
    try:
        made = fn(*args)
    except TypeError:
        check_asynchronous(fn)
        raise
    return made if type(made) is CoroutineType else coroutine_from(fn, made)


#: What is looked at before it is called where tasks are started at a high rate: nearly always a mistake, and nearly
#: free to see. To look at everything would cost the right ones more (a function 3 % of its task, a partial 10 %) than a
#: single call costs the wrong ones, which shows it as well.
SUSPECTS = frozenset({BuiltinFunctionType, type})


def check_asynchronous(fn: object) -> None:
    """Refuse *fn* where it can be seen without a call that it is no function, or not an asynchronous one.

    Raises:
        TypeError: it is not.
    """
    if not callable(fn) or is_surely_synchronous(fn):
        refuse_function("expected an async function", fn, args_follow=True)


def coroutine_from(fn: object, made: object) -> Coroutine[Any, Any, Any]:
    """Return *made*, which *fn* has returned, as a coroutine.

    Raises:
        TypeError: it cannot be awaited.
    """
    if isinstance(made, Coroutine):
        return made
    if not isawaitable(made):
        raise TypeError(
            f"expected an async function, but {name_of(fn)}() has returned {in_words(made)}, and no coroutine; pass "
            "the function itself, made `async def`, or run it in a thread with anyio.to_thread.run_sync"
        )
    coro: Any = await_it(made)
    coro.__name__ = coro.__qualname__ = name_of(fn)  # owners name a task after its coroutine
    return cast("Coroutine[Any, Any, Any]", coro)


def refuse_function(claim: str, got: object, *, args_follow: bool = False) -> NoReturn:
    """Refuse *got* where a function belongs; a coroutine, which was called too early, is closed.

    Args:
        claim: what is expected where, as the beginning of the sentence.
        got: what was given instead.
        args_follow: whether the function's arguments are given after it.

    Raises:
        TypeError: always; it says what to write instead.
    """
    if iscoroutine(got):
        got.close()
        name = name_of(got)
        how = "its arguments come after it" if args_follow else "functools.partial gives it arguments"
        raise TypeError(f"{claim}, got a coroutine of {name}(); pass {name} itself, without calling it: {how}")
    what_instead = "; make it `async def`, or run it in a thread with anyio.to_thread.run_sync" if callable(got) else ""
    raise TypeError(f"{claim}, got {in_words(got)}{what_instead}")


def is_surely_synchronous(function: object) -> bool:
    """Return whether it can be seen, without a call, that *function* returns nothing that can be awaited.

    Where that cannot be seen, as of a function that returns what another one gives it, a call has to show it.
    """
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, type):
            return not hasattr(function, "__await__")
        elif isinstance(function, BuiltinFunctionType):
            # Compiled modules of others may have asynchronous functions that look like these.
            of = function.__self__
            module = function.__module__ or type(of).__module__
            if function is anext or isinstance(of, AsyncGeneratorType):
                return False
            return module in sys.stdlib_module_names and module != "_asyncio"
        elif isinstance(function, FunctionType):
            code = function.__code__
            if code.co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE):
                return False
            generates = code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR)
            return bool(generates or returns_nothing(code)) and not iscoroutinefunction(function)  # as it may be marked
        else:
            call = getattr(type(function), "__call__", None)  # noqa: B004
            if not isinstance(call, FunctionType):
                return False
            function = call


def is_coroutine_function(function: object) -> bool:
    """Return whether a call of *function*, an ``async def`` or a method, makes a coroutine and runs nothing of it."""
    if type(function) is MethodType:
        function = function.__func__
    return type(function) is FunctionType and bool(function.__code__.co_flags & CO_COROUTINE)


def checked_coroutine(coro: object) -> Coroutine[Any, Any, Any]:
    """Return *coro* if it is a coroutine.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(coro, Coroutine):
        how = f"; call it: {name_of(coro)}(...)" if callable(coro) else ""
        raise TypeError(f"expected the coroutine of an async function, got {in_words(coro)}{how}")
    return coro


def coroutine_for(aw: object) -> Coroutine[Any, Any, Any]:
    """Return a coroutine that awaits *aw*, which may be one already.

    Raises:
        TypeError: it cannot be awaited.
    """
    if iscoroutine(aw):
        return aw
    checked_awaitable(aw)
    return await_it(cast("Awaitable[Any]", aw))


def checked_awaitable(aw: object) -> None:
    """Check that *aw* can be awaited.

    Raises:
        TypeError: it cannot.
    """
    if not isawaitable(aw):
        raise TypeError(f"expected an awaitable, got {in_words(aw)}; call the function to get its coroutine")


async def await_it(aw: Awaitable[T]) -> T:
    """Await *aw*."""
    return await aw


async def call(function: Callable[[Unpack[Ts]], Awaitable[T] | T], *args: Unpack[Ts]) -> T:
    """Return the value of ``function(*args)``, a function of either kind.

    Cancellation: raised at once, in what is awaited.
    """
    result = function(*args)
    return await result if isawaitable(result) else result
