"""Limits with schedulers that work: over several of them, while they run, and from outside."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from lifecycle import Rate
from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._store.limits import EVERYTHING, Limit, LimitKey

from ..stores import Address, outside_of
from ..tools import flow_of

at_work: Counter[str] = Counter()
most: Counter[str] = Counter()
begun: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing has begun."""
    for kept in (at_work, most):
        kept.clear()
    begun.clear()


@handler("limits.work")
async def work(name: str, together: int = 1) -> None:
    """Say what is at work, and how much of it at most; end when there once were so many."""
    begun.append(name)
    at_work[name] += 1
    most[name] = max(most[name], at_work[name])
    while most[name] < together:
        await anyio.sleep(0.001)
    await anyio.sleep(0.03)
    at_work[name] -= 1


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [{"queue": "narrow"}, {"handler": "limits.work"}, {}], ids=["queue", "handler", "all"])
async def test_two_schedulers_keep_to_one_limit(durable: Address, key: dict[str, str]) -> None:
    """Never more at once than it says, over both together."""
    async with Scheduler(durable) as one, Scheduler(durable) as other:
        await one.limits.set(**key, limit=3)
        jobs = [await scheduler.submit(work, "x", 3, queue="narrow") for _ in range(20) for scheduler in (one, other)]
        with anyio.fail_after(60):
            for job in jobs:
                assert (await job.wait()).succeeded
    assert most["x"] == 3


@pytest.mark.asyncio
async def test_a_full_queue_leaves_the_workers_to_others(address: Address | None) -> None:
    """Also what is taken ahead of the workers, and the blocks of a flow."""
    flow = flow_of(
        """
        name = "mixed"
        [blocks.narrow]
        queue = "narrow"
        sleep = 3600
        [blocks.wide]
        sleep = 0
        """
    )
    async with Scheduler(address, drain_timeout=0.0) as scheduler:
        await scheduler.limits.set(queue="narrow", limit=0)
        run = await scheduler.submit(flow)
        blocked = [await scheduler.submit(work, "blocked", queue="narrow", priority=9) for _ in range(50)]
        with anyio.fail_after(20):
            for job in [await scheduler.submit(work, "free") for _ in range(50)]:
                await job.wait()
            while [job.status.value for job in await scheduler.jobs(run=run.id)] != ["pending", "succeeded"]:
                await anyio.sleep(0.01)
        assert set(begun) == {"free"}
        assert not any(job.done for job in blocked)
        await run.cancel()
        await scheduler.limits.set(queue="narrow")
        with anyio.fail_after(20):
            for job in blocked:
                await job.wait()


@pytest.mark.asyncio
async def test_a_pause_from_outside_is_seen_and_ends(durable: Address) -> None:
    """Within about a second, by a scheduler that does nothing else."""
    path = durable
    async with Scheduler(path) as scheduler:
        outside = outside_of(path)
        assert outside.pause(EVERYTHING, paused=True)
        job = await scheduler.submit(work, "x")
        await anyio.sleep(0.1)
        assert begun == []
        assert outside.pause(EVERYTHING, paused=False)
        outside.put_limit(Limit(LimitKey("queue", "default"), at_once=5))
        with anyio.fail_after(20):
            assert (await job.wait()).succeeded
        assert [(it.kind, it.limit, it.paused) for it in await scheduler.limits.records()] == [("queue", 5, False)]
    async with Scheduler(path) as scheduler:
        assert [(it.kind, it.limit) for it in await scheduler.limits.records()] == [("queue", 5)], "it is the store's"


@pytest.mark.asyncio
async def test_a_rate_is_kept_by_itself(address: Address | None) -> None:
    """Who was held back begins when it opens, without anything else happening."""
    async with Scheduler(address) as scheduler:
        await scheduler.limits.set(handler="limits.work", rate=Rate(20))
        jobs = [await scheduler.submit(work, "x") for _ in range(5)]
        with anyio.fail_after(20):
            began = anyio.current_time()
            for job in jobs:
                await job.wait()
        assert anyio.current_time() - began >= 4 / 20 - 0.05


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"queue": "a", "handler": "b"}, ValueError),
        ({"queue": ""}, ValueError),
        ({"queue": 5}, TypeError),
        ({"queue": "a\nb"}, ValueError),
        ({"handler": "x" * 201}, ValueError),
        ({"limit": -1}, ValueError),
        ({"limit": 1.5}, TypeError),
        ({"rate": 5}, TypeError),
        ({"queue": "a", "weight": 0.0}, ValueError),
        ({"queue": "a", "weight": "1"}, TypeError),
        ({"queue": "a", "weight": float("nan")}, ValueError),
        ({"handler": "a", "weight": 2.0}, ValueError),
    ],
    ids=str,
)
async def test_wrong_limits_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """Before anything has changed."""
    async with Scheduler() as scheduler:
        with pytest.raises(error):
            await scheduler.limits.set(**settings)
        for queue in ("", "a\x00b", 7):
            with pytest.raises((TypeError, ValueError), match="queue"):
                await scheduler.submit(work, "x", queue=queue)  # type: ignore[call-overload]
        assert await scheduler.limits.records() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [{"queue": "narrow"}, {"handler": "limits.work"}, {}], ids=["queue", "handler", "all"])
async def test_a_job_says_which_limit_it_waits_for(address: Address | None, key: dict[str, str]) -> None:
    """A pause before all others; in a list and by itself, and from outside."""
    name = next((f"{kind} {name!r}" for kind, name in key.items()), "the whole store")
    path = address
    async with Scheduler(path, workers=1, drain_timeout=0.0) as scheduler:
        await scheduler.limits.set(**key, limit=0)
        job = await scheduler.submit(work, "x", queue="narrow")

        async def waits_for() -> str:
            shown = await scheduler.job(job.id)
            assert shown is not None
            assert [one.waits_for for one in await scheduler.jobs(status=JobStatus.PENDING)] == [shown.waits_for]
            if path is not None:
                assert shown.waits_for in [one.waits_for for one in outside_of(path).jobs()]
            assert shown.waits_for is not None
            return shown.waits_for

        assert await waits_for() == f"a place of {name}: 0 of 0 are taken"
        await scheduler.limits.pause(**key)
        assert await waits_for() == f"{name} to be resumed"
        await scheduler.limits.set(**key, rate=Rate(1, per=3600.0))
        await scheduler.limits.resume(**key)
        assert (await job.wait()).succeeded
        job = await scheduler.submit(work, "x", queue="narrow")
        assert (await waits_for()).startswith(f"the rate of {name}, which lets in the next one at 20")
        await scheduler.limits.set(queue="else", limit=0)
        await scheduler.limits.pause(queue="narrow")
        assert await waits_for() == "queue 'narrow' to be resumed"
