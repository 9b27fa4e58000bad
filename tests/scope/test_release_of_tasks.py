"""A task, or a context manager that is still being entered, released before its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lifecycle import ReleaseTimeout, Scope, TaskCancelled, TaskGroup, TaskManager
from lifecycle.testing import Bubble

from ..loops import virtual


async def clean_up_late(log: list[str], name: str = "task", error: BaseException | None = None) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(1)
        log.append(name)
        if error is not None:
            raise error


@virtual
async def test_a_task_is_cancelled_and_waited_for(bubble: Bubble) -> None:
    """As a close does it, with the reason of one; the rest stays."""
    log: list[str] = []
    async with Scope() as scope:
        handle = scope.start_soon(clean_up_late, log)
        kept = scope.start_soon(clean_up_late, log, "kept")
        await asyncio.sleep(1)
        await scope.release(handle)
        assert log == ["task"]
        assert handle.cancelled()
        assert scope.statistics().tasks == 1
        assert not kept.cancelling()


@virtual
async def test_a_task_that_has_not_begun_is_begun_and_cancelled(bubble: Bubble) -> None:
    """What it was given reaches its body."""
    log: list[str] = []
    async with Scope() as scope:
        await scope.release(scope.start_soon(clean_up_late, log))
        assert log == ["task"]


@virtual
async def test_a_task_that_has_ended_by_itself_is_gone_already(bubble: Bubble) -> None:
    """Which it may be at any moment, so that nobody has to ask; twice is once."""
    async with Scope() as scope:
        handle = scope.start_soon(asyncio.sleep, 1)
        await handle
        await scope.release(handle)
        stopped = scope.start_soon(asyncio.sleep, 60)
        await scope.release(stopped)
        await scope.release(stopped)


@virtual
async def test_the_task_of_another_owner_is_refused(bubble: Bubble) -> None:
    """By its name; it goes on, or has ended, as it was."""
    async with Scope("mine") as scope, Scope() as other, TaskManager() as manager, TaskGroup() as group:
        ended = other.start_soon(asyncio.sleep, 0)
        await ended
        native: Any = group.create_task(asyncio.sleep(1))
        living = [owner.start_soon(asyncio.sleep, 1, name="hers") for owner in (other, manager, group)]
        for handle in (ended, *living):
            with pytest.raises(LookupError, match=r"^scope 'mine' does not own task '(hers|sleep)', or no longer"):
                await scope.release(handle)
        with pytest.raises(LookupError, match="does not own this "):
            await scope.release(native)
        assert not any(handle.done() for handle in living)
        await manager.drain()


@virtual
async def test_what_a_task_raises_on_its_way_out_goes_to_the_caller(bubble: Bubble) -> None:
    """And to nobody else: the body goes on, and the end of the scope knows nothing of it."""
    log: list[str] = []
    async with Scope() as scope:
        handle = scope.start_soon(clean_up_late, log, "task", OSError("planned"))
        await asyncio.sleep(1)
        with pytest.raises(OSError, match="planned"):
            await scope.release(handle)
        await asyncio.sleep(1)
        log.append("body")
    assert log == ["task", "body"]


@virtual
async def test_a_task_that_fails_after_it_released_itself_fails_its_scope(bubble: Bubble) -> None:
    """It stayed owned."""

    async def fail() -> None:
        await scope.release(handle)
        raise OSError("planned")

    with pytest.raises(OSError, match="planned"):
        async with Scope() as scope:
            handle = scope.start_soon(fail)
            await asyncio.sleep(60)


@virtual
async def test_a_task_that_will_not_end_is_abandoned(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The caller is told; what it raises in the end is logged, and interrupts nobody."""
    stop = asyncio.Event()

    async def stubborn() -> None:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        raise OSError("late")

    async with Scope(close_timeout=1.0) as scope:
        handle = scope.start_soon(stubborn)
        await asyncio.sleep(1)
        with pytest.raises(ReleaseTimeout) as told:
            await scope.release(handle)
        assert told.value.abandoned
        with pytest.raises(LookupError, match="or no longer"):
            await scope.release(handle)
        stop.set()
        await asyncio.sleep(1)
        assert handle.done()
    assert [record.getMessage() for record in caplog.records] == ["abandoned release failed"]


@virtual
async def test_a_close_waits_for_the_task_at_its_place(bubble: Bubble) -> None:
    """Its error is still that of who released it."""
    log: list[str] = []
    async with Scope() as scope:
        scope.callback(log.append, "what it stands on")
        handle = scope.start_soon(clean_up_late, log, "task", OSError("planned"))
        await asyncio.sleep(1)
        releasing = asyncio.create_task(scope.release(handle))
        await asyncio.sleep(0.5)
    assert log == ["task", "what it stands on"]
    with pytest.raises(OSError, match="planned"):
        await releasing


class Coming:
    """Enters and leaves slowly; enters all the same, or raises, when it is cancelled meanwhile."""

    def __init__(self, log: list[str], *, anyway: bool = False, error: BaseException | None = None) -> None:
        self.log = log
        self.anyway = anyway
        self.error = error

    async def __aenter__(self) -> str:
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            self.log.append("cancelled")
            if self.error is not None:
                raise self.error from None
            if not self.anyway:
                raise
        return "value"

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(1)
        self.log.append("left")


@pytest.mark.parametrize("anyway", [False, True])
@pytest.mark.parametrize("before", [0.0, 1.0])
@virtual
async def test_what_is_being_entered_is_not_waited_for_any_longer(bubble: Bubble, anyway: bool, before: float) -> None:
    """Who enters it is told so, and has not been cancelled; if it is entered nevertheless, it is left first."""
    log: list[str] = []
    coming = Coming(log, anyway=anyway)
    async with Scope("session") as scope:
        entering = asyncio.create_task(scope.enter(coming, name="feed"))
        await asyncio.sleep(before)
        while not scope.statistics().live:
            await asyncio.sleep(0)
        await scope.release(coming)
        assert log == (["cancelled", "left"] if anyway and before else ["cancelled"] if before else [])
        assert not scope.statistics().live
        with pytest.raises(TaskCancelled, match=r"^context manager 'feed' was released while "):
            await entering
        assert not entering.cancelled()


@virtual
async def test_what_entering_raises_then_is_for_who_enters(bubble: Bubble) -> None:
    """Not for who released it: there was nothing to leave."""
    coming = Coming([], error=OSError("planned"))
    async with Scope() as scope:
        entering = asyncio.create_task(scope.enter(coming))
        await asyncio.sleep(1)
        await scope.release(coming)
        with pytest.raises(OSError, match="planned"):
            await entering


@virtual
async def test_a_second_release_of_what_is_being_entered_waits_for_the_first(bubble: Bubble) -> None:
    """And what gave its value meanwhile is released as ever."""
    log: list[str] = []

    @asynccontextmanager
    async def quick() -> AsyncIterator[None]:
        yield
        log.append("left")

    async with Scope() as scope:
        coming = Coming(log)
        entering = asyncio.create_task(scope.enter(coming))
        await asyncio.sleep(1)
        first = asyncio.create_task(scope.release(coming))
        await asyncio.sleep(0)
        await scope.release(coming)
        assert log == ["cancelled"]
        await asyncio.gather(first, entering, return_exceptions=True)
        held = quick()
        await scope.enter(held)
        await scope.release(held)
        assert log == ["cancelled", "left"]
