"""A timeout of ours is told to the caller also where the user's code swallows the cancellation that it comes as."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lifecycle import (
    ConnectError,
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    connect,
    fixed_rate,
)
from lifecycle.testing import Bubble

from .loops import virtual

released: list[str] = []


async def late(value: str = "late") -> str:
    """Swallow a cancellation, as a stray ``except BaseException`` does, and return as if nothing had been."""
    try:
        await asyncio.sleep(100)
    except BaseException:
        await asyncio.sleep(0.1)
    return value


async def give() -> str:
    """Make a value in time."""
    return "prompt"


async def release(value: str) -> None:
    """Take a value back."""
    released.append(value)


async def release_late(_: object = None) -> None:
    """Take a value back, and swallow a cancellation meanwhile."""
    await late()


async def idle(*_: object) -> None:
    """Do nothing."""


# Making something


async def by_scope() -> None:
    async with Scope() as scope:
        await scope.acquire(late, release=release, timeout=1)


async def by_registry() -> None:
    async with Registry[str, str](create_timeout=1, finalizer=release) as registry:
        await registry.get_or_create("key", late)


async def by_lease() -> None:
    async with Registry[str, str](create_timeout=1, finalizer=release) as registry, registry.lease("key", late):
        pass


async def by_pool() -> None:
    async with Pool(late, release, max_size=1, create_timeout=1) as pool, pool.acquire():
        pass


async def by_group_body() -> None:
    async with TaskGroup(timeout=1):
        released.append(await late())


async def by_group_task() -> None:
    async with TaskGroup(timeout=1) as group:
        group.start_soon(late).add_done_callback(lambda task: released.append(task.result()))


async def by_connect() -> None:
    async def connector(stages: Stages) -> str:
        return await stages.acquire(late, release=release)

    await connect(connector, timeout=1)


async def by_stage() -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(late, release=release, timeout=1)

    await connect(connector)


async def by_step() -> None:
    async def connector(stages: Stages) -> None:
        released.append("late")
        await stages.step(late(), timeout=1)

    await connect(connector)


@pytest.mark.parametrize(
    "work",
    [by_scope, by_registry, by_lease, by_pool, by_group_body, by_group_task, by_connect, by_stage, by_step],
    ids=lambda work: work.__name__,
)
def test_who_waits_is_told(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """It used to get the late value from a registry, a pool and a step; a value that nobody gets is released once."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        released.clear()
        with pytest.raises((TimeoutError, ConnectError)) as caught:
            await work()
        error = caught.value
        assert isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)
        assert 1 < bubble.clock.time() < 2
        assert released == ["late"]

    scenario()


@virtual
async def test_a_late_value_is_released_before_its_owner_is_closed(bubble: Bubble) -> None:
    """The pool is closed meanwhile: the close waits for the release of what nobody could be given."""

    async def release_slowly(value: str) -> None:
        await asyncio.sleep(0.5)
        released.append(value)

    released.clear()
    pool = Pool(late, release_slowly, max_size=1, create_timeout=1)
    async with pool:
        borrower = asyncio.ensure_future(pool.acquire().__aenter__())
        await asyncio.sleep(1.05)
        closing = asyncio.ensure_future(pool.aclose())
        await asyncio.wait([borrower])
        assert borrower.exception() is not None
        await closing
        assert released == ["late"]
        pool._check_invariants()


# A run of a timer


@virtual
async def test_a_run_has_failed(bubble: Bubble) -> None:
    """It counted as finished, although its time had passed."""
    timer = fixed_rate(late, 10, run_timeout=1, max_runs=2)
    async with Scope() as scope:
        await scope.start_soon(timer)
    statistics = timer.statistics()
    assert (statistics.finished, statistics.failed, statistics.timed_out) == (0, 2, 2)


# Releasing something


async def of_scope() -> None:
    async with Scope(close_timeout=1) as scope:
        await scope.acquire(give, release=release_late)


async def of_callback() -> None:
    async with Scope(close_timeout=1) as scope:
        scope.push_async_callback(release_late)


async def of_context_manager() -> None:
    @asynccontextmanager
    async def session() -> AsyncIterator[None]:
        yield
        await late()

    async with Scope(close_timeout=1) as scope:
        await scope.enter(session())


async def of_registry() -> None:
    async with Registry[str, str](finalizer=release_late, close_timeout=1) as registry:
        registry.put("key", "value")


async def of_pool() -> None:
    async with Pool(give, release_late, max_size=1, close_timeout=1) as pool, pool.acquire():
        pass


async def of_pair() -> None:
    async with ReaderWorker(idle, idle, close=release_late, close_timeout=1) as pair:
        outcome = await pair.wait()
    if outcome.close_error is not None:
        raise outcome.close_error


@pytest.mark.parametrize(
    "work",
    [of_scope, of_callback, of_context_manager, of_registry, of_pool, of_pair],
    ids=lambda work: work.__name__,
)
def test_a_release_is_told_of(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """G5: also one that ended well after its time; a pool and a pair said nothing of it."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(TimeoutError, match="took longer than 1 s and was cancelled"):
            await work()
        assert 1 < bubble.clock.time() < 2

    scenario()
