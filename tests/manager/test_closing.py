"""Closing a TaskManager: what is cancelled, what is abandoned, and what a cancelled closer means."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle import ReleaseTimeout, TaskHandle, TaskManager, TaskStatus
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual
from .works import stubborn, work


def current_task() -> asyncio.Task[Any]:
    """Return the calling task."""
    task = asyncio.current_task()
    assert task is not None
    return task


# Cancelling what is left


@virtual
async def test_what_does_not_end_in_time_is_cancelled(bubble: Bubble) -> None:
    """First the drain, then one cancellation with a reason; what had no slot is discarded; all are named."""
    manager = TaskManager("mail", limit=2, drain_timeout=3)
    manager.start_soon(work, 1.0)
    manager.start_soon(work, 2.5)
    slow = manager.start_soon(work, 99.0, name="slow")
    manager.start_soon(work, 99.0, name="slow too")
    waiting = manager.start_soon(work, name="waiting")
    report = await manager.aclose()
    assert sorted(report.cancelled) == ["slow", "slow too"]
    assert (report.finished, report.discarded, report.abandoned) == (2, ("waiting",), ())
    assert not report.clean
    assert slow.cancel_reason == "task manager 'mail' is closing"
    assert waiting.status is TaskStatus.CANCELLED
    assert bubble.clock.time() == 3.0
    manager._check_invariants()


@virtual
async def test_a_task_that_swallows_one_cancellation_gets_another(bubble: Bubble) -> None:
    """``cancel_timeout`` after the first."""
    async with TaskManager(drain_timeout=0, cancel_timeout=2) as manager:
        handle = manager.start_soon(stubborn, 1)
        await asyncio.sleep(1)
        handle = manager.start_soon(cleans_up_slowly)
        swallows = manager.start_soon(stubborn_then_clean)
        await asyncio.sleep(1)
    assert bubble.clock.time() == 4.0
    assert swallows.status is TaskStatus.CANCELLED
    assert handle.status is TaskStatus.CANCELLED


async def cleans_up_slowly() -> None:
    """Take half a second to end."""
    try:
        await asyncio.sleep(100)
    finally:
        await asyncio.sleep(0.5)


async def stubborn_then_clean() -> None:
    """Swallow the first cancellation."""
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        await asyncio.sleep(100)


@virtual
async def test_what_ignores_every_cancellation_is_abandoned(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The block raises, the report names it with its stack, the account closes, and its late end is counted."""
    manager = TaskManager("mail", drain_timeout=1, cancel_timeout=2)
    with pytest.raises(ReleaseTimeout, match=r"'mail' \(abandoned: stuck\) took longer than 2 s") as caught:
        async with manager:
            handle = manager.start_soon(stubborn, 3, name="stuck")
    assert bubble.clock.time() == 1.0 + 2.0 + 1.0  # drained, cancelled, cancelled again
    assert caught.value.abandoned
    assert "tests/manager/works.py" in caught.value.stack[0]
    assert caught.value.stack[0].endswith(" in stubborn")
    (left,) = (await manager.aclose()).abandoned
    assert (left.name, left.age) == ("stuck", 4.0)
    assert str(left).startswith("stuck (running for 4.0 s)\n    ")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "task abandoned")
    assert (record.owner, record.task, record.stack) == ("mail", "stuck", left.stack)  # type: ignore[attr-defined]
    assert (manager.statistics().abandoned, len(manager)) == (1, 0)
    manager._check_invariants()
    handle.cancel()
    await handle.wait()
    statistics = manager.statistics()
    assert (statistics.abandoned, statistics.finished, statistics.running) == (0, 1, 0)
    manager._check_invariants()


@virtual
async def test_an_error_of_the_body_is_raised_and_not_that_something_was_abandoned(bubble: Bubble) -> None:
    """The body's error is the one that matters; the other is logged."""
    manager = TaskManager(drain_timeout=0, cancel_timeout=1)
    with pytest.raises(LookupError, match="body"):
        async with manager:
            handle = manager.start_soon(stubborn, 3)
            await asyncio.sleep(0)
            raise LookupError("body")
    assert len((await manager.aclose()).abandoned) == 1
    handle.cancel()
    await handle.wait()


@virtual
async def test_a_task_that_never_began_and_would_not_end(bubble: Bubble) -> None:
    """Closing with no time at all: the task makes its first step, ignores everything, and is reported."""
    manager = TaskManager(drain_timeout=0, cancel_timeout=0)
    handle = manager.start_soon(stubborn, 3)
    report = await manager.aclose()
    (left,) = report.abandoned
    assert left.name == "stubborn"
    handle.cancel()
    await handle.wait()
    manager._check_invariants()


