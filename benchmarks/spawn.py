"""What a background task costs: ours with its full record beside the idiom and the peers.

    python -m benchmarks.spawn [--rounds N] [--loop asyncio|uvloop|both]

The idiom is ``create_task`` + a set + ``add_done_callback(set.discard)``, which keeps no name, time, error or count.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import anyio

from benchmarks._measure import compare, main, print_rows
from benchmarks._peers import peer
from lifecycle import Scope, TaskManager

aiojobs = peer("aiojobs")

LIMIT = 100


async def noop() -> None:
    pass


async def one_yield() -> None:
    await asyncio.sleep(0)


def cases(body, *, eager: bool = False):  # type: ignore[no-untyped-def]
    async def idiom(count: int) -> None:
        tasks = set()
        for _ in range(count):
            task = asyncio.create_task(body())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.sleep(0)

    async def manager(count: int) -> None:
        async with TaskManager(eager=eager) as tasks:
            for _ in range(count):
                tasks.start_soon(body)

    async def scope(count: int) -> None:
        async with Scope() as tasks:
            for _ in range(count):
                tasks.start_soon(body)
            while tasks._books:
                await asyncio.sleep(0)

    async def group(count: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(body())

    async def anyio_group(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(body)

    async def jobs(count: int) -> None:
        async with aiojobs.Scheduler(limit=None) as scheduler:
            for _ in range(count):
                await scheduler.spawn(body())
            await scheduler.wait_and_close()

    ours = {"lifecycle.TaskManager, eager": manager} if eager else {"lifecycle.TaskManager": manager}
    if eager:
        return {"idiom": idiom} | ours
    peers = {"asyncio.TaskGroup": group, "aiojobs": jobs, "anyio.TaskGroup": anyio_group}
    return {"idiom": idiom} | ours | {"lifecycle.Scope": scope} | peers


def bounded_cases():  # type: ignore[no-untyped-def]
    async def idiom(count: int) -> None:
        tasks = set()
        slots = asyncio.Semaphore(LIMIT)

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            slots.release()

        for _ in range(count):
            await slots.acquire()
            task = asyncio.create_task(one_yield())
            tasks.add(task)
            task.add_done_callback(done)
        while tasks:
            await asyncio.sleep(0)

    async def manager(count: int) -> None:
        async with TaskManager(limit=LIMIT) as tasks:
            for _ in range(count):
                await tasks.spawn(one_yield)

    async def queued(count: int) -> None:
        async with TaskManager(limit=LIMIT) as tasks:
            for _ in range(count):
                tasks.start_soon(one_yield)

    async def jobs(count: int) -> None:
        async with aiojobs.Scheduler(limit=LIMIT) as scheduler:
            for _ in range(count):
                await scheduler.spawn(one_yield())
            await scheduler.wait_and_close()

    return {
        "idiom": idiom,
        "lifecycle.TaskManager, spawn": manager,
        "lifecycle.TaskManager, start_soon": queued,
        "aiojobs": jobs,
    }


async def benchmark(options: argparse.Namespace) -> None:
    goal = {"lifecycle.TaskManager": 0.95, "lifecycle.TaskManager, eager": 0.40}
    rows = await compare(cases(noop), count=1_000, rounds=10 * options.rounds)
    print_rows("spawn and complete, empty task, 1,000 at once", rows, goal)
    rows = await compare(cases(one_yield), count=1_000, rounds=10 * options.rounds)
    print_rows("spawn and complete, task that yields once, 1,000 at once", rows, goal)
    rows = await compare(cases(noop), count=20_000, rounds=options.rounds)
    print_rows("spawn and complete, empty task, 20,000 at once", rows)
    if sys.version_info >= (3, 12):
        rows = await compare(cases(noop, eager=True), count=1_000, rounds=10 * options.rounds)
        print_rows("spawn eagerly and complete, empty task", rows, goal)
    rows = await compare(bounded_cases(), count=10_000, rounds=options.rounds)
    print_rows(f"spawn with limit {LIMIT}, one producer", rows, {"lifecycle.TaskManager, spawn": 0.80})


if __name__ == "__main__":
    main(__doc__, benchmark)
