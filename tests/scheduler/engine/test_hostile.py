"""Handlers that behave badly: each is named, the scheduler survives each, and its own account closes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle import ReleaseTimeout, TaskManager, take_snapshot
from lifecycle.scheduler import Event, Job, JobStatus, Scheduler, handler

from ..tools import flow_of

pytestmark = pytest.mark.asyncio


class Odd(BaseException):
    """No Exception."""


class Unsayable(Exception):
    """Has no text that could be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


async def hold() -> None:
    """Wait until it is cancelled."""
    await anyio.sleep_forever()


async def ignore() -> None:
    """Wait for ever, however often it is cancelled; only `release_all` ends it."""
    while not _released.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            _ignored.append(1)


_released = asyncio.Event()
_ignored: list[int] = []


async def release_all() -> None:
    """End what ignored its cancellation; nothing of it is left."""
    _released.set()
    with anyio.fail_after(30):
        while asyncio.all_tasks() != {asyncio.current_task()}:
            await asyncio.sleep(0.005)
    _released.clear()
    _ignored.clear()


def raising(make: Callable[[], BaseException]) -> Callable[[], Any]:
    """Return a handler that raises."""

    async def raise_it() -> None:
        await asyncio.sleep(0)
        raise make()

    return raise_it


async def account_of(scheduler: Scheduler) -> None:
    """Check that nothing of the scheduler's own is left."""
    engine = scheduler._life.engine
    assert engine is not None
    assert (dict(engine.running), dict(engine.runs.open), len(engine.jobs)) == ({}, {}, 0)


