"""Storms of cancellations: each job and each run ends once, as soon as it can, and nothing is left."""

from __future__ import annotations

import asyncio
from collections import Counter

import anyio
import pytest

from lifecycle import TaskManager
from lifecycle.scheduler import Event, Flow, JobStatus, Scheduler
from lifecycle.testing import Bubble

from ...loops import virtual
from ..tools import flow_of
from .handlers import account_of


async def hold() -> None:
    """Wait until it is cancelled."""
    await anyio.sleep_forever()


@virtual
async def test_a_storm_of_cancellations(bubble: Bubble) -> None:
    """Five tasks cancel every job, again and again, while jobs come and go: each job ends once, as soon as it can."""
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
            for handle in handles:
                await handle.wait()
            outcomes = [await job.wait() for job in jobs]
        assert bubble.clock.now == 0.001
        assert Counter(outcome.status for outcome in outcomes) == {JobStatus.CANCELLED: 300}
        assert started == 20
        assert ended == dict.fromkeys((job.id for job in jobs), 1)
        assert sum(scheduler.statistics().ended.values()) == 300
        jobs.clear()
    await account_of(scheduler)
    assert asyncio.all_tasks() == {asyncio.current_task()}


MOMENTS = (0, 0.001, 0.005, 0.02, 0.05, 0.1)


def deep_flow(endless: str) -> Flow:
    """Return a flow that does *endless* beside other things, inside of others."""
    text = """
        [blocks.a]
        foreach = [1, 2, 3]
        each = { parallel = [
            ENDLESS,
            { retry = 3, do = { sequence = [{ sleep = 0.002 }, { call = "hold" }] } },
            { wait_for = { sleep = 0.001 }, until = false, interval = 0.001 },
        ] }
        """
    return flow_of(text.replace("ENDLESS", endless), hold=hold)


@virtual
async def test_a_storm_on_a_deep_flow_takes_no_time(bubble: Bubble) -> None:
    """Runs are cancelled at any moment: each ends at that very moment."""
    flow = deep_flow("{ sleep = 600 }")
    async with Scheduler() as scheduler:
        for moment in MOMENTS:
            flow_run = await scheduler.submit(flow)
            await anyio.sleep(moment)
            before = bubble.clock.now
            await flow_run.cancel("storm")
            assert (await flow_run.wait()).status is JobStatus.CANCELLED
            assert bubble.clock.now == before
    await account_of(scheduler)


@pytest.mark.asyncio
async def test_a_storm_on_a_deep_flow_leaves_nothing() -> None:
    """Runs are cancelled at any moment, commands and all: each ends long before these would, and nothing is left."""
    flow = deep_flow('{ shell = ["sleep", "600"], grace = 0.2 }')
    async with Scheduler() as scheduler:
        for moment in MOMENTS:
            flow_run = await scheduler.submit(flow)
            await anyio.sleep(moment)
            await flow_run.cancel("storm")
            with anyio.fail_after(60):
                outcome = await flow_run.wait()
            assert outcome.status is JobStatus.CANCELLED
            del flow_run, outcome
    await account_of(scheduler)
    assert asyncio.all_tasks() == {asyncio.current_task()}
