"""Draining a TaskManager: what it waits for, and who waits for whom."""

import asyncio
from typing import Any

import anyio
import pytest

from lifecycle import DrainReport, Scope, TaskManager, TaskStatus
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual
from .works import close_it, drain_it, work

# Draining


@virtual
async def test_a_drain_covers_what_is_started_meanwhile(bubble: Bubble) -> None:
    """Also tasks that tasks start, in line or not; the manager stays open."""

    async def start_another(generations: int) -> None:
        await asyncio.sleep(1)
        if generations:
            manager.start_soon(start_another, generations - 1)

    async with TaskManager(limit=1) as manager:
        manager.start_soon(start_another, 3)
        report = await manager.drain()
        assert bubble.clock.time() == 4.0
        assert report == DrainReport(finished=4)
        assert report.clean
        assert (await manager.drain()) == DrainReport()
        manager.start_soon(work)


@virtual
async def test_a_drain_with_a_bound_names_what_still_runs(bubble: Bubble) -> None:
    """It touches nothing, and running tasks go on."""
    async with TaskManager() as manager:
        manager.start_soon(work, 1.0)
        slow = manager.start_soon(work, 5.0, name="slow")
        report = await manager.drain(timeout=2)
        assert bubble.clock.time() == 2.0
        assert report == DrainReport(finished=1, running=("slow",))
        assert not report.clean
        assert (await manager.drain(0)).running == ("slow",)
        assert slow.status is TaskStatus.RUNNING
        with pytest.raises(ValueError):
            await manager.drain(-1)


@virtual
async def test_a_drain_waits_for_what_stands_in_line_behind_a_caller(bubble: Bubble) -> None:
    """For a moment nothing runs: the slot is the caller's, who has not taken it yet."""
    async with TaskManager(limit=1) as manager:
        manager.start_soon(work)
        caller = asyncio.create_task(manager.spawn(work))
        await asyncio.sleep(0.5)
        manager.start_soon(work)
        assert (await manager.drain()).finished == 3
        assert bubble.clock.time() == 3.0
        await caller


@virtual
@pytest.mark.parametrize("way", ["natively", "by a scope", "by a timeout"])
async def test_a_cancelled_drain_touches_nothing(bubble: Bubble, way: str) -> None:
    """It ends at once, and its tasks go on."""

    async def drain() -> None:
        with anyio.move_on_after(0.5 if way == "by a scope" else 99):
            async with asyncio.timeout(0.5 if way == "by a timeout" else 99):
                await manager.drain()

    async with TaskManager() as manager:
        handle = manager.start_soon(work)
        drainer = asyncio.create_task(drain())
        await asyncio.sleep(0.5)
        if way == "natively":
            drainer.cancel()
        await asyncio.wait([drainer])
        assert bubble.clock.time() == 0.5
        await handle
        assert not manager._idleness._waits


@virtual
async def test_a_drain_sees_tasks_that_are_cancelled_from_outside(bubble: Bubble) -> None:
    """Before the drain, in the same step, and one step later: none of them holds it up."""
    async with TaskManager() as manager:
        for delay in (None, 0, 1):
            handle = manager.start_soon(work, 9.0)
            assert handle._task is not None
            cancel = handle._task.cancel
            if delay is None:
                cancel()
                await asyncio.sleep(0)
            else:
                bubble.loop.call_soon(cancel)
                for _ in range(delay):
                    await asyncio.sleep(0)
            await manager.drain()
            assert bubble.clock.time() == 0.0
            assert handle.status is TaskStatus.CANCELLED


@virtual
async def test_a_drain_sees_a_late_first_step_that_never_comes(bubble: Bubble) -> None:
    """A task that is started during the drain and cancelled from outside before its first step."""

    async def start_and_cancel() -> None:
        handle = manager.start_soon(work, 9.0)
        assert handle._task is not None
        handle._task.cancel()

    async with TaskManager() as manager:
        manager.start_soon(start_and_cancel)
        report = await manager.drain()
        assert (report.finished, bubble.clock.time()) == (2, 0.0)


@on_every_loop
@pytest.mark.parametrize("turns", [0, 1])
def test_a_drain_sees_foreign_cancellations_on_every_loop(new_loop: Any, turns: int) -> None:
    """Where a manager takes the shortest way to start a task, and nothing watches until the drain begins."""

    async def main() -> None:
        async with asyncio.timeout(60), TaskManager() as manager:
            handle = manager.start_soon(work, 600.0)
            assert handle._task is not None
            handle._task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            await manager.drain()
            assert handle.status is TaskStatus.CANCELLED

    run_on(new_loop, main())


@virtual
async def test_a_drain_sees_foreign_cancellations_of_what_starts_meanwhile(bubble: Bubble) -> None:
    """Before the first step, of a task that another task has started during the drain."""
    async with TaskManager() as manager:

        async def starts() -> None:
            await asyncio.sleep(1)
            handle = manager.start_soon(work, 9.0)
            assert handle._task is not None
            handle._task.cancel()

        manager.start_soon(starts)
        await manager.drain()
        assert bubble.clock.time() == 1.0


# Who waits for whom


@virtual
@pytest.mark.parametrize("ways", [(close_it,), (drain_it,), (close_it,) * 2, (drain_it,) * 2, (close_it, drain_it)])
async def test_tasks_that_close_or_drain_their_own_manager(bubble: Bubble, ways: tuple[Any, ...]) -> None:
    """Alone or together, in either order, with no bound at all: no two wait for each other."""
    for order in (ways, ways[::-1]):
        manager = TaskManager(drain_timeout=None)
        handles = [manager.start_soon(way, manager) for way in order]
        other = manager.start_soon(work, 3.0)
        began = bubble.clock.time()
        for handle in handles:
            assert not (await handle).running
        assert other.status is TaskStatus.FINISHED
        assert bubble.clock.time() == began + 3.0
        await manager.aclose()
        manager._check_invariants()


