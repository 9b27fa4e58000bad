"""What structured work costs: groups, limited groups, and one function over many items, beside the peers.

    python -m benchmarks.groups [--rounds N] [--loop asyncio|uvloop|both]

The baseline of each table is what people write with the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from benchmarks._measure import AsyncCase, compare, main, print_rows
from benchmarks._peers import peer
from lifecycle import TaskGroup, amap, as_completed, gather

aiojobs, aiometer, aiotools, quattro = map(peer, ("aiojobs", "aiometer", "aiotools", "quattro"))

LIMIT = 100

Body = Callable[[], Awaitable[Any]]


async def noop() -> None:
    pass


async def one_yield() -> None:
    await asyncio.sleep(0)


async def one_yield_for(_: int) -> None:
    await asyncio.sleep(0)


def spawning(body: Body) -> dict[str, AsyncCase]:
    """Start *count* tasks in one group and join them."""

    def with_create_task(group_class: Any) -> AsyncCase:
        async def case(count: int) -> None:
            async with group_class() as group:
                for _ in range(count):
                    group.create_task(body())

        return case

    def with_start_soon(new_group: Any) -> AsyncCase:
        async def case(count: int) -> None:
            async with new_group() as group:
                for _ in range(count):
                    group.start_soon(body)

        return case

    return {
        "asyncio.TaskGroup": with_create_task(asyncio.TaskGroup),
        "lifecycle.TaskGroup, create_task": with_create_task(TaskGroup),
        "lifecycle.TaskGroup, start_soon": with_start_soon(TaskGroup),
        "quattro.TaskGroup": with_create_task(quattro.TaskGroup),
        "aiotools.TaskScope": with_create_task(aiotools.TaskScope),
        "anyio.TaskGroup": with_start_soon(anyio.create_task_group),
    }


def small_groups() -> dict[str, AsyncCase]:
    """Enter, start two tasks, join: *count* times one after the other."""

    def of(group_class: Any) -> AsyncCase:
        async def case(count: int) -> None:
            for _ in range(count):
                async with group_class() as group:
                    group.create_task(one_yield())
                    group.create_task(one_yield())

        return case

    async def with_anyio(count: int) -> None:
        for _ in range(count):
            async with anyio.create_task_group() as group:
                group.start_soon(one_yield)
                group.start_soon(one_yield)

    return {
        "asyncio.TaskGroup": of(asyncio.TaskGroup),
        "lifecycle.TaskGroup": of(TaskGroup),
        "quattro.TaskGroup": of(quattro.TaskGroup),
        "aiotools.TaskScope": of(aiotools.TaskScope),
        "anyio.TaskGroup": with_anyio,
    }


def bounded() -> dict[str, AsyncCase]:
    """Start *count* tasks of which LIMIT run at once."""

    async def idiom(count: int) -> None:
        slots = asyncio.Semaphore(LIMIT)

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                await slots.acquire()
                group.create_task(one_yield()).add_done_callback(lambda _: slots.release())

    async def inside(count: int) -> None:
        slots = asyncio.Semaphore(LIMIT)

        async def work() -> None:
            async with slots:
                await one_yield()

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())

    async def ours(count: int) -> None:
        async with TaskGroup(limit=LIMIT) as group:
            for _ in range(count):
                group.start_soon(one_yield)

    async def ours_native(count: int) -> None:
        async with TaskGroup(limit=LIMIT) as group:
            for _ in range(count):
                group.create_task(one_yield())

    async def jobs(count: int) -> None:
        async with aiojobs.Scheduler(limit=LIMIT) as scheduler:
            for _ in range(count):
                await scheduler.spawn(one_yield())
            await scheduler.wait_and_close()

    return {
        "asyncio.TaskGroup, acquire before spawn": idiom,
        "asyncio.TaskGroup, acquire inside": inside,
        "lifecycle.TaskGroup(limit), start_soon": ours,
        "lifecycle.TaskGroup(limit), create_task": ours_native,
        "aiojobs": jobs,
    }


def mapping() -> dict[str, AsyncCase]:
    """Call one function for *count* items, LIMIT at once, results in order."""

    async def idiom(count: int) -> None:
        slots = asyncio.Semaphore(LIMIT)

        async def work(item: int) -> None:
            async with slots:
                await one_yield_for(item)

        await asyncio.gather(*(work(item) for item in range(count)))

    async def floor(count: int) -> None:
        items = iter(range(count))

        async def work() -> None:
            for item in items:
                await one_yield_for(item)

        await asyncio.gather(*(work() for _ in range(LIMIT)))

    async def ours(count: int) -> None:
        await amap(one_yield_for, range(count), limit=LIMIT)

    async def ours_gather(count: int) -> None:
        await gather((one_yield_for(item) for item in range(count)), limit=LIMIT)

    async def ours_as_completed(count: int) -> None:
        async with as_completed((one_yield_for(item) for item in range(count)), limit=LIMIT) as completions:
            async for _ in completions:
                pass

    async def meter(count: int) -> None:
        await aiometer.run_on_each(one_yield_for, range(count), max_at_once=LIMIT)

    return {
        "asyncio.gather + Semaphore": idiom,
        "(floor: tasks share the items, no results)": floor,
        "lifecycle.amap": ours,
        "lifecycle.gather(limit), lazy": ours_gather,
        "lifecycle.as_completed(limit), lazy": ours_as_completed,
        "aiometer.run_on_each": meter,
    }


async def benchmark(options: argparse.Namespace) -> None:
    """Print one table per question."""
    for body in (noop, one_yield):
        rows = await compare(spawning(body), count=5_000, rounds=options.rounds)
        print_rows(f"one group, 5,000 tasks ({body.__name__})", rows)
    rows = await compare(small_groups(), count=1_000, rounds=options.rounds)
    print_rows("a group with two tasks", rows)
    rows = await compare(bounded(), count=5_000, rounds=options.rounds)
    print_rows(f"one group, 5,000 tasks, {LIMIT} at once", rows, {"lifecycle.TaskGroup(limit), start_soon": 0.80})
    rows = await compare(mapping(), count=5_000, rounds=options.rounds)
    print_rows(f"one function over 5,000 items, {LIMIT} at once", rows, {"lifecycle.amap": 0.15})


if __name__ == "__main__":
    main(__doc__, benchmark)
