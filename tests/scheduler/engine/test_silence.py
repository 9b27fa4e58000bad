"""Nothing waits in silence: the log, the records and the statistics say what for."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobRecord, Scheduler
from lifecycle.scheduler._engine import leftovers, life
from lifecycle.scheduler._words import next_of
from lifecycle.scheduler._work.handlers import Handler, registered_handlers

from ..stores import Address, outside_of
from ..tools import flow_of
from .handlers import Make, add_async, wait_for_ever

pytestmark = pytest.mark.asyncio


def renamed(monkeypatch: pytest.MonkeyPatch) -> Handler:
    """Take a handler out of those that are registered, as a new version of a program does, and return it."""
    known = dict(registered_handlers()._handlers)
    taken = known.pop("test.add_async")
    monkeypatch.setattr(registered_handlers(), "_handlers", known)
    return taken


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    """Return the records of an event."""
    return [record for record in caplog.records if record.msg == event]


async def test_a_job_says_what_it_waits_for(make: Make) -> None:
    """Its needs, its time or a worker; those that run or have ended wait for nothing."""
    flow = flow_of("[blocks.a]\nsleep = 60\n[blocks.b]\nneeds = ['a']\nsleep = 0\n[blocks.c]\nneeds = ['a']\nsleep = 0")
    async with make(workers=1) as scheduler:
        running = await scheduler.submit(wait_for_ever, priority=9)
        run = await scheduler.submit(flow)
        later = await scheduler.submit(add_async, 1, delay=3600)
        while (first := await scheduler.job(running.id)) is None or first.started is None:
            await anyio.sleep(0.001)
        records = {job.name: job for job in await scheduler.jobs(run=run.id)}
        assert first.waits_for is None
        assert records["a"].waits_for == "a free worker"
        assert records["b"].waits_for in ("1 job that it needs", "'a', which it needs")
        detailed = await scheduler.job(records["b"].id)
        assert detailed is not None
        assert detailed.waits_for == "'a', which it needs"
        due = await scheduler.job(later.id)
        assert due is not None
        assert due.waits_for is not None
        assert due.waits_for.startswith("its time, 20")
        assert all(job.waits_for is None for job in (await run_cancelled(scheduler, run.id)))
        await running.cancel()
        await later.cancel()


async def run_cancelled(scheduler: Scheduler, run: int) -> list[JobRecord]:
    """Cancel a run and return its jobs."""
    for job in await scheduler.jobs(run=run):
        await scheduler.cancel(job.id)
    return list(await scheduler.jobs(run=run))


async def test_a_handler_that_nobody_has_is_told_of(
    durable: Address, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, the statistics and every listing; and its jobs run as soon as it is registered."""
    monkeypatch.setattr(leftovers, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(leftovers, "INTERVAL", 0.02)
    store = durable
    async with Scheduler(store) as scheduler:
        for delay in (3600, 0.05, 0.05):
            await scheduler.submit(add_async, 1, delay=delay)
    assert {job.waits_for for job in outside_of(store).jobs()} == {
        "a scheduler that has its handler 'test.add_async'; none lives"
    }
    taken = renamed(monkeypatch)
    async with Scheduler(store) as scheduler:
        while not scheduler.statistics().left:
            await anyio.sleep(0.005)
        await anyio.sleep(0.1)
        assert scheduler.statistics().left == {"test.add_async": 3}
        (record,) = told(caplog, "work that no scheduler takes")
        assert record.handlers == "test.add_async (3)"
        alone = "a scheduler that has its handler 'test.add_async'; none of those that live does"
        assert {job.waits_for for job in await scheduler.jobs()} == {alone}
        shown = outside_of(store).show("1")
        assert shown is not None
        assert shown.waits_for == alone
        registered_handlers().add(taken)
        while scheduler.statistics().left or scheduler.statistics().ended["succeeded"] < 2:
            await anyio.sleep(0.005)


async def test_a_flow_that_nobody_serves_is_told_of(
    durable: Address, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the number of its unfinished runs."""
    monkeypatch.setattr(leftovers, "FIRST_LOOK", 0.0)
    store = durable
    async with Scheduler(store, drain_timeout=0) as scheduler:
        await scheduler.submit(flow_of("name = 'lonely'\n[blocks.a]\nsleep = 60"))
    (job,) = outside_of(store).jobs()
    assert job.waits_for == "a scheduler that serves its flow 'lonely'; none lives"
    async with Scheduler(store) as scheduler:
        while not scheduler.statistics().left:
            await anyio.sleep(0.005)
        assert scheduler.statistics().left == {"flow lonely": 1}
        assert told(caplog, "work that no scheduler takes")[0].handlers == "flow lonely (1)"


async def test_what_is_refused_is_counted(make: Make) -> None:
    """Its sender gets the error."""
    async with make() as scheduler:
        for work, needs in (("test.add", [4711]), ("test.nothing", [4711])):  # which nobody has ever submitted
            with pytest.raises(LookupError):
                await scheduler.submit(work, 1, 2, needs=needs)
        with pytest.raises(ValueError, match="missing a required argument"):
            await scheduler.submit("test.add")
        assert scheduler.statistics().refused == 3


async def test_a_long_opening_is_told_of(
    durable: Address, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Again and again while it lasts, and not any more afterwards."""
    monkeypatch.setattr(life, "SLOW_OPENING", 0.01)
    scheduler = Scheduler(durable)
    adopt = scheduler._store.adopt_jobs

    async def slowly(handlers: Any) -> int:
        while len(told(caplog, "scheduler is still being opened")) < 2:
            await anyio.sleep(0.005)
        return await adopt(handlers)

    monkeypatch.setattr(scheduler._store, "adopt_jobs", slowly)
    async with scheduler:
        before = len(told(caplog, "scheduler is still being opened"))
        await anyio.sleep(0.1)
        assert len(told(caplog, "scheduler is still being opened")) == before >= 2


async def test_an_overdue_schedule_is_said_to_be(durable: Address) -> None:
    """Its next run is in the past: no living scheduler has its handler."""
    async with Scheduler(durable) as scheduler:
        record = await (await scheduler.schedule("s", add_async, 1, fixed_rate=100)).record()
    assert record.next_due is not None
    assert not next_of(record).startswith("overdue")
    assert next_of(replace(record, next_due=time.time() - 10)).startswith("overdue since 20")


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the warnings of the scheduler."""
    caplog.set_level(logging.INFO, "lifecycle.scheduler")
