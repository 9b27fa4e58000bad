"""Draining and closing a TaskManager: what it waits for, what it cancels, and what cancels it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle import DrainReport, ReleaseTimeout, Scope, TaskHandle, TaskManager, TaskStatus
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules

from ..loops import on_every_loop, run_on, virtual


async def work(seconds: float = 1.0) -> None:
    """Work for a while."""
    await asyncio.sleep(seconds)


async def stubborn(times: int = 99) -> None:
    """Swallow so many cancellations."""
    for _ in range(times):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            pass
        else:
            return


def current_task() -> asyncio.Task[Any]:
    """Return the calling task."""
    task = asyncio.current_task()
    assert task is not None
    return task


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
    """Where a manager takes the shortest way to start a task, and nobody watches until the drain begins."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with TaskManager() as manager:
            handle = manager.start_soon(work, 9.0)
            assert handle._task is not None
            handle._task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            await manager.drain()
            assert handle.status is TaskStatus.CANCELLED
        return loop.time() - began

    assert run_on(new_loop, main()) < 5


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


async def close_it(manager: TaskManager) -> DrainReport:
    """Close a manager after a second."""
    await asyncio.sleep(1)
    return await manager.aclose()


async def drain_it(manager: TaskManager) -> DrainReport:
    """Drain a manager after a second."""
    await asyncio.sleep(1)
    return await manager.drain()


@virtual
@pytest.mark.parametrize("ways", [(close_it,), (drain_it,), (close_it,) * 2, (drain_it,) * 2, (close_it, drain_it)])
async def test_tasks_that_close_or_drain_their_own_manager(bubble: Bubble, ways: tuple[Any, ...]) -> None:
    """Alone or together, in either order, with no bound at all: nobody waits in a circle."""
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
    assert handle.done


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
    assert handle.done
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
    """Both get the same report, and so does whoever comes when all is over."""
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
    """At half of cancel_timeout."""
    async with TaskManager(drain_timeout=0, cancel_timeout=4) as manager:
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
async def test_what_ignores_every_cancellation_is_left_behind(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The block raises, the report names it with its stack, the account closes, and its late end is counted."""
    manager = TaskManager("mail", drain_timeout=1, cancel_timeout=2)
    with pytest.raises(ReleaseTimeout, match=r"'mail' \(abandoned: stuck\) took longer than 2 s") as caught:
        async with manager:
            handle = manager.start_soon(stubborn, 3, name="stuck")
    assert bubble.clock.time() == 3.0
    assert caught.value.abandoned
    assert "tests/manager/test_idleness.py" in caught.value.stack[0]
    assert caught.value.stack[0].endswith(" in stubborn")
    (left,) = (await manager.aclose()).abandoned
    assert (left.name, left.age) == ("stuck", 3.0)
    assert str(left).startswith("stuck (running for 3.0 s)\n    ")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "task abandoned: stuck" in caplog.text
    assert (manager.statistics().abandoned, len(manager)) == (1, 0)
    manager._check_invariants()
    handle.cancel()
    await handle.wait()
    statistics = manager.statistics()
    assert (statistics.abandoned, statistics.finished, statistics.running) == (0, 1, 0)
    manager._check_invariants()


@virtual
async def test_an_error_of_the_body_is_raised_and_not_that_something_was_left_behind(bubble: Bubble) -> None:
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
    assert slow.done
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


# Everything


async def closes_from_all_sides(bubble: Bubble) -> None:
    """Tasks that close, drain, end and do not end, and a body that leaves."""
    async with TaskManager("jobs", limit=4, drain_timeout=5, cancel_timeout=1) as manager:
        bubble.state.manager = manager
        manager.start_soon(close_it, manager)
        manager.start_soon(drain_it, manager)
        manager.start_soon(stubborn, 1)
        for _ in range(2):
            manager.start_soon(work)
        await asyncio.sleep(0.5)


def account_closes(bubble: Bubble) -> None:
    """The books are in order, and nobody is left waiting."""
    manager: TaskManager | None = getattr(bubble.state, "manager", None)
    if manager is not None:
        manager._check_invariants()
        assert not manager._idleness._waits
        assert not manager._idleness._closers


def test_no_interruption_of_a_close_leaves_anything() -> None:
    """Each task, struck at each point in each way."""
    explore_cancellation(closes_from_all_sides, invariants=[account_closes], may_swallow=["stubborn"]).assert_clean()


def test_no_order_of_steps_confuses_a_close() -> None:
    """In two hundred orders of the ready tasks."""
    explore_schedules(closes_from_all_sides, invariants=[account_closes], runs=200).assert_clean()


@on_every_loop
def test_thousands_of_tasks_are_drained_and_cancelled(new_loop: Any) -> None:
    """On every loop."""

    async def main() -> None:
        manager = TaskManager(drain_timeout=0.5)
        handles: list[TaskHandle[Any]] = [manager.start_soon(asyncio.sleep, 0) for _ in range(1000)]
        handles += [manager.start_soon(asyncio.sleep, 100) for _ in range(1000)]
        report = await manager.aclose()
        assert (report.finished, len(report.cancelled)) == (1000, 1000)
        assert all(handle.done for handle in handles)

    run_on(new_loop, main())
