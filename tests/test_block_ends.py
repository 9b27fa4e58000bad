"""What leaves the block of an owner that a cancellation has ended, when another one comes while it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from lifecycle import Pool, ReaderWorker, Registry, Scope, TaskGroup, TaskManager, connect, link
from lifecycle.testing import Bubble

from .loops import virtual

Open = Callable[[], AbstractAsyncContextManager[object]]


async def slowly(*_: object) -> None:
    await asyncio.sleep(2)


async def ends_slowly(*_: object) -> None:
    try:
        await asyncio.sleep(100)
    finally:
        await slowly()


@asynccontextmanager
async def scope() -> AsyncIterator[None]:
    async with Scope() as scope:
        scope.push_async_callback(slowly)
        yield


@asynccontextmanager
async def manager() -> AsyncIterator[None]:
    async with TaskManager(drain_timeout=0) as manager:
        manager.start_soon(ends_slowly)
        yield


@asynccontextmanager
async def group() -> AsyncIterator[None]:
    async with TaskGroup() as group:
        group.start_soon(ends_slowly)
        yield


@asynccontextmanager
async def registry() -> AsyncIterator[None]:
    async with Registry[str, int](finalizer=slowly) as registry:
        registry.put("a", 1)
        yield


@asynccontextmanager
async def pool() -> AsyncIterator[None]:
    async with Pool(object, slowly, max_size=1) as pool:
        async with pool.acquire():
            pass
        yield


@asynccontextmanager
async def pair() -> AsyncIterator[None]:
    async with ReaderWorker(ends_slowly, ends_slowly):
        yield


@asynccontextmanager
async def linked() -> AsyncIterator[None]:
    await link(ends_slowly, ends_slowly)
    yield


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    async def connector(stages: Any) -> None:
        await stages.acquire(object, release=slowly)

    async with connect(connector):
        yield


@asynccontextmanager
async def connecting() -> AsyncIterator[None]:
    await connect(ends_slowly)
    yield


OWNERS: list[Open] = [scope, manager, group, registry, pool, pair, linked, connected, connecting]


@pytest.mark.parametrize("owner", OWNERS)
@virtual
async def test_a_native_cancellation_goes_before_one_by_a_scope(bubble: Bubble, owner: Open) -> None:
    """The scope repeats its own as long as it likes; the native one comes once, and would be lost."""
    seen: list[str] = []

    async def work() -> None:
        with anyio.move_on_after(1):
            try:
                async with owner():
                    await asyncio.sleep(100)
            except asyncio.CancelledError as error:
                seen.append(str(error))
                raise
        seen.append("went on")

    task = asyncio.create_task(work())
    await asyncio.sleep(2)
    task.cancel("enough")
    await asyncio.wait([task])
    assert bubble.clock.time() == pytest.approx(3)
    assert task.cancelled()
    assert task.cancelling() == 1
    assert seen == ["enough"]


@pytest.mark.parametrize("owner", OWNERS)
@virtual
async def test_a_scope_knows_its_own_after_a_timeout_inside_of_it(bubble: Bubble, owner: Open) -> None:
    """The timeout passes while the owner closes for the scope, and takes its request back: nothing is left of it."""
    with anyio.move_on_after(1) as scope:
        async with asyncio.timeout(2):
            async with owner():
                await asyncio.sleep(100)
    assert bubble.clock.time() == pytest.approx(3)
    assert scope.cancelled_caught
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


@pytest.mark.parametrize("owner", OWNERS)
@virtual
async def test_a_timeout_is_one_after_a_scope_inside_of_it(bubble: Bubble, owner: Open) -> None:
    """It passes while the owner closes for the scope, which leaves it the cancellation."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            with anyio.move_on_after(1):
                async with owner():
                    await asyncio.sleep(100)
    assert bubble.clock.time() == pytest.approx(3)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)
