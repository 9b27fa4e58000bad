"""What programs are made of that leave nothing to the garbage collector: errors and values that are noticed."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NoReturn

from lifecycle import (
    resource,
)

Case = Callable[[], Coroutine[Any, Any, object]]

CASES: dict[str, Case] = {}

live: weakref.WeakSet[Any] = weakref.WeakSet()


def case(run: Case) -> Case:
    """Enter a program of which nothing may be left."""
    CASES[run.__name__] = run
    return run


class Error(Exception):
    """An error that is noticed while it lives."""

    def __init__(self) -> None:
        live.add(self)


class Value:
    """A value that is."""

    def __init__(self) -> None:
        live.add(self)

    def close(self) -> None: ...


def fails(*_: object) -> NoReturn:
    raise Error


async def fail(*_: object) -> NoReturn:
    raise Error


async def fail_later(*_: object) -> NoReturn:
    await asyncio.sleep(0.001)
    raise Error


async def make() -> Value:
    await asyncio.sleep(0)
    return Value()


async def forever(*_: object) -> None:
    await asyncio.Event().wait()


async def fail_when_cancelled(*_: object) -> None:
    try:
        await forever()
    finally:
        raise Error


async def turn(*_: object) -> None:
    await asyncio.sleep(0)


async def pause(*_: object) -> None:
    await asyncio.sleep(0.005)


def cancel_soon(turns: int = 50) -> None:
    """Cancel the calling task once it stands where it waits, which the loop's turns tell, and no clock."""
    task = asyncio.current_task()
    assert task is not None
    cancel_after(turns, task)


def cancel_after(turns: int, task: asyncio.Task[Any]) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(cancel_after, turns - 1, task)
    else:
        task.cancel()


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[Value]:
    yield Value()


@contextlib.asynccontextmanager
async def failing_on_exit() -> AsyncIterator[Value]:
    yield Value()
    raise Error


@resource
async def owned() -> AsyncIterator[Value]:
    yield Value()