@pytest.mark.parametrize(
    "make",
    [lambda: Odd("odd"), GeneratorExit, SystemExit, asyncio.CancelledError, Unsayable, StopAsyncIteration, MemoryError],
    ids=["odd", "generator exit", "system exit", "cancelled", "unsayable", "stop", "memory"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["memory", "sqlite"])
async def test_whatever_is_raised_is_a_failure_of_its_job(
    make: Callable[[], BaseException], kept: bool, tmp_path: Path
) -> None:
    """The job ends at once, the error is told, and the next job runs."""
    work = handler(f"hostile.{make}.{kept}")(raising(make))
    async with Scheduler(tmp_path / "jobs.sqlite" if kept else None, workers=1) as scheduler:
        with anyio.fail_after(30):
            outcome = await (await scheduler.submit(work)).wait()
            after = await (await scheduler.submit(good)).wait()
    assert outcome.status is JobStatus.FAILED
    assert outcome.error
    assert after.succeeded
    await account_of(scheduler)


@handler("hostile.good")
async def good() -> int:
    """Behave well."""
    return 1


async def test_a_job_that_ignores_its_cancellation_is_named_when_the_scheduler_closes() -> None:
    """It holds one worker, and no other job; the close is bounded, and the error and the log name it."""
    scheduler = Scheduler(workers=2, drain_timeout=0, cancel_timeout=0.1)
    with pytest.raises(ReleaseTimeout, match="abandoned: job stubborn"):
        async with scheduler:
            job = await scheduler.submit(ignore, name="stubborn")
            other = await scheduler.submit(hold)
            with anyio.fail_after(30):
                while scheduler.statistics().running < 2:
                    await anyio.sleep(0.001)
                assert await job.cancel("please")
                while not _ignored:
                    await anyio.sleep(0.001)
                assert await other.cancel("you too")
                assert (await other.wait()).status is JobStatus.CANCELLED
                assert (await (await scheduler.submit(good)).wait()).succeeded
    assert (await job.wait()).status is JobStatus.INTERRUPTED
    del job, other
    await release_all()


async def test_a_job_that_swallows_its_cancellation_once_and_returns_has_succeeded() -> None:
    """It did what it was to do; that its end was asked for does not change that."""

    async def swallow() -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return "I had finished"

    async with Scheduler() as scheduler:
        job = await scheduler.submit(swallow)
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        await anyio.sleep(0.01)
        await job.cancel()
        outcome = await job.wait()
    assert (outcome.status, outcome.result) == (JobStatus.SUCCEEDED, "I had finished")
    await account_of_after(scheduler, job)


async def account_of_after(scheduler: Scheduler, job: Job) -> None:
    """Check the account while a handle is still held."""
    engine = scheduler._life.engine
    assert engine is not None
    assert (dict(engine.running), dict(engine.runs.open)) == ({}, {})
    assert job.done


async def test_a_job_that_blocks_the_loop_is_named_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    """In the log at once, from a thread, and as an event afterwards; the other jobs come to their end."""
    events: list[Event] = []

    async def block_the_loop() -> int:
        time.sleep(0.7)
        return 1

    async with Scheduler(on_event=events.append, stall_threshold=0.1) as scheduler:
        others = [await scheduler.submit(good) for _ in range(20)]
        job = await scheduler.submit(block_the_loop)
        with anyio.fail_after(30):
            assert (await job.wait()).succeeded
            assert all([(await other.wait()).succeeded for other in others])
            while not any(event.kind == "loop_blocked" for event in events):
                await anyio.sleep(0.01)
    said = [vars(record) for record in caplog.records if record.getMessage() == "event loop blocked"]
    assert {(record["levelno"], record["owner"]) for record in said} == {(logging.WARNING, "scheduler")}
    assert any(record["task"].startswith("job ") and "block_the_loop" in record["place"] for record in said)
    (told,) = [event.data for event in events if event.kind == "loop_blocked"]
    assert "block_the_loop" in told["place"]
    assert 0.1 <= told["seconds"] < 30


async def test_a_loop_that_turns_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Jobs that only wait block nothing; and without a threshold nothing is watched."""
    events: list[Event] = []
    async with Scheduler(on_event=events.append, stall_threshold=5.0) as scheduler:
        await (await scheduler.submit(anyio.sleep, 0.1)).wait()
    async with Scheduler(on_event=events.append, stall_threshold=None) as scheduler:
        await (await scheduler.submit(anyio.sleep, 0)).wait()
    assert not [event for event in events if event.kind == "loop_blocked"]
    assert "blocked" not in caplog.text


async def test_a_task_that_a_handler_leaks_is_seen_and_not_ours() -> None:
    """The snapshot lists it without an owner, by its name; everything of the job is gone."""
    leaked: list[asyncio.Task[None]] = []

    async def leak() -> None:
        leaked.append(asyncio.create_task(hold(), name="leaked by a handler"))

    async with Scheduler() as scheduler:
        before = take_snapshot()
        for _ in range(5):
            await (await scheduler.submit(leak)).wait()
        after = take_snapshot()
    assert sum(node.count for node in after.unowned) - sum(node.count for node in before.unowned) == 5
    assert "leaked by a handler" in str(after) or "hold" in str(after)
    await account_of(scheduler)
    assert asyncio.all_tasks() == {asyncio.current_task(), *leaked}
    for task in leaked:
        task.cancel()
    await asyncio.wait(leaked)


async def test_a_storm_of_cancellations(tmp_path: Path) -> None:
    """Five tasks cancel every job, again and again, while jobs come and go: each job ends once."""
    started = 0

    async def work(seconds: float) -> None:
        nonlocal started
        started += 1
        try:
            await anyio.sleep(seconds)
        finally:
            await anyio.sleep(0.001)

    ended: dict[int, int] = {}

    def count(event: Event) -> None:
        if event.kind == "job_finished" and event.job_id is not None:
            ended[event.job_id] = ended.get(event.job_id, 0) + 1

    async with Scheduler(workers=20, on_event=count) as scheduler:
        jobs = [await scheduler.submit(work, 0.002 * (number % 10)) for number in range(300)]

        async def storm(offset: int) -> None:
            for number in range(len(jobs)):
                await jobs[(number * 7 + offset) % len(jobs)].cancel("storm")
                if number % 10 == 0:
                    await anyio.sleep(0)

        async with TaskManager() as storms:
            handles = [storms.start_soon(storm, offset) for offset in range(5)]
            with anyio.fail_after(60):
                for handle in handles:
                    await handle.wait()
                outcomes = [await job.wait() for job in jobs]
        assert {outcome.status for outcome in outcomes} <= {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
        assert ended == dict.fromkeys((job.id for job in jobs), 1)
        assert sum(scheduler.statistics().ended.values()) == 300
        jobs.clear()
    await account_of(scheduler)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_storm_on_a_deep_flow_leaves_nothing() -> None:
    """Runs are cancelled at any moment, commands and all: each ends long before these would, and nothing is left."""
    text = """
        [blocks.a]
        foreach = [1, 2, 3]
        each = { parallel = [
            { shell = ["sleep", "600"], grace = 0.2 },
            { retry = 3, do = { sequence = [{ sleep = 0.002 }, { call = "hold" }] } },
            { wait_for = { sleep = 0.001 }, until = false, interval = 0.001 },
        ] }
        """
    flow = flow_of(text, hold=hold)
    async with Scheduler() as scheduler:
        for moment in (0, 0.001, 0.005, 0.02, 0.05, 0.1):
            flow_run = await scheduler.submit(flow)
            await anyio.sleep(moment)
            await flow_run.cancel("storm")
            with anyio.fail_after(60):
                outcome = await flow_run.wait()
            assert outcome.status is JobStatus.CANCELLED
            del flow_run, outcome
    await account_of(scheduler)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_drain_with_all_kinds_of_stuck_jobs_is_bounded_and_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that ignores its cancellation, a thread that does not return, and one that waits."""
    path = tmp_path / "jobs.sqlite"
    threads: list[bool] = []
    let_go = threading.Event()  # not `_released`, which is set only until the tasks have seen it

    @handler("hostile.thread")
    def never_return() -> None:
        let_go.wait()
        threads.append(True)

    handler("hostile.ignore")(ignore)
    handler("hostile.hold")(hold)
    scheduler = Scheduler(path, drain_timeout=0.05, cancel_timeout=0.3, close_timeout=0.2)
    with pytest.raises((ReleaseTimeout, ExceptionGroup)) as caught:
        async with scheduler:
            for number, name in enumerate(("hostile.ignore", "hostile.thread", "hostile.hold")):
                await scheduler.submit(name, name=f"stuck {number}")
            with anyio.fail_after(30):
                while scheduler.statistics().running < 3:
                    await anyio.sleep(0.005)
            await anyio.sleep(0.02)
    assert not _released.is_set()  # what is stuck ends no earlier than that: the block was left without it
    text = str(caught.value) + caplog.text
    assert "stuck 0" in text
    await release_all()
    let_go.set()
    with anyio.fail_after(30):
        while not threads:
            await anyio.sleep(0.005)
