"""Draining and leaving: nothing begins any more, what runs may end or is interrupted, cancellations are passed on."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from lifecycle import OwnerClosed
from lifecycle.scheduler import Event, JobStatus, Scheduler, handler
from lifecycle.scheduler._engine.engine import Engine

from ..stores import Address, rows_at
from .handlers import Make, add, add_async, calls, note, released, wait_for_ever

pytestmark = pytest.mark.asyncio


async def test_leaving_lets_running_jobs_end_and_interrupts_the_rest(make: Make) -> None:
    """Within the drain timeout jobs end well; those that take longer are interrupted, as are those that wait."""
    release = anyio.Event()

    async def quick() -> str:
        await release.wait()
        return "ended"

    handler("test.quick")(quick)
    async with make(workers=2, drain_timeout=0.3) as scheduler:
        ends = await scheduler.submit(quick)
        stuck = await scheduler.submit(wait_for_ever)
        waits = await scheduler.submit(note, "waits")
        while scheduler.statistics().running < 2:
            await anyio.sleep(0.001)
        release.set()
    assert (await ends.wait()).result == "ended"
    assert (await stuck.wait()).status is JobStatus.INTERRUPTED
    assert (await waits.wait()).status is JobStatus.INTERRUPTED
    assert calls == []


async def test_a_closed_scheduler_refuses_work(make: Make) -> None:
    """Before and after its block there is a clear error."""
    scheduler = make()
    with pytest.raises(OwnerClosed, match="has not been entered"):
        await scheduler.submit(add, 1)
    async with scheduler:
        pass
    with pytest.raises(OwnerClosed, match="is closed"):
        await scheduler.submit(add, 1)


async def test_cancelling_the_body_drains_and_passes_the_cancellation_on(make: Make) -> None:
    """The block is left by a cancellation: jobs may end within the drain timeout, then it goes on."""
    ended = anyio.Event()

    async def body() -> None:
        async with make(drain_timeout=5.0) as scheduler:
            await scheduler.submit(note, "drained", delay=0.0)
            job = await scheduler.submit(add_async, 1)
            await job.wait()
            ended.set()
            await anyio.sleep_forever()

    task = asyncio.ensure_future(body())
    await ended.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == ["drained"]


async def test_a_cancellation_before_the_draining_has_begun_ends_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been taken was still given back, over a slow connection: the jobs that run are stopped all the same."""
    giving_back = anyio.Event()

    async def give_back(_: Engine) -> None:
        giving_back.set()
        await anyio.sleep_forever()

    async def body() -> None:
        async with make(drain_timeout=None, close_timeout=None) as scheduler:
            await scheduler.submit(wait_for_ever)
            while not scheduler.statistics().running:
                await anyio.sleep(0.001)

    monkeypatch.setattr(Engine, "drain", give_back)
    task = asyncio.ensure_future(body())
    await giving_back.wait()
    task.cancel()
    await asyncio.wait([task], timeout=30.0)
    assert task.cancelled()


async def test_a_cancellation_while_the_block_is_left_is_passed_on(make: Make) -> None:
    """The body had come to its end; the job that drains is interrupted, and the cancellation is not ignored."""
    leaving = anyio.Event()

    async def body() -> None:
        async with make(drain_timeout=60.0) as scheduler:
            await scheduler.submit(wait_for_ever)
            while not scheduler.statistics().running:
                await anyio.sleep(0.001)
            leaving.set()

    task = asyncio.ensure_future(body())
    await leaving.wait()
    await anyio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_drain_takes_no_more_jobs_from_the_store(durable: Address) -> None:
    """What has not begun is left as it was: it does not look as if it ran, and no attempt of it is counted."""
    path = durable
    released.clear()
    async with Scheduler(path, workers=2, on_event=lambda event: event.kind == "draining" and released.add("")) as one:
        for _ in range(2):
            await one.submit("test.held")
        while one.statistics().running < 2:
            await anyio.sleep(0.001)
        waiting = [(await one.submit("test.held")).id for _ in range(20)]
    states = rows_at(path, f"SELECT state, attempt FROM jobs WHERE id >= {waiting[0]}")
    assert states == [("pending", 0)] * 20


async def test_a_drain_fires_no_schedule(durable: Address) -> None:
    """What is due meanwhile is left to the next start, and to the schedule's policy for what was missed."""
    path = durable
    counts: list[int] = []
    released.clear()

    def count(event: Event) -> None:
        if event.kind == "draining":
            counts.extend(rows_at(path, "SELECT count(*) FROM jobs")[0])
            asyncio.get_running_loop().call_later(0.2, released.add, "")

    async with Scheduler(path, on_event=count) as scheduler:
        await scheduler.submit("test.held")
        await scheduler.schedule("often", "test.add", 1, fixed_rate=0.01)
        while scheduler.statistics().ended["succeeded"] < 2:
            await anyio.sleep(0.001)
    ((after,),) = rows_at(path, "SELECT count(*) FROM jobs")
    assert after <= counts[0] + 3, "one may just have been put in"


async def test_what_was_cancelled_while_it_was_given_back_is_interrupted_by_the_close(durable: Address) -> None:
    """It cannot begin any more, to be recorded as cancelled: that is no error, and the store has the last word."""
    async with Scheduler(durable, workers=1, drain_timeout=0.0) as scheduler:
        engine = scheduler._life.engine
        assert engine is not None
        engine._jobs_to_take = lambda: 5  # type: ignore[method-assign]
        await scheduler.submit(wait_for_ever)
        ahead = await scheduler.submit(note, "ahead")
        with anyio.fail_after(30):
            while not engine._line:
                await anyio.sleep(0.001)
        store = engine.store

        async def late(claimed: object, now: float) -> set[int]:
            await ahead.cancel("no")
            await engine._tasks.aclose()
            return set()

        store.give_back = late  # type: ignore[method-assign, assignment]
    assert (await ahead.wait()).status in (JobStatus.CANCELLED, JobStatus.INTERRUPTED)
    assert not engine.running
    assert engine.busy == 0
    assert calls == []