@virtual
async def test_a_shielded_section_is_waited_for_within_the_bound(bubble: Bubble) -> None:
    """Closing does not pierce it; the task ends with the section."""

    async def careful() -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(3)
            ended.append(bubble.clock.time())
        await asyncio.sleep(100)

    ended: list[float] = []
    manager = TaskManager(drain_timeout=1, cancel_timeout=5)
    handle = manager.start_soon(careful)
    report = await manager.aclose()
    assert (ended, report.abandoned) == ([3.0], ())
    assert handle.status is TaskStatus.CANCELLED
    assert 3.0 <= bubble.clock.time() < 3.2


# Cancelling the closer


@virtual
async def test_a_native_cancellation_ends_the_draining_and_is_raised_afterwards(bubble: Bubble) -> None:
    """The tasks are cancelled and seen off as if the time were up; the count of cancellations stays exact."""

    async def close() -> None:
        try:
            await manager.aclose()
        finally:
            counts.append(current_task().cancelling())

    counts: list[int] = []
    manager = TaskManager()
    slow = manager.start_soon(cleans_up_slowly)
    closer = asyncio.create_task(close())
    await asyncio.sleep(1)
    closer.cancel()
    await asyncio.sleep(0.2)
    closer.cancel()
    await asyncio.wait([closer])
    assert closer.cancelled()
    assert bubble.clock.time() == 1.5
    assert slow.status is TaskStatus.CANCELLED
    assert counts == [2]
    assert (await manager.aclose()).cancelled == (slow.name,)


@virtual
async def test_a_timeout_around_a_close_is_a_timeout(bubble: Bubble) -> None:
    """TimeoutError for the caller; the manager is closed nevertheless."""
    manager = TaskManager()
    slow = manager.start_soon(cleans_up_slowly)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await manager.aclose()
    assert bubble.clock.time() == 1.5
    assert slow.done()
    assert manager.statistics().state == "closed"
    assert current_task().cancelling() == 0


@virtual
async def test_a_cancelled_scope_around_a_close_does_not_cut_it_short(bubble: Bubble) -> None:
    """anyio's cancellation waits outside; tasks have their full time, and the loop does not spin (G16)."""
    manager = TaskManager()
    with anyio.CancelScope() as scope:
        scope.cancel()
        handle = manager.start_soon(work, 3.0)
        before = bubble.loop.steps
        await manager.aclose()
        assert bubble.loop.steps - before < 20
        assert handle.status is TaskStatus.FINISHED
        await asyncio.sleep(0)
        raise AssertionError("the cancellation was lost")
    assert bubble.clock.time() == 3.0
    assert scope.cancelled_caught


@virtual
async def test_an_error_of_the_body_outlives_a_cancellation_of_the_close(bubble: Bubble) -> None:
    """The body's error is raised, and the cancellation delivered at the next suspension: neither is lost."""
    seen: list[str] = []

    async def closes(close_first: bool) -> None:
        manager = TaskManager()
        manager.start_soon(work, 5.0)
        if close_first:
            other = asyncio.create_task(manager.aclose())
            await asyncio.sleep(0)
        try:
            async with contextless(manager):
                raise LookupError("body")
        except LookupError:
            seen.append("the body's error")
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("the cancellation")
            if close_first:
                await other
            raise

    for close_first in (False, True):
        task = asyncio.create_task(closes(close_first))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1
    assert seen == ["the body's error", "the cancellation"] * 2


class contextless:
    """Leaves a manager's block without having entered it, as one does that is closed already."""

    def __init__(self, manager: TaskManager) -> None:
        self._leave: Callable[..., Awaitable[None]] = manager.__aexit__

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *error: Any) -> None:
        await self._leave(*error)


@virtual
async def test_a_cancelled_body_stays_cancelled(bubble: Bubble) -> None:
    """Cancelled in the body and again in the close: one CancelledError comes out, both are counted."""

    async def body() -> None:
        async with TaskManager() as manager:
            manager.start_soon(work, 5.0)
            await asyncio.sleep(100)

    task = asyncio.create_task(body())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), task.cancelling(), bubble.clock.time()) == (True, 2, 2.0)


@on_every_loop
def test_thousands_of_tasks_are_drained_and_cancelled(new_loop: Any) -> None:
    """On every loop."""

    async def main() -> None:
        manager = TaskManager(drain_timeout=0.5)
        handles: list[TaskHandle[Any]] = [manager.start_soon(asyncio.sleep, 0) for _ in range(1000)]
        handles += [manager.start_soon(asyncio.sleep, 100) for _ in range(1000)]
        report = await manager.aclose()
        assert (report.finished, len(report.cancelled)) == (1000, 1000)
        assert all(handle.done() for handle in handles)

    run_on(new_loop, main())
