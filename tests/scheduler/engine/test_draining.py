"""``drain``: nothing begins any more, and what runs can be looked at and cancelled until it has ended."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from lifecycle import OwnerClosed, TaskGroup
from lifecycle.scheduler import JobStatus, Scheduler, handler

pytestmark = pytest.mark.asyncio


@handler("draining.sleep")
async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


@pytest.mark.parametrize("durable", [False, True])
async def test_while_it_drains_jobs_are_looked_at_and_cancelled(tmp_path: Path, durable: bool) -> None:
    """And nothing is put in; draining again is nothing."""
    scheduler = Scheduler(tmp_path / "jobs.sqlite" if durable else None, workers=1, drain_timeout=20.0)
    async with scheduler:
        running = await scheduler.submit("draining.sleep", 600.0)
        waiting = await scheduler.submit("draining.sleep", 600.0)
        while not scheduler.statistics().running:
            await anyio.sleep(0.01)
        async with TaskGroup() as group:
            draining = group.start_soon(scheduler.drain)
            await anyio.sleep(0.05)
            with pytest.raises(OwnerClosed):
                await scheduler.submit("draining.sleep", 0.0)
            statuses = {job.id: job.status for job in await scheduler.jobs()}
            assert (statuses[running.id], statuses[waiting.id]) == (JobStatus.RUNNING, JobStatus.PENDING)
            assert not draining.done
            assert await scheduler.cancel(running.id, "enough")
            with anyio.fail_after(10):
                await draining.wait()
        assert running.outcome is not None
        assert running.outcome.error == "enough"
        record = await scheduler.job(waiting.id)
        assert record is not None
        assert record.status is JobStatus.PENDING
        await scheduler.drain()
    for call in (scheduler.drain, scheduler.jobs, scheduler.schedules):
        with pytest.raises(OwnerClosed):
            await call()


async def test_a_draining_that_is_cancelled_leaves_the_rest_to_the_end_of_the_block() -> None:
    """What still runs is stopped and interrupted, at once."""
    with anyio.fail_after(10):
        async with Scheduler(drain_timeout=20.0) as scheduler:
            job = await scheduler.submit("draining.sleep", 600.0)
            while not scheduler.statistics().running:
                await anyio.sleep(0.01)
            async with TaskGroup() as group:
                draining = group.start_soon(scheduler.drain)
                await anyio.sleep(0.05)
                draining.cancel("no time")
    assert job.outcome is not None
    assert job.outcome.status is JobStatus.INTERRUPTED
