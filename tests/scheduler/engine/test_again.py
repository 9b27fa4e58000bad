"""Jobs and runs again by hand, and waiting for them by their numbers: here, and for other schedulers of the store."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobConflict, JobStatus, RunConflict, Scheduler, handler

from ..stores import Address, outside_of, rename_handler, rows_at
from ..tools import flow_of
from .handlers import Make, account_of, calls, fail, note, wait_for_ever

pytestmark = pytest.mark.asyncio

mended: set[str] = set()


@handler("test.flaky")
async def flaky(name: str) -> str:
    """Fail until it is mended."""
    calls.append(name)
    if name not in mended:
        raise ValueError(f"{name} is broken")
    return name


numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def nothing_mended() -> None:
    """Begin every test with everything broken."""
    mended.clear()


FLOW = """
[blocks.before]
call = "test.note"
args = ["before"]
[blocks.a]
needs = ["before"]
call = "test.flaky"
args = ["a"]
[blocks.after]
needs = ["a"]
call = "test.note"
args = ["after ${blocks.a.output} and ${blocks.before.output}"]
"""


async def test_a_job_that_failed_is_tried_again_with_its_whole_allowance(durable: Address) -> None:
    """Its attempts go on counting; the handle that comes back is on the new attempts."""
    async with Scheduler(durable) as scheduler:
        job = await scheduler.submit(flaky, "x", retries=1, backoff=(0.0, 0.0), delay=0.01, priority=3)
        assert (await job.wait()).attempts == 2
        again = await scheduler.retry(job.id)
        outcome = await again.wait()
        assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 4)
        mended.add("x")
        outcome = await (await scheduler.retry(job.id)).wait()
        assert (outcome.result, outcome.attempts) == ("x", 5)
        record = await scheduler.job(job.id)
        assert record is not None
        assert (record.failures, record.priority, record.error) == (0, 3, None)
        assert record.log is not None
        assert [line.partition("; ")[2] for line in record.log.splitlines()] == [
            "it had failed in attempt 2: ValueError: x is broken",
            "it had failed in attempt 4: ValueError: x is broken",
        ]
        with pytest.raises(JobConflict, match="job 1 cannot be tried again: it has succeeded") as caught:
            await scheduler.retry(job.id)
        assert caught.value.job_id == job.id
        assert (await (await scheduler.retry(job.id, force=True)).wait()).attempts == 6
        with pytest.raises(LookupError, match="there is no job 99"):
            await scheduler.retry(99)
        del job, again
        await account_of(scheduler)


async def test_a_run_goes_on_from_what_failed_and_keeps_what_succeeded(durable: Address) -> None:
    """It is open again, and has an outcome of its own for those who wait anew."""
    async with Scheduler(durable) as scheduler:
        flow = flow_of(FLOW)
        await scheduler.serve_flow(flow)
        run = await scheduler.submit(flow)
        assert (await run.wait()).status is JobStatus.FAILED
        mended.add("a")
        assert await scheduler.runs.retry(run.id) == 2
        outcome = await scheduler.runs.wait(run.id)
        assert outcome.succeeded
        assert {job.name: job.attempts for job in outcome.jobs} == {"before": 1, "a": 2, "after": 1}
        assert calls == ["before", "a", "a", "after a and before"]
        assert await scheduler.runs.retry(run.id) == 0
        assert scheduler.statistics().runs == 0
        with pytest.raises(LookupError, match="there is no run 7"):
            await scheduler.runs.retry(7)
        with pytest.raises(LookupError, match="there is no run 7"):
            await scheduler.runs.wait(7)


async def test_a_job_of_a_run_that_goes_on_is_tried_again(make: Make) -> None:
    """In memory as well: the run has not been forgotten."""
    async with make() as scheduler:
        run = await scheduler.submit(flow_of(FLOW + '[blocks.lasts]\ncall = "test.wait"'))
        while not (failed := await scheduler.jobs(status=JobStatus.FAILED)):
            await anyio.sleep(0.001)
        mended.add("a")
        job = await scheduler.retry(failed[0].id)
        assert (await job.wait()).result == "a"
        while calls[-1] != "after a and before":
            await anyio.sleep(0.001)
        [record] = await scheduler.runs.list(status=JobStatus.RUNNING, flow="flow")
        shown = await scheduler.runs.show(run.id)
        assert shown is not None
        assert shown == replace(record, jobs=shown.jobs)  # the last job may have begun between the two
        assert await scheduler.runs.cancel(run.id, "enough")
        assert (await scheduler.runs.wait(run.id) if not run.done else await run.wait()).counts()["cancelled"] == 1


async def test_a_need_that_had_ended_before_is_a_need_as_any_other(durable: Address) -> None:
    """It holds up a retry by hand, also when it is deleted, and brings back what was skipped because of it."""
    async with Scheduler(durable) as scheduler:
        above = await scheduler.submit(flaky, "above")
        await above.wait()
        by_number = await scheduler.submit(note, "by number", needs=[above.id])
        by_handle = await scheduler.submit(note, "by handle", needs=[above])
        for job in (by_number, by_handle):
            assert (await job.wait()).error == "needs 'test.flaky', which failed"
            with pytest.raises(JobConflict, match=r"it needs 'test\.flaky', which failed"):
                await scheduler.retry(job.id)
        mended.add("above")
        await scheduler.retry(above.id)
        for job in (by_number, by_handle):
            assert (await (await scheduler.find(job.id)).wait()).succeeded
        gone = await scheduler.submit(fail, "gone", name="gone")
        await gone.wait()
        alone = await scheduler.submit(note, "alone", needs=[gone.id])
        await alone.wait()
        assert await scheduler.upkeep.purge(name="gone") == 1
        with pytest.raises(JobConflict, match="a job that it needs did not succeed, and has been deleted"):
            await scheduler.retry(alone.id)
        assert calls.count("alone") == 0
        assert (await (await scheduler.retry(alone.id, force=True)).wait()).succeeded


async def test_one_of_many_who_try_a_job_again_does(durable: Address) -> None:
    """The others are told that it has not ended."""
    async with Scheduler(durable) as one, Scheduler(durable) as two:
        job = await one.submit(fail, "x")
        await job.wait()
        told: list[Any] = []

        async def ask(scheduler: Scheduler) -> None:
            try:
                told.append(await scheduler.retry(job.id))
            except JobConflict as error:
                told.append(str(error))

        async with anyio.create_task_group() as tasks:
            for scheduler in (one, two) * 5:
                tasks.start_soon(ask, scheduler)
        handles = [one for one in told if not isinstance(one, str)]
        assert len(handles) >= 1
        attempts = {(await handle.wait()).attempts for handle in handles}
        assert max(attempts) == 1 + len(handles)


async def test_an_idle_scheduler_takes_what_another_process_lets_wait_again(durable: Address) -> None:
    """A job by itself and a run, both of which have ended, and nothing else happens there."""
    path = durable
    async with Scheduler(path) as scheduler:
        flow = flow_of(FLOW)
        await scheduler.serve_flow(flow)
        job, run = await scheduler.submit(flaky, "x"), await scheduler.submit(flow)
        await job.wait()
        await run.wait()
        number, run_id = job.id, run.id
        del job, run
        mended.update("xa")
        await anyio.sleep(0.05)
        assert outside_of(path).retry([str(number)], force=False)[0].effect == "waits"
        revived = outside_of(path).retry_run(run_id)
        assert revived is not None
        assert (len(revived.jobs), revived.skipped) == (2, 0)
        with anyio.fail_after(60):
            assert (await (await scheduler.find(number)).wait()).result == "x"
            assert (await scheduler.runs.wait(run_id)).succeeded


async def test_a_scheduler_that_does_not_know_the_handler_leaves_it_to_one_that_does(durable: Address) -> None:
    """The one that lets it wait again learns of its end nevertheless."""
    path = durable
    async with Scheduler(path, adopt=False) as asks, Scheduler(path) as knows:
        job = await knows.submit(flaky, "x")
        await job.wait()
        mended.add("x")
        renamed = f"test.other{next(numbers)}"  # one that no test before this has registered
        rename_handler(path, job.id, "test.flaky", renamed)
        handle = await asks.retry(job.id)
        await anyio.sleep(0.3)
        assert not handle.done

        @handler(renamed)
        async def other(name: str) -> str:
            return f"other {name}"

        assert await asks.cancel(job.id, "once more")
        assert (await handle.wait()).status is JobStatus.CANCELLED
        assert (await (await asks.retry(job.id)).wait()).result == "other x"


async def test_a_flow_that_has_changed_is_refused_by_name(durable: Address) -> None:
    """Where it is served in another version; where it is not served at all the run waits for somebody who does."""
    async with Scheduler(durable) as scheduler:
        flow = flow_of(FLOW)
        run = await scheduler.submit(flow)
        await run.wait()
        mended.add("a")
        await scheduler.serve_flow(flow_of(FLOW + "[blocks.new]\nsleep = 0"))
        with pytest.raises(RunConflict, match=f"flow 'flow' has changed since its run {run.id} began") as caught:
            await scheduler.runs.retry(run.id)
        assert caught.value.flow_changed
        record = await scheduler.runs.show(run.id)
        assert record is not None
        assert record.status is JobStatus.FAILED
    async with Scheduler(durable) as scheduler:
        assert await scheduler.runs.retry(run.id) == 2
        record = await scheduler.runs.show(run.id)
        assert record is not None
        assert (record.status, record.to_dict()["jobs"]) == (JobStatus.INTERRUPTED, {"pending": 2, "succeeded": 1})
        await scheduler.serve_flow(flow)
        assert (await scheduler.runs.wait(run.id)).succeeded


async def test_a_job_is_waited_for_by_its_number(make: Make) -> None:
    """Of this scheduler, before it has ended; afterwards where the store keeps it."""
    async with make(workers=1) as scheduler:
        first = await scheduler.submit(note, "first", delay=0.5)
        found = await scheduler.find(first.id)
        assert found is first
        number = first.id
        del first, found
        outcome = await (await scheduler.find(number)).wait()
        assert (outcome.result, outcome.attempts) == ("first", 1)
        if scheduler._store.durable:
            assert (await (await scheduler.find(number)).wait()).result == "first"
        with pytest.raises(LookupError, match="there is no job 99 in the store"):
            await scheduler.find(99)


async def test_jobs_and_runs_of_another_process_are_waited_for_with_one_question(
    durable: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are; what the store has deleted meanwhile is waited for no longer."""
    path = durable
    async with Scheduler(path, workers=1) as works, Scheduler(path) as waits:
        jobs = [await works.submit(note, str(number), delay=2.0) for number in range(20)]
        run = await works.submit(flow_of("[blocks.a]\nsleep = 2.0"))
        asked: list[int] = []
        ended_jobs = waits._store.ended_jobs

        async def counted(numbers: Any) -> Any:
            asked.append(len(numbers))
            return await ended_jobs(numbers)

        monkeypatch.setattr(waits._store, "ended_jobs", counted)
        handles = [await waits.find(job.id) for job in jobs]
        assert "unfinished" in repr(handles[0])
        assert not await works.cancel(99)
        assert (await waits.runs.wait(run.id)).succeeded
        assert [(await handle.wait()).result for handle in handles] == [str(number) for number in range(20)]
        assert isinstance(path, str) or max(asked) == 20  # a database tells of ends before it is asked
        assert len(asked) < 20
        gone = await works.submit(note, "gone", delay=60.0)
        handle = await waits.find(gone.id)
        rows_at(path, f"DELETE FROM jobs WHERE id = {gone.id}")
        outcome = await handle.wait()
        assert (outcome.status, outcome.error) == (
            JobStatus.INTERRUPTED, "the store did not keep it until its end was seen",
        )  # fmt: skip


