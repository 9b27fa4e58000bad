"""Groups, and the functions that return results."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lifecycle import TaskGroup, amap, as_completed, gather, race

from ._kinds import Laps, case, fails_later, returns, starts, suspends, waits


@case
async def group_(n: int, laps: Laps) -> None:
    with laps("start_soon and join", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(suspends)
    with laps("create_task and join", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.create_task(suspends())
    with laps("under a limit", n):
        async with TaskGroup(limit=10) as group:
            for _ in range(n):
                group.start_soon(suspends)
    with laps("create_task under a limit", n):
        async with TaskGroup(limit=10) as group:
            for _ in range(n):
                group.create_task(suspends())
    with laps("cancel", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(waits)
            await asyncio.sleep(0)
            group.cancel()
    with laps("tasks that fail", n), suppress(ExceptionGroup):
        async with TaskGroup(policy="collect") as group:
            for _ in range(n):
                group.start_soon(fails_later)


@case
async def results(n: int, laps: Laps) -> None:
    with laps("gather", n):
        await gather(suspends() for _ in range(n))
    with laps("gather with exceptions", n):
        await gather((fails_later() for _ in range(n)), return_exceptions=True)
    with laps("amap", n):
        await amap(suspends, range(n))
    with laps("amap under a limit", n):
        await amap(suspends, range(n), limit=10)
    with laps("race", n):
        await race(returns, *[waits] * n)
    with laps("as_completed", n):
        async with as_completed(suspends() for _ in range(n)) as completions:
            async for _ in completions:
                pass
    with laps("as_completed, left", n):
        async with as_completed([returns(), *(waits() for _ in range(n))]) as completions:
            async for _ in completions:
                break


@case
async def group_started(n: int, laps: Laps) -> None:
    async with TaskGroup() as group:
        with laps("start", n):
            for _ in range(n):
                await group.start(starts)
        with laps("statistics, each", n):
            group.statistics()
        waiting = [asyncio.create_task(group.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        group.cancel()
    with laps("n waiters for the end", n):
        await asyncio.wait(waiting)
    with laps("race of n, create_task", n):
        async with TaskGroup(policy="race") as group:
            for _ in range(n):
                group.create_task(waits())
            group.create_task(returns())
    with laps("cancel tasks in line", n):
        async with TaskGroup(limit=2) as group:
            tasks = [group.create_task(waits()) for _ in range(n)]
            await asyncio.sleep(0)
            for task in reversed(tasks):
                task.cancel()
    with laps("time out", n), suppress(TimeoutError):
        async with TaskGroup(timeout=0.0) as group:
            for _ in range(n):
                group.start_soon(waits)
