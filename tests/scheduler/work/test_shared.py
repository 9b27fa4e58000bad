"""What jobs share: entered once, whoever asks and whoever leaves, and left after all jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest
import pytest_asyncio

from lifecycle import OwnerClosed, Scope, TaskGroup, gather, resource
from lifecycle.scheduler._work.shared import Shared
from lifecycle.testing import Bubble, explore_cancellation

asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody")


class Things:
    """Makes things, and notes what becomes of each."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.failures = 0

    def make(self, name: str = "thing") -> AbstractAsyncContextManager[str]:
        """Return a thing that is not entered yet."""

        @resource
        async def thing() -> AsyncGenerator[str, None]:
            self.told.append(f"enter {name}")
            await self.gate.wait()
            if self.failures:
                self.failures -= 1
                raise OSError(f"no {name}")
            try:
                yield name
            finally:
                self.told.append(f"leave {name}")

        return thing()


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[Shared]:
    """What the jobs of a scheduler share."""
    async with Scope("scheduler") as scope:
        yield Shared(scope, "nightly", 5.0)


@pytest.mark.asyncio
async def test_it_is_entered_once_for_all_and_left_at_the_end() -> None:
    """Those who ask meanwhile wait for the one; the next get it at once; the last that was entered is left first."""
    things = Things()
    async with Scope() as scope:
        shared = Shared(scope, "nightly", 5.0)
        assert shared.peek("a") is None
        async with TaskGroup() as group:
            asked = [group.create_task(shared.get("a", things.make)) for _ in range(10)]
        assert {task.result() for task in asked} == {"thing"}
        assert await shared.get("a", things.make) == shared.peek("a") == "thing"
        assert await shared.get("b", lambda: things.make("other")) == "other"
        assert things.told == ["enter thing", "enter other"]
    assert things.told[2:] == ["leave other", "leave thing"]
    with pytest.raises(OwnerClosed):
        await shared.get("c", things.make)


@pytest.mark.asyncio
async def test_who_leaves_hurts_nobody(shared: Shared) -> None:
    """Also the first, for whom it is being entered."""
    things = Things()
    things.gate = anyio.Event()
    first = asyncio.create_task(shared.get("a", things.make))
    second = asyncio.create_task(shared.get("a", things.make))
    while not things.told:
        await anyio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    things.gate.set()
    assert await second == "thing"
    assert things.told == ["enter thing"]


@pytest.mark.asyncio
async def test_what_nobody_waits_for_any_more_is_not_entered(shared: Shared) -> None:
    """The entering ends with the last that waits, and the next begins anew."""
    things = Things()
    things.gate = anyio.Event()
    only = asyncio.create_task(shared.get("a", things.make))
    while not things.told:
        await anyio.sleep(0)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert shared.peek("a") is None
    things.gate.set()
    assert await shared.get("a", things.make) == "thing"
    assert things.told == ["enter thing", "enter thing"]


@pytest.mark.asyncio
async def test_a_failed_entering_is_not_kept(shared: Shared) -> None:
    """Each that waits gets the error; the next that asks tries again."""
    things = Things()
    things.failures = 1
    asked = [shared.get("a", things.make) for _ in range(3)]
    errors = await gather(*asked, return_exceptions=True)
    assert [repr(error) for error in errors] == ["OSError('no thing')"] * 3
    assert await shared.get("a", things.make) == "thing"
    assert things.told == ["enter thing", "enter thing"]


@pytest.mark.asyncio
async def test_what_belongs_to_all_does_not_run_in_the_context_of_one(shared: Shared) -> None:
    """It is entered and left as the scheduler would, whose it is."""
    seen: list[str] = []

    @asynccontextmanager
    async def thing() -> AsyncIterator[str]:
        seen.append(asked_by.get())
        yield "thing"

    async def job() -> None:
        asked_by.set("a job")
        await shared.get("a", thing)

    await asyncio.create_task(job())
    assert seen == ["nobody"]


@pytest.mark.asyncio
async def test_one_that_ends_by_itself_is_entered_anew(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    """Its end is logged, and hurts neither those who have it nor the scheduler."""
    fail = anyio.Event()

    @asynccontextmanager
    async def watched() -> AsyncIterator[str]:
        async def watch() -> None:
            await fail.wait()
            raise OSError("the connection is lost")

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield "watched"

    assert await shared.get("a", watched) == "watched"
    with caplog.at_level(logging.ERROR, "lifecycle"):
        thing = shared._things.get("a")
        assert thing is not None
        fail.set()
        await thing.scope.wait()
    assert "the connection is lost" in caplog.text
    things = Things()
    assert await shared.get("a", things.make) == "thing"
    assert shared.peek("a") == "thing"


async def ask_from_all_sides(_: Bubble) -> None:
    """Two ask for the same while it is entered, one for another, and all is closed."""
    things = Things()
    async with Scope("scheduler") as scope:
        shared = Shared(scope, "nightly", 5.0)

        async def ask(key: str) -> None:
            await shared.get(key, lambda: things.make(key))

        try:
            async with TaskGroup() as group:
                for key in ("a", "a", "b"):
                    group.start_soon(ask, key)
        finally:
            entered = {key for key in ("a", "b") if shared.peek(key) is not None}
    left = [line for line in things.told if line.startswith("leave")]
    assert {line.removeprefix("leave ") for line in left} >= entered
    assert len(left) == len(set(left)), "each is left once"


def test_a_cancellation_anywhere_leaves_nothing_behind(part: dict[str, int]) -> None:
    """Whoever is cancelled, at whatever step: what was entered is left, once."""
    explore_cancellation(ask_from_all_sides, **part).assert_clean()