async def test_the_end_of_a_job_of_before_a_restart_is_still_told(durable: Address) -> None:
    """By its number, from the store."""
    path = durable
    async with Scheduler(path) as scheduler:
        number = (await scheduler.submit(note, "x")).id
        await scheduler.drain()
    async with Scheduler(path) as scheduler:
        outcome = await (await scheduler.find(number)).wait()
        assert (outcome.name, outcome.result, outcome.succeeded) == ("test.note", "x", True)


async def test_very_many_that_are_waited_for_are_asked_about_in_turn(
    durable: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded number in each look, each of them some time."""
    monkeypatch.setattr("lifecycle.scheduler._engine.reconciler.AT_ONCE", 3)
    monkeypatch.setattr("lifecycle.scheduler._engine.reconciler.INTERVAL", 0.01)
    path = durable
    async with Scheduler(path) as works, Scheduler(path) as waits:
        jobs = [await works.submit(note, str(number), delay=0.1) for number in range(10)]
        handles = [await waits.find(job.id) for job in jobs]
        with anyio.fail_after(10):
            assert [(await handle.wait()).result for handle in reversed(handles)] == [str(n) for n in range(9, -1, -1)]


async def test_the_priority_of_a_job_that_waits_is_changed(make: Make) -> None:
    """It is next, then; what runs or has ended stays as it is."""
    async with make(workers=1) as scheduler:
        busy = await scheduler.submit(wait_for_ever)
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        last = [await scheduler.submit(note, name) for name in ("first", "second", "third")][-1]
        assert await scheduler.set_priority(last.id, 5)
        assert not await scheduler.set_priority(busy.id, 5)
        assert not await scheduler.set_priority(99, 5)
        with pytest.raises(ValueError, match="priority must be an integer from"):
            await scheduler.set_priority(last.id, 10**7)
        await busy.cancel()
        await scheduler.drain()
        assert calls == ["third", "first", "second"]


STEPS = """
[blocks.a]
call = "test.flaky"
args = ["a"]
[blocks.mends]
needs = ["a"]
when = "failure"
call = "test.note"
args = ["mends"]
[blocks.tidies]
needs = ["mends"]
when = "always"
call = "test.note"
args = ["tidies"]
[blocks.after]
needs = [{ block = "a", may_fail = true }]
call = "test.note"
args = ["after"]
"""


async def test_steps_that_run_anyway_run_again_after_what_they_need(durable: Address) -> None:
    """A failure that may be is none of the run, in its record as in its outcome; what has tolerated it is kept."""
    async with Scheduler(durable) as scheduler:
        flow = flow_of(STEPS)
        await scheduler.serve_flow(flow)
        run = await scheduler.submit(flow)
        outcome = await run.wait()
        record = await scheduler.runs.show(run.id)
        assert record is not None
        assert record.status is outcome.status
        assert sorted(calls) == ["a", "after", "mends", "tidies"]
        mended.add("a")
        assert await scheduler.runs.retry(run.id) == 3
        outcome = await scheduler.runs.wait(run.id)
        assert outcome.succeeded
        assert calls[4:] == ["a", "tidies"]
        assert {job.name: job.status.value for job in outcome.jobs}["mends"] == "skipped"


async def test_what_was_skipped_for_a_job_that_is_deleted_is_only_tried_when_that_is_forced(durable: Address) -> None:
    """That the job did not succeed is true all the same; it ran as if it had."""
    async with Scheduler(durable) as scheduler:
        needed = await scheduler.submit(flaky, "x", delay=0.01)
        job = await scheduler.submit(note, "after x", needs=[needed])
        assert (await job.wait()).status is JobStatus.CANCELLED
        assert await scheduler.upkeep.purge(name="test.flaky") == 1
        with pytest.raises(JobConflict, match="a job that it needs did not succeed, and has been deleted"):
            await scheduler.retry(job.id)
        again = await scheduler.retry(job.id, force=True)
        assert (await again.wait()).status is JobStatus.SUCCEEDED
