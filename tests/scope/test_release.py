"""One resource released before its turn, while the rest of the scope stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lifecycle import ReleaseTimeout, Scope
from lifecycle.testing import Bubble

from ..loops import virtual


class Connection:
    def __init__(self, log: list[str], name: str, seconds: float = 0.0, error: BaseException | None = None) -> None:
        self.log = log
        self.name = name
        self.seconds = seconds
        self.error = error

    async def aclose(self) -> None:
        await asyncio.sleep(self.seconds)
        self.log.append(self.name)
        if self.error is not None:
            raise self.error

    def __eq__(self, other: object) -> bool:
        raise AssertionError("asked whether it equals another")

    def __repr__(self) -> str:
        raise AssertionError("asked for its text")

    __hash__ = object.__hash__


@virtual
async def test_one_resource_is_released_and_the_rest_stays(bubble: Bubble) -> None:
    """Once: the end of the scope finds it gone."""
    log: list[str] = []
    async with Scope() as scope:
        old = await scope.acquire(lambda: Connection(log, "old"))
        await scope.acquire(lambda: Connection(log, "new"))
        await scope.release(old)
        assert log == ["old"]
        assert scope.statistics().resources == 1
    assert log == ["old", "new"]


@virtual
async def test_a_context_manager_is_left(bubble: Bubble) -> None:
    """By what it gave, or by itself; also one that was entered inline."""
    log: list[object] = []

    @asynccontextmanager
    async def held(value: object) -> AsyncIterator[object]:
        yield value
        log.append(value)

    async with Scope() as scope:
        value, kept = object(), held("kept")
        assert await scope.enter(held(value)) is value
        await scope.enter(kept)
        inline = held("inline")
        await scope.enter_async_context(inline)
        await scope.release(value)
        await scope.release(kept)
        await scope.release(inline)
        assert log == [value, "kept", "inline"]
        assert not scope.statistics().live


@virtual
async def test_what_is_not_owned_is_refused(bubble: Bubble) -> None:
    """Whatever the object makes of being compared or printed; a child is closed by itself."""
    log: list[str] = []
    async with Scope() as scope:
        connection = await scope.acquire(lambda: Connection(log, "once"))
        await scope.release(connection)
        child = scope.child()
        child.callback(log.append, "child")
        for stranger in (connection, Connection(log, "stranger"), child, None):
            with pytest.raises(LookupError, match="does not own"):
                await scope.release(stranger)
    assert log == ["once", "child"]


@virtual
async def test_none_stands_for_nothing(bubble: Bubble) -> None:
    """An attribute that is not set yet names neither a context manager that gave nothing nor an exit function."""
    log: list[object] = []

    @asynccontextmanager
    async def silent() -> AsyncIterator[None]:
        yield
        log.append("left")

    async with Scope() as scope:
        scope.push(lambda *details: log.append("pushed"))
        await scope.enter(silent())
        with pytest.raises(LookupError, match="does not own"):
            await scope.release(None)
        assert not log
        assert scope.statistics().live == 2
    assert log == ["left", "pushed"]


@virtual
async def test_the_error_goes_to_the_caller(bubble: Bubble) -> None:
    """And to nobody else."""
    log: list[str] = []
    async with Scope() as scope:
        connection = await scope.acquire(lambda: Connection(log, "failed", error=OSError("planned")))
        with pytest.raises(OSError, match="planned"):
            await scope.release(connection)
    assert log == ["failed"]


@virtual
async def test_it_has_the_deadline_of_every_release(bubble: Bubble) -> None:
    """It is cancelled then, and the scope owns it no longer."""
    log: list[str] = []
    async with Scope(close_timeout=1.0) as scope:
        connection = await scope.acquire(lambda: Connection(log, "stuck", seconds=60))
        with pytest.raises(ReleaseTimeout):
            await scope.release(connection)
        assert not scope.statistics().live
    assert not log


@virtual
async def test_a_cancellation_waits_for_it(bubble: Bubble) -> None:
    """It is raised once, when the resource is gone."""
    log: list[str] = []
    async with Scope() as scope:
        connection = await scope.acquire(lambda: Connection(log, "slow", seconds=2))
        task = asyncio.create_task(scope.release(connection))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["slow"]


@virtual
async def test_a_second_caller_waits_for_the_first(bubble: Bubble) -> None:
    """It is released once, however many ask."""
    log: list[str] = []
    async with Scope() as scope:
        connection = await scope.acquire(lambda: Connection(log, "slow", seconds=2))
        first = asyncio.create_task(scope.release(connection))
        await asyncio.sleep(1)
        await scope.release(connection)
        assert log == ["slow"]
        await first


@virtual
async def test_a_close_waits_for_it_at_its_place(bubble: Bubble) -> None:
    """Nothing older goes before it is gone."""
    log: list[str] = []
    async with Scope() as scope:
        await scope.acquire(lambda: Connection(log, "old"))
        connection = await scope.acquire(lambda: Connection(log, "early", seconds=2))
        await scope.acquire(lambda: Connection(log, "new"))
        task = asyncio.create_task(scope.release(connection))
        await asyncio.sleep(1)
    assert log == ["new", "early", "old"]
    await task


@virtual
async def test_it_goes_with_what_is_handed_over(bubble: Bubble) -> None:
    """The new owner waits for it, too."""
    log: list[str] = []
    async with Scope() as scope:
        connection = await scope.acquire(lambda: Connection(log, "slow", seconds=2))
        task = asyncio.create_task(scope.release(connection))
        await asyncio.sleep(1)
        heir = scope.pop_all()
    await heir.aclose()
    assert log == ["slow"]
    assert heir.statistics().live == 0
    await task


@virtual
async def test_a_release_that_closes_the_scope_does_not_wait_for_itself(bubble: Bubble) -> None:
    """Nor for who asked for it."""
    async with Scope() as scope:
        value = await scope.acquire(object, release=lambda _: scope.aclose())

        async def asks() -> None:
            await scope.release(value)

        scope.start_soon(asks)
        await asyncio.sleep(1)
        assert scope.closed
    assert asyncio.get_running_loop().time() == 1


@virtual
async def test_what_asks_for_its_own_release_stays_owned(bubble: Bubble) -> None:
    """A task that releases itself goes on; the end of the scope stops it as ever, before what it stands on."""
    log: list[str] = []

    async def asks() -> None:
        await scope.release(handle)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            log.append("task")

    async with Scope() as scope:
        scope.callback(log.append, "what it stands on")
        handle = scope.start_soon(asks)
        await asyncio.sleep(1)
        assert scope.statistics().tasks == 1
    assert log == ["task", "what it stands on"]


@virtual
async def test_a_group_whose_member_releases_it_stays_owned(bubble: Bubble) -> None:
    """It is told to leave, and the end of the scope waits until it has left."""
    log: list[str] = []

    @asynccontextmanager
    async def session() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(asks())
            yield
        log.append("left")

    async def asks() -> None:
        await asyncio.sleep(1)
        await scope.release(held)
        await asyncio.sleep(5)

    held = session()
    async with Scope() as scope:
        await scope.enter(held)
        await asyncio.sleep(2)
        assert scope.statistics().resources == 1
    assert log == ["left"]


@virtual
async def test_an_exit_that_is_a_plain_function_is_called(bubble: Bubble) -> None:
    """It was given to the scope by itself, and is found by itself."""
    log: list[str] = []
    async with Scope() as scope:
        leave = scope.push(lambda *_: log.append("left"))
        await scope.release(leave)
        assert log == ["left"]
    assert log == ["left"]
