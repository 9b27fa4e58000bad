"""Log and progress of jobs that run, as others see them: a second late, written together, and never for the silent."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, JobRecord, JobStatus, Scheduler, handler
from lifecycle.scheduler._engine import reports

from ..stores import Address, outside_of
from .handlers import Make, wait_for_ever

pytestmark = pytest.mark.asyncio

go: dict[str, anyio.Event] = {}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write more often than usual, and begin with nobody on the way."""
    monkeypatch.setattr(reports, "INTERVAL", 0.05)
    go.clear()


@handler("test.shows")
async def shows(lines: int, fails: int = 0, *, context: Context) -> None:
    """Log and report progress, wait for the test, and do so once more."""
    go[context.job] = anyio.Event()
    for number in range(lines):
        context.log(f"{context.attempt}: line {number}")
        context.progress(number + 1, 2 * lines)
    await go[context.job].wait()
    context.log("last")
    context.progress(2 * lines, 2 * lines)
    if context.attempt <= fails:
        raise ValueError("not yet")


async def shown(scheduler: Scheduler, job: int, logged: int) -> JobRecord:
    """Return the record of a job as soon as so many lines are in it."""
    while True:
        record = await scheduler.job(job)
        assert record is not None
        if record.logged >= logged:
            return record
        await anyio.sleep(0.005)


async def test_a_running_job_shows_its_log_and_its_progress(make: Make) -> None:
    """And when it has ended, all of both, where the store keeps it."""
    async with make() as scheduler:
        job = await scheduler.submit(shows, 60, name="one")
        record = await shown(scheduler, job.id, 60)
        assert record.status is JobStatus.RUNNING
        assert record.log is not None
        assert record.log.splitlines() == [f"1: line {number}" for number in range(10, 60)]
        assert record.progress == (60, 120)
        [listed] = await scheduler.jobs()
        assert (listed.progress, listed.logged) == ((60, 120), 60)
        assert listed.to_dict(details=False)["progress"] == [60, 120]
        go["one"].set()
        await job.wait()
        if scheduler._store.durable:
            record = await shown(scheduler, job.id, 61)
            assert record.log is not None
            assert record.log.splitlines()[-1] == "last"
            assert record.progress == (120, 120)


async def test_an_attempt_that_is_tried_again_begins_with_nothing_done(make: Make) -> None:
    """The log of the one before stays until it says something itself."""
    async with make() as scheduler:
        job = await scheduler.submit(shows, 3, 1, name="one", retries=1, backoff=(0.0, 0.0))
        await shown(scheduler, job.id, 3)
        before = go["one"]
        before.set()
        while go["one"] is before:
            await anyio.sleep(0.001)
        record = await shown(scheduler, job.id, 3)
        assert record.attempts == 2
        assert record.progress == (3, 6)
        assert record.log == "2: line 0\n2: line 1\n2: line 2"
        go["one"].set()
        assert (await job.wait()).succeeded


async def test_what_has_changed_is_written_together_and_the_silent_cost_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One writing for all jobs, however much they say; none when nobody has said anything since."""
    async with make(workers=30) as scheduler:
        written: list[list[Any]] = []
        report = scheduler._store.report

        async def counted(found: Any) -> None:
            written.append(list(found))
            await report(found)

        monkeypatch.setattr(scheduler._store, "report", counted)
        await scheduler.submit(wait_for_ever)
        await anyio.sleep(0.12)
        assert written == []
        jobs = [await scheduler.submit(shows, 100, name=f"job{number}") for number in range(20)]
        for job in jobs:
            await shown(scheduler, job.id, 100)
        assert len(written) < len(jobs)
        assert max(map(len, written)) > 1
        before = len(written)
        await anyio.sleep(0.2)
        assert len(written) == before
        for event in go.values():
            event.set()
        for job in jobs:
            await job.wait()
        for job in await scheduler.jobs(status=JobStatus.RUNNING):
            await scheduler.cancel(job.id)


async def test_an_attempt_that_has_lost_its_job_shows_nothing_any_more(make: Make) -> None:
    """Fenced, as its end is."""
    async with make() as scheduler:
        job = await scheduler.submit(shows, 1, name="one")
        await shown(scheduler, job.id, 1)
        late = reports.Reports(scheduler._store, {}, lambda error: None)
        attempt = scheduler._life.entered().running[job.id]
        told = attempt.report()
        assert told is not None
        await scheduler._store.report([told._replace(attempt=7, log="of another")])
        record = await scheduler.job(job.id)
        assert record is not None
        assert record.log == "1: line 0"
        late.note(1)
        go["one"].set()
        await job.wait()
        assert attempt.report() is None


async def test_another_process_sees_them(durable: Address) -> None:
    """From the store, and what is left of them after a kill."""
    path = durable
    async with Scheduler(path, drain_timeout=0.0) as scheduler:
        job = await scheduler.submit(shows, 2, name="one")
        await shown(scheduler, job.id, 2)
        seen = outside_of(path).show("one")
        assert seen is not None
        assert (seen.log, seen.progress, seen.status) == ("1: line 0\n1: line 1", (2, 4), JobStatus.RUNNING)
    seen = outside_of(path).show("one")
    assert seen is not None
    assert (seen.log, seen.progress, seen.status) == ("1: line 0\n1: line 1", (2, 4), JobStatus.INTERRUPTED)


async def test_the_time_between_two_writings_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is at once, the next not before its time."""
    monkeypatch.setattr(reports, "INTERVAL", 0.2)
    async with make() as scheduler:
        times: list[float] = []
        report = scheduler._store.report

        async def timed(found: Any) -> None:
            times.append(time.monotonic())
            await report(found)

        monkeypatch.setattr(scheduler._store, "report", timed)
        job = await scheduler.submit(shows, 1, name="one")
        await shown(scheduler, job.id, 1)
        attempt = scheduler._life.entered().running[job.id]
        for number in range(50):
            assert attempt._context is not None
            attempt._context.log(str(number))
            await anyio.sleep(0.01)
        go["one"].set()
        await job.wait()
    assert 2 <= len(times) < 50
    assert all(later - earlier > 0.19 for earlier, later in pairwise(times))
