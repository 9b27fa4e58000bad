"""Schedulers on one store, one after the other and side by side: what each takes over."""

from __future__ import annotations

import anyio
import pytest

from lifecycle.scheduler import JobStatus, RunConflict, Scheduler

from ..stores import Address, rename_handler
from ..tools import flow_of
from .handlers import calls, note, wait_for_ever

pytestmark = pytest.mark.asyncio


async def test_a_retry_that_is_due_later_survives_a_restart(durable: Address) -> None:
    """The due time is in the store; failures are counted over restarts (casebook C3)."""
    store = durable
    flow = flow_of("[blocks.a]\ncall = 'test.fail'\nargs = ['x']\nretries = 1\nbackoff = [0.6, 0.6]")
    async with Scheduler(store) as scheduler:
        run = await scheduler.submit(flow, resume=True)
        while not (await scheduler._store.jobs_of(run.id))[0].due:
            await anyio.sleep(0.01)
    async with Scheduler(store) as scheduler:
        outcome = await (await scheduler.submit(flow, resume=True)).wait()
    assert [(job.attempts, job.failures, job.status.value) for job in outcome.jobs] == [(2, 2, "failed")]


async def test_jobs_by_themselves_are_taken_over_from_a_scheduler_that_was_closed(durable: Address) -> None:
    """Only those whose handler is known here; the others wait for a scheduler that knows it."""
    store = durable
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        await scheduler.submit(wait_for_ever, priority=5)
        await scheduler.submit(note, "taken over", delay=0.2)
        gone = await scheduler.submit(note, "gone", delay=0.1)
    rename_handler(store, gone.id, "test.note", "test.unknown")
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        while not calls:
            await anyio.sleep(0.01)
        record = await scheduler._store.job(gone.id)
        assert record is not None
        assert record.status is JobStatus.PENDING
    assert calls == ["taken over"]


async def test_two_schedulers_on_one_store_do_not_take_each_others_jobs(durable: Address) -> None:
    """Each runs what it was given, as long as it lives; a run that is going on cannot be begun twice."""
    store = durable
    async with Scheduler(store, name="one") as one, Scheduler(store, name="two") as two:
        waits = await one.submit(wait_for_ever)
        later = await one.submit(note, "one", delay=0.1)
        run = await one.submit(flow_of("[blocks.a]\nsleep = 0.3"), resume=True)
        with pytest.raises(RunConflict, match=r"run 1 of 'flow' with these parameters is being run by process \d+"):
            await two.submit(flow_of("[blocks.a]\nsleep = 0.3"), resume=True)
        await two.submit(note, "two")
        assert (await run.wait()).succeeded
        await later.wait()
        # The other one may cancel: its wish reaches the owner through the store.
        assert await two.cancel(waits.id, "from two")
        outcome = await waits.wait()
    assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "from two")
    assert sorted(calls) == ["one", "two"]
