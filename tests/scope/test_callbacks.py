"""Callbacks of a scope: whatever awaitable they return is awaited; what is no function is refused when it is given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

import pytest

from lifecycle import Pool, Registry, Scope
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual

Log = list[str]


async def slow(log: Log) -> None:
    await asyncio.sleep(0.05)
    log.append("released")


class Awaiting:
    """Something to await that is no coroutine."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __await__(self) -> Generator[Any, None, None]:
        return slow(self._log).__await__()


@coroutine
def by_generator(log: Log) -> Generator[Any, None, None]:
    """A coroutine of the kind that is made of a generator."""
    yield from slow(log).__await__()


def by_future(log: Log) -> asyncio.Future[None]:
    future = asyncio.get_running_loop().create_future()

    def release() -> None:
        log.append("released")
        future.set_result(None)

    asyncio.get_running_loop().call_later(0.05, release)
    return future


RETURNING: list[Callable[[Log], Awaitable[object]]] = [
    slow,
    Awaiting,
    by_generator,
    by_future,
    lambda log: asyncio.ensure_future(slow(log)),
    lambda log: asyncio.gather(slow(log)),
]


async def by_callback(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Scope() as scope:
        scope.callback(log.append, "below")
        scope.callback(release, log)


async def by_async_callback(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Scope() as scope:
        scope.callback(log.append, "below")
        scope.push_async_callback(release, log)


async def by_callback_below_a_context_manager(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Scope() as scope:
        scope.callback(log.append, "below")
        scope.push_async_callback(release, log)
        scope.enter_context(contextlib.nullcontext())


async def by_release(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Scope() as scope:
        scope.callback(log.append, "below")
        await scope.acquire(lambda: log, release=release)


async def by_exit(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Scope() as scope:
        scope.callback(log.append, "below")
        scope.push_async_exit(lambda *details: release(log))


async def by_pool(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Pool(lambda: log, release, max_size=1) as pool, pool.acquire():
        pass
    log.append("below")


async def by_finalizer(release: Callable[[Log], Awaitable[object]], log: Log) -> None:
    async with Registry[int, Log](finalizer=release) as registry:
        registry.put(1, log)
    log.append("below")


@pytest.mark.parametrize("release", RETURNING)
@pytest.mark.parametrize(
    "owner",
    [by_callback, by_async_callback, by_callback_below_a_context_manager, by_release, by_exit, by_pool, by_finalizer],
)
def test_whatever_awaitable_comes_back_is_awaited(owner: Any, release: Any) -> None:
    """A task, a future, a gathering, an object of one's own: what lies below comes after its end."""

    @virtual
    async def check(bubble: Bubble) -> None:
        log: Log = []
        await owner(release, log)
        assert log == ["released", "below"]

    check()


@virtual
async def test_what_is_no_awaitable_is_nothing_to_wait_for(bubble: Bubble) -> None:
    """A callback may return what it likes."""
    called: list[object] = []

    def returning(value: object) -> object:
        called.append(value)
        return value

    values = (True, 5, "x", [], {}, object(), asyncio.Event())
    async with Scope() as scope:
        for value in values:
            scope.callback(returning, value)
    assert called == [*reversed(values)]


@virtual
async def test_what_is_no_function_is_refused_when_it_is_given(bubble: Bubble) -> None:
    """First of a run or not; a coroutine is closed, and the message says what to pass. Nothing is registered."""
    log: Log = []
    async with Scope() as scope:
        for before in (False, True):
            if before:
                scope.callback(log.append, "called")
            opened = scope.statistics().opened
            for register in (scope.callback, scope.push_async_callback):
                with pytest.raises(TypeError, match="callback must be a function, got 5"):
                    register(5)  # type: ignore[arg-type]
                with pytest.raises(TypeError, match=r"coroutine of slow\(\); pass slow itself, without calling it"):
                    register(slow(log))  # type: ignore[arg-type]
            assert scope.statistics().opened == opened
    assert log == ["called"]


@on_every_loop
def test_coroutine_functions_that_do_not_suspend_share_a_task(new_loop: Any) -> None:
    """As they do where one suspends: a task for each would cost more than they do."""
    tasks: set[object] = set()

    class Owner:
        async def method(self) -> None:
            tasks.add(asyncio.current_task())

    async def main() -> None:
        async with Scope() as scope:
            for _ in range(10):
                scope.push_async_callback(Owner().method)
                await scope.acquire(Owner, release=Owner.method)
                scope.push_async_callback(Owner.method, Owner())

    run_on(new_loop, main())
    assert len(tasks) == 1
