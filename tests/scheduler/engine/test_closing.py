"""``close``, ``drain`` and ``aclose``: what begins no more, what is waited for, and what ends."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from lifecycle import OwnerClosed, TaskGroup
from lifecycle.scheduler import JobStatus, Scheduler, handler

from ..stores import Address

pytestmark = pytest.mark.asyncio


@handler("draining.sleep")
async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


async def running(scheduler: Scheduler, count: int = 1) -> None:
    """Return when so many jobs run."""
    with anyio.fail_after(20):
        while scheduler.statistics().running < count:
            await anyio.sleep(0.01)


@pytest.fixture
def store(address: Address | None) -> Address | None:
    """A store of each kind."""
    return address


async def test_while_it_drains_jobs_are_looked_at_and_cancelled(store: Address | None) -> None:
    """And nothing is submitted; closing and draining again is nothing."""
    scheduler = Scheduler(store, workers=1, drain_timeout=20.0)
    async with scheduler:
        begun = await scheduler.submit("draining.sleep", 600.0)
        waiting = await scheduler.submit("draining.sleep", 600.0)
        await running(scheduler)
        async with TaskGroup() as group:
            scheduler.close()
            draining = group.start_soon(scheduler.drain)
            await anyio.sleep(0.05)
            with pytest.raises(OwnerClosed, match="is closing"):
                await scheduler.submit("draining.sleep", 0.0)
            statuses = {job.id: job.status for job in await scheduler.jobs()}
            assert (statuses[begun.id], statuses[waiting.id]) == (JobStatus.RUNNING, JobStatus.PENDING)
            assert not draining.done()
            assert await scheduler.cancel(begun.id, "enough")
            with anyio.fail_after(10):
                await draining.wait()
        assert begun.outcome is not None
        assert begun.outcome.error == "enough"
        record = await scheduler.job(waiting.id)
        assert record is not None
        assert record.status is JobStatus.PENDING
        scheduler.close()
        assert (await scheduler.drain()).clean
        assert not scheduler.closed
    assert scheduler.closed
    for call in (scheduler.drain, scheduler.jobs, scheduler.schedules):
        with pytest.raises(OwnerClosed, match="is closed"):
            await call()


async def test_an_end_that_is_cancelled_stops_the_rest_at_once() -> None:
    """What still runs is stopped and interrupted, and everything is released before the cancellation goes on."""
    with anyio.fail_after(10):
        async with Scheduler(drain_timeout=20.0) as scheduler:
            job = await scheduler.submit("draining.sleep", 600.0)
            await running(scheduler)
            async with TaskGroup() as group:
                closing = group.start_soon(scheduler.aclose)
                await anyio.sleep(0.05)
                closing.cancel("no time")
                await closing.wait()
                assert closing.done()
            assert scheduler.closed
    assert job.outcome is not None
    assert job.outcome.status is JobStatus.INTERRUPTED


async def test_a_drain_waits_for_all_that_was_submitted_and_leaves_it_open(store: Address | None) -> None:
    """Also for what waits for a worker or its time, and for what is submitted meanwhile."""
    async with Scheduler(store, workers=1) as scheduler:
        jobs = [await scheduler.submit("draining.sleep", 0.2) for _ in range(3)]
        jobs.append(await scheduler.submit("draining.sleep", 0.0, delay=0.1))
        with anyio.fail_after(20):
            report = await scheduler.drain()
        assert (report.finished, report.clean) == (4, True)
        assert all(job.done for job in jobs)
        assert (await (await scheduler.submit("draining.sleep", 0.0)).wait()).succeeded


async def test_a_drain_whose_time_is_up_names_what_has_not_ended(store: Address | None) -> None:
    """And touches nothing."""
    async with Scheduler(store, workers=1, drain_timeout=0.0) as scheduler:
        await scheduler.submit("draining.sleep", 600.0, name="long")
        await running(scheduler)
        await scheduler.submit("draining.sleep", 600.0, name="next")
        await scheduler.submit("draining.sleep", 600.0, name="later", delay=600.0)
        report = await scheduler.drain(0.05)
        assert (sorted(report.running), report.finished, report.clean) == (["later", "long", "next"], 0, False)
        scheduler.close()
        assert (await scheduler.drain(0.05)).running == ("long",)
        assert scheduler.statistics().running == 1


async def test_a_drain_sees_what_is_cancelled_before_it_begins(store: Address | None) -> None:
    """There is no attempt whose end it could wait for."""
    async with Scheduler(store) as scheduler:
        job = await scheduler.submit("draining.sleep", 0.0, delay=600.0)
        async with TaskGroup() as group:
            draining = group.start_soon(scheduler.drain)
            await anyio.sleep(0.05)
            assert not draining.done()
            await job.cancel()
            with anyio.fail_after(10):
                await draining.wait()


async def test_closing_is_idempotent_and_may_come_first(store: Address | None) -> None:
    """In the block, at its end, after it, twice at once, and before it was entered."""
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        job = await scheduler.submit("draining.sleep", 600.0)
        await running(scheduler)
        async with TaskGroup() as group:
            closing = [group.start_soon(scheduler.aclose) for _ in range(2)]
        assert [(await handle).cancelled for handle in closing] == [("job draining.sleep",)] * 2
        assert scheduler.closed
        assert (await job.wait()).status is JobStatus.INTERRUPTED
    await scheduler.aclose()
    never = Scheduler(store)
    assert not never.closed
    await never.aclose()
    assert never.closed
    with pytest.raises(OwnerClosed, match="is closed"):
        await never.__aenter__()


async def test_it_is_entered_once() -> None:
    """Neither twice, nor after its end."""
    scheduler = Scheduler(name="one")
    with pytest.raises(OwnerClosed, match="'one' has not been entered"):
        await scheduler.drain()
    async with scheduler:
        with pytest.raises(OwnerClosed, match="'one' has been entered already"):
            await scheduler.__aenter__()
        assert (await (await scheduler.submit("draining.sleep", 0.0)).wait()).succeeded
    with pytest.raises(OwnerClosed, match="'one' is closed"):
        await scheduler.__aenter__()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 3},
        {"store": 3},
        {"workers": "4"},
        {"workers": True},
        {"workers": None},
        {"threads": 1.5},
        {"drain_timeout": "1"},
        {"cancel_timeout": True},
        {"close_timeout": object()},
        {"stall_threshold": "x"},
        {"on_event": 3},
        {"keep_for": "week"},
        {"keep_jobs": 1.5},
    ],
)
async def test_a_wrong_type_is_refused_before_any_effect(wrong: dict[str, Any]) -> None:
    """As a TypeError that names the argument."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        Scheduler(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"threads": 0},
        {"drain_timeout": -1.0},
        {"cancel_timeout": float("nan")},
        {"close_timeout": -0.1},
        {"stall_threshold": 0.0},
        {"keep_for": -1.0},
        {"keep_jobs": -1},
    ],
)
async def test_a_number_out_of_its_range_is_refused_before_any_effect(wrong: dict[str, Any]) -> None:
    """As a ValueError that names the argument."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scheduler(**wrong)


async def test_no_bound_is_none() -> None:
    """For each of the times."""
    async with Scheduler(drain_timeout=None, cancel_timeout=None, close_timeout=None, keep_for=None) as scheduler:

        def plain() -> int:
            return 1

        assert (await (await scheduler.submit(plain)).wait()).result == 1
        for call in (lambda: scheduler.events(0), lambda: scheduler.events("x")):  # type: ignore[arg-type]
            with pytest.raises((TypeError, ValueError), match="buffer"):
                call()
        for limit, error in ((0, ValueError), ("x", TypeError)):
            with pytest.raises(error, match="limit"):
                await scheduler.jobs(limit=limit)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="status"):
            await scheduler.jobs(status="failed")  # type: ignore[arg-type]
