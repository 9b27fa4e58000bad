"""What is read in the bytecode of a function: where its yield stands, and whether it returns anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from lifecycle._ground.bytecode import is_inside_try, returns_nothing

Generator = AsyncGenerator[int, None]


async def bare() -> Generator:
    yield await asyncio.sleep(0, 1)
    await asyncio.sleep(0)


async def in_for() -> Generator:
    for number in (1,):
        yield number


async def in_async_for() -> Generator:
    async for number in bare():
        yield number


async def in_except() -> Generator:
    try:
        raise ValueError
    except ValueError as error:
        yield len(error.args)


async def in_except_twice() -> Generator:
    try:
        raise KeyError
    except KeyError:
        try:
            raise ValueError
        except ValueError:
            yield 1


async def in_finally() -> Generator:
    try:
        await asyncio.sleep(0)
    finally:
        yield 1


async def in_else() -> Generator:
    try:
        await asyncio.sleep(0)
    except ValueError:
        pass
    else:
        yield 1


async def below_with() -> Generator:
    with suppress(ValueError):
        await asyncio.sleep(0)
    yield 1


async def in_try_finally() -> Generator:
    try:
        yield 1
    finally:
        await asyncio.sleep(0)


async def in_try_except() -> Generator:
    try:
        yield 1
    except ValueError:
        print("seen")


async def in_try_except_star() -> Generator:
    try:
        yield 1
    except* ValueError:
        pass


async def in_with() -> Generator:
    with suppress(ValueError):
        yield 1


async def in_async_with() -> Generator:
    async with nullcontext():
        for number in (1,):
            yield number


async def in_except_in_try() -> Generator:
    try:
        try:
            raise ValueError
        except ValueError as error:
            yield len(error.args)
    finally:
        await asyncio.sleep(0)


async def in_with_in_except() -> Generator:
    try:
        raise KeyError
    except KeyError:
        with suppress(ValueError):
            yield 1


BARE = [bare, in_for, in_async_for, in_except, in_except_twice, in_finally, in_else, below_with]
INSIDE = [
    in_try_finally, in_try_except, in_try_except_star, in_with, in_async_with, in_except_in_try, in_with_in_except
]  # fmt: skip


@pytest.mark.parametrize("function", BARE + INSIDE)
def test_a_yield_is_inside_a_try_or_it_is_not(function: Callable[[], Generator]) -> None:
    """Handlers that the compiler adds by itself, on any version of Python, count for nothing."""

    async def main() -> bool:
        generator: Any = function()
        await anext(generator)
        try:
            return is_inside_try(generator.ag_frame.f_code, generator.ag_frame.f_lasti)
        finally:
            await generator.aclose()

    assert asyncio.run(main()) is (function in INSIDE)


def falls_off() -> None:
    print("x")


def returns_early(flag: bool) -> None:
    if flag:
        return
    with nullcontext():
        return


def returns_constant() -> int:
    return 5


def returns_call() -> object:
    return len(str(falls_off))


def returns_sometimes(flag: bool) -> object:
    if flag:
        return flag
    return None


def never_returns() -> object:
    raise NotImplementedError


def test_a_function_returns_nothing_or_it_may() -> None:
    """Seen in its code, without a call."""
    assert [returns_nothing(function.__code__) for function in (falls_off, returns_early)] == [True, True]
    may = (returns_constant, returns_call, returns_sometimes, never_returns)
    assert [returns_nothing(function.__code__) for function in may] == [False, False, False, False]
