"""What lives costs memory: bytes per live idle task, and what ten million background tasks leave behind.

    python -m benchmarks.memory                 memory per live idle task, ours beside the peers
    python -m benchmarks.memory --soak 10000000 background tasks through one manager, 1% failing, 1% cancelled

Each candidate of the first table runs in a process of its own, because memory that was once taken is not given back.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import anyio

from benchmarks._peers import NotInstalled, peer
from benchmarks._sizes import sized
from lifecycle import Scope, TaskHandle, TaskManager

aiojobs = peer("aiojobs")

TASKS = sized(50_000, 500)
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def idle(stop: asyncio.Event) -> None:
    await stop.wait()


async def bare(stop: asyncio.Event) -> object:
    return {asyncio.create_task(idle(stop)) for _ in range(TASKS)}


async def manager(stop: asyncio.Event) -> object:
    owner = TaskManager(drain_timeout=None)
    for _ in range(TASKS):
        owner.start_soon(idle, stop)
    return owner


async def scope(stop: asyncio.Event) -> object:
    owner = Scope()
    for _ in range(TASKS):
        owner.start_soon(idle, stop)
    return owner


async def jobs(stop: asyncio.Event) -> object:
    scheduler = aiojobs.Scheduler(limit=None)
    for _ in range(TASKS):
        await scheduler.spawn(idle(stop))
    return scheduler


async def anyio_group(stop: asyncio.Event) -> object:
    group = anyio.create_task_group()
    await group.__aenter__()
    for _ in range(TASKS):
        group.start_soon(idle, stop)
    return group


CANDIDATES = {
    "bare create_task + set": bare,
    "lifecycle.TaskManager": manager,
    "lifecycle.Scope": scope,
    "aiojobs": jobs,
    "anyio.TaskGroup": anyio_group,
}


async def measure(name: str) -> None:
    """Print the bytes that each of many live idle tasks of one candidate takes."""
    stop = asyncio.Event()
    gc.collect()
    before = resident_bytes()
    try:
        owner = await CANDIDATES[name](stop)
    except NotInstalled as error:
        print(json.dumps({"left out": str(error)}))
        return
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    taken = (resident_bytes() - before) / TASKS
    print(json.dumps({"bytes": taken}), flush=True)
    del owner
    os._exit(0)  # the tasks are of no further use


def compare() -> None:
    """Measure every candidate three times, each in its own process, and print the medians."""
    taken: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(sized(3, 1)):
        for name in list(taken):
            command = [sys.executable, "-m", "benchmarks.memory", "--candidate", name]
            told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            if "left out" in told:
                print(f"left out: {name}: {told['left out']}")
                del taken[name]
            else:
                taken[name].append(told["bytes"])
    medians = {name: statistics.median(values) for name, values in taken.items()}
    base = medians["bare create_task + set"]
    print(f"memory per live idle task, {TASKS:,} tasks, median of 3 processes")
    for name, value in medians.items():
        goal = "goal 1.25" if name == "lifecycle.TaskManager" else ""
        print(f"  {name:28} {value:>8,.0f} B {value / base:>6.2f} {goal}")


def count_objects() -> Counter[str]:
    """Return how many objects of each type the collector knows."""
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


async def soak(total: int) -> None:
    """Push *total* tasks through one manager and print what is alive at the checkpoints."""
    logging.getLogger("lifecycle").setLevel(logging.CRITICAL)
    batch = 1_000
    started = time.perf_counter()
    first: tuple[int, Counter[str]] | None = None

    async def work(number: int) -> int:
        if number % 100 == 1:
            raise ValueError(number)
        if number % 100 == 2:
            await asyncio.sleep(3600)
        await asyncio.sleep(0)
        return number

    def cancel(handles: list[TaskHandle[int]]) -> None:
        for handle in handles[2::100]:
            handle.cancel()

    async with TaskManager("soak") as owner:
        for begin in range(0, total, batch):
            handles = [owner.start_soon(work, number) for number in range(begin, begin + batch)]
            await asyncio.sleep(0)
            cancel(handles)
            del handles
            await owner.drain()
            done = begin + batch
            if done in (100_000, total) or done % (total // 10) == 0:
                objects = count_objects()
                print(
                    f"{done:>12,} tasks  {resident_bytes() / 1e6:>7.1f} MB  {objects.total():>9,} objects", flush=True
                )
                if done == 100_000:
                    first = resident_bytes(), objects
        statistics = owner.statistics()
    print(statistics)
    seconds = time.perf_counter() - started
    print(f"{total / seconds:,.0f} tasks/s over {seconds:.0f} s")
    if first is not None:
        grown = count_objects() - first[1]
        megabytes = (resident_bytes() - first[0]) / 1e6
        print(f"RSS {megabytes:+.2f} MB since the first 100,000; objects that grew: {dict(grown)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidate", choices=CANDIDATES, help="measure one candidate in this process")
    parser.add_argument("--soak", type=int, metavar="TASKS", help="push so many tasks through one manager")
    options = parser.parse_args()
    if options.candidate:
        asyncio.run(measure(options.candidate))
    elif options.soak:
        asyncio.run(soak(options.soak))
    else:
        compare()


if __name__ == "__main__":
    main()
