"""Acquiring and starting: what a scope makes, and what it undoes when that comes too late."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from lifecycle import LifecycleError, OwnerClosed, Scope, TimeoutExpired
from lifecycle.testing import Bubble

from ..loops import virtual
from .things import Connection, NoteClosing, noted


@virtual
async def test_a_value_is_released_by_its_own_close_unless_told_otherwise(bubble: Bubble) -> None:
    """aclose, then close; a value with neither is an error that says what to do."""
    log: list[str] = []
    async with Scope() as scope:
        await scope.acquire(Connection, log)
        await scope.acquire(NoteClosing, log)
        await scope.acquire(Connection, log, release=lambda connection: connection.log.append("told"))
        with pytest.raises(TypeError, match="neither aclose"):
            await scope.acquire(object)
    assert log == ["told", "closed", "aclose"]


@virtual
async def test_a_resource_is_owned_after_those_that_its_factory_acquired(bubble: Bubble) -> None:
    """A pool is released before the engine that its factory acquired from the same scope."""
    log: list[str] = []

    async def engine() -> str:
        await asyncio.sleep(1)
        return "engine"

    async def pool(scope: Scope) -> str:
        await scope.acquire(engine, release=log.append)
        return "pool"

    async with Scope() as scope:
        await scope.acquire(pool, scope, release=log.append)
    assert log == ["pool", "engine"]


@virtual
async def test_a_factory_that_takes_too_long_is_cancelled_before_the_timeout_is_raised(bubble: Bubble) -> None:
    """Its clean-up is over when the caller goes on."""
    log: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            log.append("cleaned up")

    async with Scope() as scope:
        with pytest.raises(TimeoutExpired, match="'slow' took longer than 2 s") as caught:
            await scope.acquire(slow, release=log.append, name="slow", timeout=2)
        assert isinstance(caught.value, LifecycleError)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.what, caught.value.timeout) == ("acquisition of 'slow'", 2)
        assert log == ["cleaned up"]
        assert scope.statistics().live == 0


@virtual
async def test_a_scope_that_closes_meanwhile_refuses_what_is_being_made(bubble: Bubble) -> None:
    """The caller gets OwnerClosed, not a cancellation: its task was not cancelled."""
    scope = Scope()

    async def slow() -> None:
        await asyncio.sleep(100)

    asyncio.get_running_loop().call_later(1, scope.cancel)
    with pytest.raises(OwnerClosed, match="closed meanwhile"):
        await scope.acquire(slow, release=print)
    await scope.aclose()


@virtual
async def test_start_returns_what_the_task_reports(bubble: Bubble) -> None:
    """And the task goes on until its place in the ledger."""

    async def server(port: int, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        await asyncio.sleep(1)
        task_status.started(port)
        await asyncio.sleep(3600)

    async def never(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        await asyncio.sleep(1)

    async def broken(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        raise OSError("address in use")

    async with Scope() as scope:
        assert await scope.start(server, 80) == 80
        with pytest.raises(OSError, match="address in use"):
            await scope.start(broken)
        with pytest.raises(RuntimeError, match="without calling task_status"):
            await scope.start(never)
        assert scope.statistics().tasks == 1


@virtual
async def test_a_start_that_is_cancelled_takes_its_task_along(bubble: Bubble) -> None:
    """No caller has the value, so none needs the task."""
    log: list[str] = []

    async def slow(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        await noted(log, "slow ended")

    async with Scope() as scope:
        with anyio.move_on_after(1):
            await scope.start(slow)
        await asyncio.sleep(0.1)
        assert log == ["slow ended"]
