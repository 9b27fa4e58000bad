"""Random flows: what is run, in which order, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import types
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import Event, JobStatus, Scheduler, flow_of_table

from ..stores import Address, Fresh
from ..tools import table_of


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    """Return a random flow of sleeping, failing and slow jobs."""
    count = draw(st.integers(1, 15))
    blocks = {}
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        kind = draw(st.sampled_from(["ok", "ok", "ok", "fail", "slow", "flaky"]))
        blocks[f"b{number}"] = {
            "call": kind,
            "args": [number],
            "needs": [f"b{needed}" for needed in sorted(needs)],
            "priority": draw(st.integers(-2, 2)),
            **({"timeout": 0.01} if kind == "slow" else {}),
            **({"retries": 1, "backoff": [0.0, 0.0]} if kind == "flaky" else {}),
        }
    return {"blocks": blocks}


@settings(max_examples=60, deadline=None)
@given(flows(), st.integers(1, 4), st.sampled_from(["memory", "sqlite"]))
def test_any_flow_is_run_in_order(fresh: Fresh, document: dict[str, Any], workers: int, kind: str) -> None:
    """Needs come first, the most urgent ready job is always next, and each ends as it must."""
    with fresh(kind) as address:
        events = asyncio.run(run(document, workers, address))
    check(document["blocks"], events)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(flows(), st.integers(1, 4))
def test_any_flow_is_run_in_order_on_postgres(fresh: Fresh, document: dict[str, Any], workers: int) -> None:
    """The same, less often."""
    with fresh("postgres") as address:
        events = asyncio.run(run(document, workers, address))
    check(document["blocks"], events)


async def run(document: dict[str, Any], workers: int, path: Address | None) -> list[Event]:
    """Run a flow and return its events; no task is left."""
    tried: set[int] = set()
    inside = most = 0

    @contextlib.asynccontextmanager
    async def counted() -> AsyncIterator[None]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            yield
        finally:
            inside -= 1

    async def ok(number: int) -> int:
        async with counted():
            await anyio.sleep(0)
        return number

    async def fail(number: int) -> None:
        raise ValueError(number)

    async def slow(number: int) -> None:
        async with counted():
            await anyio.sleep(60)

    async def flaky(number: int) -> None:
        if number not in tried:
            tried.add(number)
            raise OSError(number)

    handlers = table_of(ok=ok, fail=fail, slow=slow, flaky=flaky)
    events: list[Event] = []
    async with Scheduler(path, workers=workers, on_event=events.append) as scheduler:
        await (await scheduler.submit(flow_of_table(document, handlers=handlers))).wait()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert most <= workers
    return events


def check(blocks: dict[str, Any], events: list[Event]) -> None:
    """Check the order of starts and ends against what the flow says."""
    ended: dict[str, str] = {}
    running: set[str] = set()
    started: set[str] = set()
    for event in events:
        name = event.job or ""
        if event.kind == "job_started":
            assert all(ended.get(needed) == "succeeded" for needed in blocks[name]["needs"])
            assert name not in running
            running.add(name)
            started.add(name)
        elif event.kind == "job_retrying":
            running.discard(name)
        elif event.kind == "job_finished":
            running.discard(name)
            assert name not in ended
            ended[name] = event.data["status"]
    expected = {"ok": "succeeded", "flaky": "succeeded", "fail": "failed", "slow": "timed_out"}
    for name, block in blocks.items():
        runs = all(ended[needed] == "succeeded" for needed in block["needs"])
        assert ended[name] == (expected[block["call"]] if runs else "cancelled")
        assert (name in started) == runs


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_with_one_worker_priority_decides_and_then_the_order_of_coming(priorities: list[int]) -> None:
    """All are ready at once: the order of the starts is a stable sort."""
    blocks = {f"b{number}": {"sleep": 0, "priority": priority} for number, priority in enumerate(priorities)}
    events = asyncio.run(run({"blocks": blocks}, 1, None))
    order = [event.job for event in events if event.kind == "job_started"]
    assert order == sorted(blocks, key=lambda name: (-priorities[int(name[1:])], int(name[1:])))


@pytest.mark.asyncio
@pytest.mark.parametrize("depth", [1, 3])
async def test_a_cancel_at_any_depth_stops_within_a_second(depth: int) -> None:
    """Blocks in blocks in blocks: all are gone when the run has ended."""
    block: dict[str, Any] = {"sleep": 60}
    for _ in range(depth):
        block = {"parallel": [block, {"sequence": [{"retry": 3, "do": block}]}, {"foreach": [1, 2], "each": block}]}
    async with Scheduler() as scheduler:
        before = len(asyncio.all_tasks())
        run = await scheduler.submit(flow_of_table({"blocks": {"deep": block}}))
        with anyio.fail_after(60):
            while len(asyncio.all_tasks()) <= 4**depth:
                await anyio.sleep(0.01)
        began = time.process_time()
        with anyio.fail_after(30):
            await run.cancel()
            outcome = await run.wait()
        assert time.process_time() - began < 1
        assert outcome.jobs[0].status is JobStatus.CANCELLED
        await anyio.sleep(0)
        assert len(asyncio.all_tasks()) <= before


def belongs_to_jobs(thing: object) -> bool:
    """Return whether it may be something that a job has left: ours, a task, a coroutine, an error and its traceback."""
    kinds = (asyncio.Future, types.CoroutineType, BaseException, types.TracebackType)
    return isinstance(thing, kinds) or str(type(thing).__module__).startswith("lifecycle")


@pytest.mark.asyncio
async def test_two_thousand_hostile_jobs_leave_as_many_objects_as_there_were() -> None:
    """Success, failure, timeout, cancellation, retry: what is in memory is in flight (casebook C1, C2, C5, C6)."""

    async def hostile(number: int) -> Any:
        ballast = "x" * 10_000
        if number % 5 == 1:
            raise ValueError(ballast[:10])
        if number % 5 == 2:
            await anyio.sleep(60)
        await anyio.sleep(0)
        return number

    async def one(scheduler: Scheduler, number: int) -> None:
        timeout = 0.005 if number % 10 == 2 else None
        job = await scheduler.submit(hostile, number, timeout=timeout, retries=number % 3, backoff=(0.0, 0.001))
        if number % 10 == 7:
            await job.cancel()
        await job.wait()

    async def many(scheduler: Scheduler, first: int, count: int) -> Counter[str]:
        numbers = iter(range(first, first + count))

        async def member() -> None:
            for number in numbers:
                await one(scheduler, number)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(member)
        await anyio.sleep(0.01)
        gc.collect()
        return Counter(type(thing).__qualname__ for thing in gc.get_objects() if belongs_to_jobs(thing))

    async with Scheduler(workers=50) as scheduler:
        await many(scheduler, 0, 500)
        before = await many(scheduler, 500, 500)
        after = await many(scheduler, 1_000, 1_000)
        ended = scheduler.statistics().ended
    assert sum(ended.values()) == 2_000
    # The numbers of a job are in the context of its timers, and asyncio keeps up to a hundred that were cancelled.
    kept = {"CurrentJob": 100}
    assert not {name: number for name, number in (after - before).items() if number > kept.get(name, 5)}
