"""The scheduler, embedded, on all stores: how jobs are put in, run, tried again, cancelled and told of."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Event, JobFailed, JobStatus, Scheduler, handler
from lifecycle.scheduler._engine import reconciler

from ..stores import Address, rows_at
from .handlers import Make, add, add_async, anything, calls, fail, note, use_context, wait_for_ever

pytestmark = pytest.mark.asyncio


async def test_functions_and_names_are_run_with_their_arguments(make: Make) -> None:
    """Async functions in the loop, plain ones in a thread, handlers by name."""
    async with make() as scheduler:
        jobs = [
            await scheduler.submit(add, 1, 2),
            await scheduler.submit(add_async, 1),
            await scheduler.submit("test.add", 5),
        ]
        outcomes = [await job.wait() for job in jobs]
    assert [outcome.result for outcome in outcomes] == [3, 2, 6]
    assert {outcome.status for outcome in outcomes} == {JobStatus.SUCCEEDED}
    assert [outcome.unwrap() for outcome in outcomes] == [3, 2, 6]
    assert jobs[0].outcome is outcomes[0]


async def test_the_most_urgent_job_is_run_first(make: Make) -> None:
    """Priority decides among those that wait; equal ones come in order."""
    async with make(workers=1) as scheduler:
        blocker = await scheduler.submit(wait_for_ever, priority=99)
        jobs = [
            await scheduler.submit(note, name, priority=priority)
            for name, priority in [("low", -5), ("a", 0), ("high", 7), ("b", 0)]
        ]
        await blocker.cancel()
        for job in jobs:
            await job.wait()
    assert calls == ["high", "a", "b", "low"]


async def test_no_more_jobs_run_than_there_are_workers(make: Make) -> None:
    """The bound holds at every moment."""
    running = most = 0

    async def count(index: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        while most < 3:
            await anyio.sleep(0.001)
        await anyio.sleep(0.02)
        running -= 1

    handler("test.count")(count)
    async with make(workers=3) as scheduler:
        for job in [await scheduler.submit(count, index) for index in range(20)]:
            assert (await job.wait()).succeeded
    assert most == 3


async def test_a_failing_job_is_tried_again_with_growing_pauses(make: Make) -> None:
    """So often as `retries` says; the outcome tells the attempts and the last error."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        job = await scheduler.submit(fail, "no", retries=2, backoff=(0.01, 0.02))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 3)
    assert outcome.error == "ValueError: no"
    assert isinstance(outcome.exception, ValueError)
    delays = [event.data["delay"] for event in events if event.kind == "job_retrying"]
    assert len(delays) == 2
    assert 0.008 <= delays[0] <= 0.01 <= delays[1] * 1.01 <= 0.0203
    assert [event.kind for event in events] == [
        *["job_started", "job_retrying"] * 2,
        "job_started",
        "job_finished",
    ]
    with pytest.raises(JobFailed, match="failed: ValueError: no") as caught:
        outcome.unwrap()
    assert caught.value.__cause__ is outcome.exception


async def test_a_job_that_takes_too_long_times_out(make: Make) -> None:
    """The timeout is for one attempt, and counts as a failure."""
    async with make() as scheduler:
        job = await scheduler.submit(wait_for_ever, timeout=0.02, retries=1, backoff=(0.0, 0.0))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts) == (JobStatus.TIMED_OUT, 2)
    assert outcome.error == "took longer than its timeout of 0.02 s"


async def test_queued_delayed_and_running_jobs_can_be_cancelled(make: Make) -> None:
    """A cancelled job's outcome says why; a second request finds it ended."""
    async with make(workers=1) as scheduler:
        running = await scheduler.submit(wait_for_ever)
        queued = await scheduler.submit(note, "queued")
        delayed = await scheduler.submit(note, "delayed", delay=60.0)
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        for job in (queued, delayed, running):
            assert await job.cancel("not wanted")
            outcome = await job.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "not wanted")
            assert not await job.cancel()
        assert not await scheduler.cancel(running.id)
        assert not await scheduler.cancel(12_345)
    assert calls == []


async def test_a_delay_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is not started before its time, and then by itself: nothing else wakes the scheduler."""
    monkeypatch.setattr(reconciler, "INTERVAL", 600.0)
    async with make() as scheduler:
        began = time.monotonic()
        job = await scheduler.submit(note, "late", delay=0.1)
        with anyio.fail_after(60):
            await job.wait()
        assert time.monotonic() - began > 0.09


async def test_a_handler_is_given_its_context(make: Make) -> None:
    """Log lines and progress become events; the last are told before the end."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        job = await scheduler.submit(use_context, name="mine")
        assert (await job.wait()).result == ["mine", 1, False, "mine"]
    told = [(event.kind, dict(event.data)) for event in events if event.kind in ("job_log", "job_progress")]
    assert told == [("job_log", {"message": "one\\nline"}), ("job_progress", {"done": 1, "total": 2})]
    assert events[-1].kind == "job_finished"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"priority": 10**7}, "priority must be an integer"),
        ({"retries": -1}, "retries must be an integer from 0"),
        ({"delay": -1.0}, "delay must be 0 or more"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"delay": float("nan")}, "delay must be 0 or more"),
        ({"backoff": (-1, 1)}, "backoff must be 0 or more"),
    ],
)
async def test_wrong_settings_are_refused_before_anything_is_written(
    make: Make, settings: dict[str, Any], message: str
) -> None:
    """Each names the setting."""
    async with make() as scheduler:
        with pytest.raises(ValueError, match=message):
            await scheduler.submit(add, 1, **settings)
        with pytest.raises(ValueError, match="missing a required argument: 'x'"):
            await scheduler.submit(add)
        if not scheduler._store.shared:  # else others may know it
            with pytest.raises(LookupError, match=r"unknown handler 'test\.ad'; did you mean 'test\.add'"):
                await scheduler.submit("test.ad")
        with pytest.raises(TypeError, match="expected a function"):
            await scheduler.submit(3)  # type: ignore[call-overload]
        for what, wrong in [("priority", "x"), ("retries", True), ("delay", None), ("timeout", "1"), ("name", 3)]:
            with pytest.raises(TypeError, match=what):
                await scheduler.submit(add, 1, **{what: wrong})  # type: ignore[call-overload]
        for pauses in ("3", (1.0,), (1.0, "x")):
            with pytest.raises(TypeError, match="backoff"):
                await scheduler.submit(add, 1, backoff=pauses)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="the first pause is longer"):
            await scheduler.submit(add, 1, backoff=(10.0, 0.1))
    with pytest.raises(ValueError, match="workers must be an integer"):
        make(workers=0)