@virtual
@pytest.mark.parametrize("ways", [(close_it,), (drain_it,), (close_it,) * 2, (drain_it,) * 2, (close_it, drain_it)])
async def test_those_who_wait_do_not_hold_the_slots_of_those_they_wait_for(
    bubble: Bubble, ways: tuple[Any, ...]
) -> None:
    """The only slots are held by tasks that close or drain: what stands in line runs nevertheless."""
    manager = TaskManager(limit=len(ways), drain_timeout=None)
    handles = [manager.start_soon(way, manager) for way in ways]
    queued = [manager.start_soon(work, 2.0) for _ in range(4)]
    for handle in handles:
        await handle
    assert [handle.status for handle in queued] == [TaskStatus.FINISHED] * 4
    assert bubble.clock.time() == 1.0 + 2.0 * 4 / len(ways)
    await manager.aclose()
    assert manager._slots._lent == 0
    manager._check_invariants()


@virtual
@pytest.mark.parametrize("way", [close_it, drain_it])
async def test_a_task_that_closes_or_drains_while_somebody_closes(bubble: Bubble, way: Any) -> None:
    """The outer close waits for the other tasks and comes to its end."""
    manager = TaskManager(drain_timeout=None)
    inner = manager.start_soon(way, manager)
    manager.start_soon(work, 3.0)
    await asyncio.sleep(0)
    report = await manager.aclose()
    assert bubble.clock.time() == 3.0
    assert not report.cancelled
    await inner
    manager._check_invariants()


@virtual
async def test_a_task_that_gives_up_closing_is_a_task_like_any_other(bubble: Bubble) -> None:
    """Once its aclose() has been cut short, the close in progress waits for it again, and cancels it."""

    async def tries() -> None:
        await asyncio.sleep(0.5)
        with anyio.move_on_after(1):
            async with asyncio.timeout(1):
                await manager.aclose()
        await asyncio.sleep(100)

    manager = TaskManager(drain_timeout=5)
    handle = manager.start_soon(tries)
    manager.start_soon(work, 3.0)
    await asyncio.sleep(0)
    report = await manager.aclose()
    assert handle.status is TaskStatus.FAILED or report.cancelled == (handle.name,)
    assert handle.done()


@virtual
@pytest.mark.parametrize("leaves", ["before", "meanwhile", "afterwards"])
async def test_a_task_that_closes_its_manager_and_stays_ends_with_the_block(bubble: Bubble, leaves: str) -> None:
    """Whenever the block is left: it drains, and cancels what stays longer; the report names it."""

    async def closes_and_stays() -> None:
        await asyncio.sleep(1)
        await manager.aclose()
        await asyncio.sleep(100)

    moments = {"before": 0.5, "meanwhile": 1.5, "afterwards": 3.0}
    async with TaskManager(drain_timeout=10) as manager:
        handle = manager.start_soon(closes_and_stays, name="stays")
        manager.start_soon(work, 2.0)
        await asyncio.sleep(moments[leaves])
    assert handle.done()
    assert bubble.clock.time() == (13.0 if leaves == "afterwards" else 12.0)
    report = await manager.aclose()
    assert report.cancelled == ("stays",)
    assert report.finished == 1
    manager._check_invariants()


@virtual
async def test_of_two_tasks_that_close_their_manager_and_stay_none_ends_the_other(bubble: Bubble) -> None:
    """They get the report; only who is outside sees them off."""

    async def closes_and_stays() -> None:
        await manager.aclose()
        await asyncio.sleep(5)

    manager = TaskManager(drain_timeout=1)
    handles = [manager.start_soon(closes_and_stays) for _ in range(2)]
    await asyncio.sleep(20)
    assert [handle.status for handle in handles] == [TaskStatus.FINISHED] * 2
    manager._check_invariants()


@virtual
async def test_a_task_may_close_its_manager_through_a_scope(bubble: Bubble) -> None:
    """The closer of the scope runs the release for the task: the manager does not wait for the task."""

    async def leave_scope() -> None:
        async with Scope() as scope:
            scope.push_async_callback(manager.aclose)

    manager = TaskManager(drain_timeout=None)
    await manager.start_soon(leave_scope)
    assert bubble.clock.time() == 0.0
    await manager.aclose()


@virtual
async def test_a_second_closer_waits_for_the_first(bubble: Bubble) -> None:
    """Both get the same report, and so does a caller that comes when all is over."""
    manager = TaskManager()
    manager.start_soon(work)
    first = asyncio.create_task(manager.aclose())
    second = asyncio.create_task(manager.aclose())
    third = asyncio.create_task(manager.aclose())
    await asyncio.sleep(0.5)
    third.cancel()
    await asyncio.wait([third])
    assert (third.cancelled(), bubble.clock.time()) == (True, 0.5)
    assert await first is await second is await manager.aclose()
    assert first.result() == DrainReport(finished=1)
    assert bubble.clock.time() == 1.0


@on_every_loop
def test_opened_in_one_task_and_closed_in_another(new_loop: Any) -> None:
    """A manager belongs to no task."""

    async def main() -> DrainReport:
        manager = TaskManager()
        await asyncio.create_task(manager.__aenter__())
        manager.start_soon(asyncio.sleep, 0.001)
        async with anyio.create_task_group() as group:
            group.start_soon(manager.aclose)
        return await manager.aclose()

    assert run_on(new_loop, main()) == DrainReport(finished=1)
