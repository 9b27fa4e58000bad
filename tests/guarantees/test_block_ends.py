"""G4 and G6 at the end of a block: of every owner, no error of the body is lost, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from lifecycle import Pool, ReaderWorker, Registry, Scope, Stages, TaskGroup, TaskManager, connect, keep_connected
from lifecycle.testing import Bubble

from ..loops import virtual

Block = Callable[[Callable[..., Any]], AbstractAsyncContextManager[None]]


async def endless(*_: object) -> None:
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def scope(release: Callable[..., Any]) -> AsyncIterator[None]:
    async with Scope() as owner:
        owner.push_async_callback(release)
        yield


@contextlib.asynccontextmanager
async def manager(release: Callable[..., Any]) -> AsyncIterator[None]:
    async with TaskManager() as owner:
        owner.start_soon(release)
        yield


@contextlib.asynccontextmanager
async def group(release: Callable[..., Any]) -> AsyncIterator[None]:
    async def member() -> None:
        try:
            await endless()
        finally:
            await release()

    async with TaskGroup() as owner:
        owner.start_soon(member)
        await asyncio.sleep(0)
        yield


@contextlib.asynccontextmanager
async def registry(release: Callable[..., Any]) -> AsyncIterator[None]:
    async with Registry[int, int](finalizer=release) as owner:
        owner.put(1, 2)
        yield


@contextlib.asynccontextmanager
async def pool(release: Callable[..., Any]) -> AsyncIterator[None]:
    async with Pool(object, release, max_size=1) as owner:
        async with owner.acquire():
            pass
        yield


@contextlib.asynccontextmanager
async def pair(release: Callable[..., Any]) -> AsyncIterator[None]:
    async with ReaderWorker(endless, endless, close=release):
        yield


@contextlib.asynccontextmanager
async def connection(release: Callable[..., Any]) -> AsyncIterator[None]:
    async def connector(stages: Stages) -> None:
        await stages.acquire(asyncio.sleep, 0, release=release)

    async with connect(connector):
        yield


@contextlib.asynccontextmanager
async def kept(release: Callable[..., Any]) -> AsyncIterator[None]:
    async def connector(stages: Stages) -> None:
        await stages.acquire(asyncio.sleep, 0, release=release)

    async with keep_connected(connector) as owner:
        await owner.get()
        yield


BLOCKS: dict[str, Block] = {
    block.__name__: block for block in (scope, manager, group, registry, pool, pair, connection, kept)
}

#: The manager's tasks are not its errors: it logs them.
RAISING = {name: block for name, block in BLOCKS.items() if name != "manager"}


def leaves_of(error: BaseException) -> list[str]:
    """Return the texts of the single errors in *error*."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]
    return [str(error)]


async def fail() -> None:
    raise ValueError("body")


async def leave(
    block: Block, release: Callable[..., Any], *, body: Callable[[], Awaitable[None]] = fail, cancelled: bool = True
) -> tuple[BaseException | None, bool]:
    """Leave a block, cancelled after a second; return what it raised, and whether a cancellation came afterwards."""

    async def work() -> tuple[BaseException | None, bool]:
        error: BaseException | None = None
        try:
            async with block(release):
                await body()
        except BaseException as raised:
            error = raised
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            return error, True
        return error, False

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    if cancelled:
        task.cancel()
    return await task


async def slow(*_: object) -> None:
    await asyncio.sleep(2)


async def slow_and_broken(*_: object) -> None:
    await asyncio.sleep(2)
    raise OSError("release")


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@virtual
async def test_the_body_error_outlives_a_cancellation_of_the_end(bubble: Bubble, block: Block) -> None:
    """The error is raised when the release is done, and the cancellation comes at the next suspension."""
    error, delivered = await leave(block, slow)
    assert error is not None
    assert leaves_of(error) == ["body"]
    assert delivered
    assert bubble.clock.now == (1.0 if block is manager else 2.0)  # a manager then ends its tasks, instead of draining


@pytest.mark.parametrize("block", RAISING.values(), ids=RAISING)
@pytest.mark.parametrize("cancelled", [False, True], ids=["in peace", "cancelled"])
@virtual
async def test_the_body_error_is_raised_beside_that_of_a_release(bubble: Bubble, block: Block, cancelled: bool) -> None:
    """Both are raised, whether or not a cancellation comes while the release runs."""
    error, delivered = await leave(block, slow_and_broken, cancelled=cancelled)
    assert error is not None
    in_order = ["body", "release"]
    assert leaves_of(error) == (
        in_order[::-1] if block is group else in_order
    )  # a group's body comes last, as asyncio's
    assert delivered is cancelled
    assert bubble.clock.now == (2.0 if cancelled else 3.0)


@pytest.mark.parametrize("block", RAISING.values(), ids=RAISING)
@virtual
async def test_the_error_of_a_release_outlives_a_cancellation_of_the_body(bubble: Bubble, block: Block) -> None:
    """It is raised, and the cancellation comes at the next suspension."""
    error, delivered = await leave(block, slow_and_broken, body=endless)
    assert error is not None
    assert leaves_of(error) == ["release"]
    assert delivered
    assert bubble.clock.now == 3.0
