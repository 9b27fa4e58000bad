"""What users hand in is called, named and awaited in one way."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator

import pytest

from lifecycle import Scope, TaskManager, connect, fixed_rate, resource
from lifecycle._ground.calls import call, coroutine_for, is_surely_synchronous, name_of
from lifecycle.testing import Bubble

from ..loops import virtual


async def dial(host: str = "", *_: object) -> str:
    return host


class Dialer:
    async def __call__(self) -> str:
        return "dialed"


def test_a_partial_is_called_by_its_function() -> None:
    """Also a partial of a partial; an instance is called by its type."""
    assert name_of(dial) == "dial"
    assert name_of(functools.partial(functools.partial(dial, "one"), "two")) == "dial"
    assert name_of(Dialer()) == "Dialer"
    assert name_of(functools.partial(Dialer())) == "Dialer"


@virtual
async def test_every_owner_calls_a_partial_by_its_function(bubble: Bubble) -> None:
    """A task, a resource, a timer and a connect say ``dial``, not ``partial``."""
    partial = functools.partial(dial, "host")
    async with Scope() as scope, TaskManager() as manager:
        assert scope.start_soon(partial).name == "dial"
        assert manager.start_soon(partial).name == "dial"
        assert fixed_rate(partial, 1.0).name == "dial"
        assert "'dial'" in repr(connect(partial))
        with pytest.raises(TypeError, match="dial"):
            resource(partial)  # type: ignore[arg-type]


@virtual
async def test_both_kinds_of_functions_are_called(bubble: Bubble) -> None:
    """The value of a plain function, and that of an asynchronous one."""
    assert await call(str.upper, "host") == "HOST"
    assert await call(dial, "host") == "host"


@virtual
async def test_whatever_can_be_awaited_becomes_a_coroutine(bubble: Bubble) -> None:
    """A coroutine stays as it is, a future is awaited, anything else is refused."""
    coro = dial("host")
    assert coroutine_for(coro) is coro
    assert await coro == "host"
    future = asyncio.get_running_loop().create_future()
    future.set_result("ready")
    assert await coroutine_for(future) == "ready"
    with pytest.raises(TypeError, match="call the function to get its coroutine"):
        coroutine_for(dial)


async def numbers() -> AsyncIterator[int]:
    yield 1


def test_methods_of_built_in_types_are_seen_to_be_synchronous() -> None:
    """By the module of their type, but for those of asynchronous generators, and those of futures and tasks."""
    generator = numbers()
    loop = asyncio.new_event_loop()
    for synchronous in ([].append, {}.update, "".join, print, time.sleep, dict):
        assert is_surely_synchronous(synchronous)
    for asynchronous in (generator.asend, generator.aclose, anext, loop.create_future().cancel, numbers().__anext__):
        assert not is_surely_synchronous(asynchronous)
    loop.close()