async def test_a_durable_store_takes_only_what_it_can_find_again(durable: Address) -> None:
    """Functions without a name, and arguments that are no plain data, are refused."""
    async with Scheduler(durable) as scheduler:
        with pytest.raises(TypeError, match=r"mark it with @handler\(NAME\)"):
            await scheduler.submit(lambda: None)
        with pytest.raises(TypeError, match="has no plain form"):
            await scheduler.submit(anything, object())
        job = await scheduler.submit(add_async, 1, 2)
        assert (await job.wait()).result == 3


async def test_events_can_be_read_as_they_come(make: Make) -> None:
    """The iterator ends with the scheduler; a slow reader loses the oldest, and is told how many."""
    kinds: list[str] = []

    async def read(scheduler: Scheduler, task_status: anyio.abc.TaskStatus[None]) -> None:
        events = scheduler.events()
        task_status.started()
        kinds.extend([event.kind async for event in events])

    async with anyio.create_task_group() as group, make() as scheduler:
        await group.start(read, scheduler)
        await anyio.sleep(0)
        slow = scheduler.events(buffer=2)
        first = asyncio.ensure_future(anext(slow))
        await anyio.sleep(0)
        for _ in range(3):
            await (await scheduler.submit(add_async, 1)).wait()
        assert (await first).kind == "job_started"
        lost = await anext(slow)
        assert (lost.kind, dict(lost.data)) == ("events_lost", {"count": 3})
        assert [(await anext(slow)).kind for _ in range(2)] == ["job_started", "job_finished"]
        await slow.aclose()  # type: ignore[attr-defined]
    assert kinds == ["job_started", "job_finished"] * 3


async def test_a_listener_that_fails_hurts_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged."""

    def broken(event: Event) -> None:
        raise RuntimeError("listener")

    async with make(on_event=broken) as scheduler:
        assert (await (await scheduler.submit(add_async, 1)).wait()).succeeded
    assert "event listener failed" in caplog.text


async def test_statistics_count_the_ends(make: Make) -> None:
    """Bounded counters, one for each kind of end."""
    async with make() as scheduler:
        for job in [await scheduler.submit(add_async, 1), await scheduler.submit(fail, "x")]:
            await job.wait()
        found = scheduler.statistics()
    assert found.ended == {**dict.fromkeys(found.ended, 0), "succeeded": 1, "failed": 1}
    assert set(found.ended) == {"succeeded", "failed", "cancelled", "timed_out", "skipped", "interrupted"}
    assert (found.running, found.runs, found.workers) == (0, 0, 8)


async def test_a_job_that_is_cancelled_while_it_runs_is_told_and_counted_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own scheduler's reconciler does not find the wish again when the job has ended."""
    monkeypatch.setattr(reconciler, "INTERVAL", 0.01)
    told: list[str] = []
    async with make(on_event=lambda event: told.append(event.kind)) as scheduler:
        jobs = [await scheduler.submit(wait_for_ever) for _ in range(3)]
        while scheduler.statistics().running < 3:
            await anyio.sleep(0.001)
        for job in jobs:
            assert await job.cancel("enough")
            await job.wait()
        await anyio.sleep(0.05)
        assert scheduler.statistics().ended["cancelled"] == 3
    assert told.count("job_finished") == 3


async def test_many_jobs_from_many_tasks(make: Make) -> None:
    """A thousand submissions at once, each with its own result."""

    async def one(index: int, results: list[Any]) -> None:
        job = await scheduler.submit(add_async, index)
        results[index] = (await job.wait()).result

    results: list[Any] = [None] * 1_000
    async with make(workers=20) as scheduler, anyio.create_task_group() as group:
        for index in range(1_000):
            group.start_soon(one, index, results)
    assert results == [index + 1 for index in range(1_000)]


async def test_a_number_for_a_backoff_is_the_first_pause(durable: Address) -> None:
    """As in a flow file: the longest is ten seconds then, or as long as the first."""
    async with Scheduler(durable) as scheduler:
        await scheduler.submit(add_async, 1, delay=60.0, backoff=5)
        await scheduler.submit(add_async, 1, delay=60.0, backoff=20.0)
        rows = rows_at(durable, "SELECT backoff_first, backoff_longest FROM jobs ORDER BY id")
        assert rows == [(5, 10), (20, 20)]
        for wrong in (-1, float("nan"), float("inf"), True):
            with pytest.raises((TypeError, ValueError), match="backoff"):
                await scheduler.submit(add_async, 1, backoff=wrong)
