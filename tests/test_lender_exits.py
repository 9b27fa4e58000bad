"""What leaves the block of a registry or pool: no error is lost, whatever is cancelled meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from lifecycle import Pool, Registry
from lifecycle.testing import Bubble

from .loops import virtual

Opens = Callable[[Callable[[object], Any]], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def open_registry(end: Callable[[object], Any]) -> AsyncIterator[object]:
    async with Registry[str, int](finalizer=end) as registry:
        registry.put("a", 1)
        yield registry


@asynccontextmanager
async def open_pool(end: Callable[[object], Any]) -> AsyncIterator[object]:
    async with Pool(object, end, max_size=1) as pool:
        async with pool.acquire():
            pass
        yield pool


async def slowly(value: object) -> None:
    await asyncio.sleep(1.0)


async def slowly_and_badly(value: object) -> None:
    await asyncio.sleep(1.0)
    raise OSError("end")


each_owner = pytest.mark.parametrize("opens", [open_registry, open_pool])


@each_owner
@virtual
async def test_the_error_of_a_body_outlives_a_cancellation(bubble: Bubble, opens: Opens) -> None:
    """It is raised, and the cancellation that came while the owner closed is delivered at the next suspension."""
    met: list[object] = []

    async def work() -> None:
        try:
            async with opens(slowly):
                raise ValueError("body")
        except ValueError as error:
            met.append(error)
        await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    task.cancel("enough")
    await asyncio.wait([task])
    assert task.cancelled()
    assert bubble.clock.now == 1.0
    [error] = met
    assert str(error) == "body"


@each_owner
@virtual
async def test_the_errors_of_a_body_and_of_the_end_outlive_a_cancellation(bubble: Bubble, opens: Opens) -> None:
    """They come as a group."""
    met: list[BaseExceptionGroup[BaseException]] = []

    async def work() -> None:
        try:
            async with opens(slowly_and_badly):
                raise ValueError("body")
        except BaseExceptionGroup as errors:
            met.append(errors)
        await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    task.cancel("enough")
    await asyncio.wait([task])
    assert task.cancelled()
    [errors] = met
    assert [type(error) for error in errors.exceptions] == [ValueError, OSError]


@each_owner
@virtual
async def test_the_error_of_the_end_outlives_a_cancellation_of_the_body(bubble: Bubble, opens: Opens) -> None:
    """The cancellation is delivered at the next suspension."""
    met: list[object] = []

    async def work() -> None:
        try:
            async with opens(slowly_and_badly):
                await asyncio.sleep(10)
        except OSError as error:
            met.append(error)
        await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    task.cancel("enough")
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(met) == 1
    assert bubble.clock.now == 1.5
