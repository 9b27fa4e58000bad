"""How a queue on PostgreSQL is measured: worker processes, a client, and the tally between them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks._postgres_peers import Client
from benchmarks._postgres_queues import QUEUES
from benchmarks._postgres_server import database
from benchmarks._scheduler_probe import OUTSTANDING, SINGLES
from benchmarks._tally import Tally

PATIENCE = 60.0
"""So many seconds without a job mean that the queue stands still."""


class StandsStill(Exception):
    """No job has begun for a long time."""


@dataclass(frozen=True)
class Growth:
    """What one worker was like over a long run.

    Attributes:
        rate: jobs per second.
        slope: bytes by which the worker grew with each job, over the second half: least squares over what was resident
            at how many jobs, looked at five times a second.
        quarters: the same over each quarter.
        grown: the types with the most additional live objects, from the middle to the end.
        sizes: its resident memory at each tenth of the run, in MB.
    """

    rate: float
    slope: float
    quarters: Sequence[float]
    grown: Sequence[tuple[str, int]]
    sizes: Sequence[float]


@dataclass
class Bench:
    """One queue in a database of its own, with its workers.

    Attributes:
        name: of the queue.
        address: of the database.
        tally: the workers' count.
        client: what submits.
        workers: their processes.
    """

    name: str
    address: str
    tally: Tally
    path: Path
    client: Client
    workers: list[asyncio.subprocess.Process]

    async def start_workers(self, count: int, *arguments: str) -> None:
        """Start so many worker processes; they need not be up yet."""
        for index in range(len(self.workers), len(self.workers) + count):
            command = [
                sys.executable, "-m", "benchmarks._postgres_worker", self.name, self.address, str(self.path),
                str(index), *arguments,
            ]  # fmt: skip
            self.workers.append(await asyncio.create_subprocess_exec(*command))

    async def wait_for(self, total: int) -> float:
        """Wait until so many jobs have begun in all; return when that was seen."""
        seen, since = -1, time.perf_counter()
        while (now := self.tally.total()) < total:
            if now != seen:
                seen, since = now, time.perf_counter()
            if time.perf_counter() - since > PATIENCE:
                raise StandsStill(f"{self.name}: {now} of {total} jobs have begun")
            await asyncio.sleep(0.0005)
        return time.perf_counter()

    async def loop(self, count: int) -> float:
        """Keep 200 jobs on their way until so many have begun; return how many there were in a second."""
        base = self.tally.total()
        room = asyncio.Semaphore(OUTSTANDING)
        numbers = iter(range(count))

        async def submit() -> None:
            for number in numbers:
                await room.acquire()
                await self.client.submit(number)

        async def release() -> None:
            released = 0
            while released < count:
                await asyncio.sleep(0.0005)
                now = min(count, self.tally.total() - base)
                for _ in range(now - released):
                    room.release()
                released = now

        begin = time.perf_counter()
        async with asyncio.timeout(PATIENCE + count / 20), asyncio.TaskGroup() as group:
            group.create_task(release())
            for _ in range(OUTSTANDING):
                group.create_task(submit())
        return count / (time.perf_counter() - begin)

    async def latencies(self) -> list[float]:
        """Return the milliseconds from the call that submits a job to its first line, of single jobs, sorted."""
        found = []
        for number in range(SINGLES):
            await asyncio.sleep(0.005)
            total = self.tally.total() + 1
            begin = time.perf_counter()
            await self.client.submit(number)
            await self.wait_for(total)
            found.append((self.tally.last() - begin) * 1e3)
        return sorted(found)


@contextlib.asynccontextmanager
async def bench(name: str, address: str) -> AsyncIterator[Bench]:
    """Install a queue in a new database of the server; end its workers at the end."""
    queue = QUEUES[name]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tally")
        async with database(address) as own:
            await queue.install(own)
            async with queue.client(own) as client:
                running = Bench(name, own, Tally(path), path, client, [])
                try:
                    yield running
                finally:
                    await end(running.workers)


async def end(workers: list[asyncio.subprocess.Process]) -> None:
    """End worker processes, the ones that do not want to as well."""
    for worker in workers:
        if worker.returncode is None:
            worker.terminate()
    for worker in workers:
        try:
            await asyncio.wait_for(worker.wait(), 5)
        except TimeoutError:
            worker.kill()
            await worker.wait()


async def throughput(name: str, address: str, workers: int, count: int) -> float:
    """Return jobs per second of a closed loop of 200 with so many worker processes: the median of five parts."""
    async with bench(name, address) as running:
        await running.start_workers(workers)
        await running.loop(max(OUTSTANDING, count // 5))
        return statistics.median([await running.loop(max(1, count // 5)) for _ in range(5)])


async def latency(name: str, address: str) -> tuple[float, float]:
    """Return the median and the 99th percentile of submit to start, in milliseconds, with one idle worker."""
    async with bench(name, address) as running:
        await running.start_workers(1)
        await running.loop(OUTSTANDING)
        found = await running.latencies()
        return statistics.median(found), found[int(len(found) * 0.99)]


async def draining(name: str, address: str, workers: int, backlog: int, count: int) -> float:
    """Return jobs per second of so many jobs, taken while at least *backlog* others wait."""
    async with bench(name, address) as running:
        head = max(10, count // 10)
        await running.client.fill(backlog + head + count)
        await running.start_workers(workers)
        begin = await running.wait_for(head)
        first = running.tally.total()
        ended = await running.wait_for(first + count)
        return (running.tally.total() - first) / (ended - begin)


async def under_a_snapshot(name: str, address: str, workers: int, count: int) -> tuple[float, float]:
    """Return jobs per second of the first and of the last fifth, while a stranger keeps an old snapshot.

    What is dead cannot be swept then, and whoever looks for the next job goes over it.
    """
    import asyncpg

    async with bench(name, address) as running:
        await running.start_workers(workers)
        await running.loop(OUTSTANDING)
        stranger = await asyncpg.connect(running.address)
        try:
            await stranger.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
            rates = [await running.loop(max(1, count // 5)) for _ in range(5)]
        finally:
            await stranger.close()
        return rates[0], rates[-1]


async def memory(name: str, address: str, count: int) -> Growth:
    """Return how one worker grows over so many jobs of the failing mix."""
    half = count // 2
    async with bench(name, address) as running:
        # The first look is for what it does to the process: it takes, and gives back, a large block. From then on glibc
        # takes what is not larger from its heap, as it does in every process that lives for long.
        await running.start_workers(1, "--failing", "--look-at", "1", str(half), str(count))
        process = psutil.Process(running.workers[0].pid)
        points: list[tuple[int, int]] = []

        async def sample() -> None:
            while True:
                points.append((running.tally.total(), process.memory_info().rss))
                await asyncio.sleep(0.2)

        sampling = asyncio.create_task(sample())
        try:
            rate = await running.loop(count)
        finally:
            sampling.cancel()
        paths = [running.path.with_name(f"{running.path.name}.0.{jobs}") for jobs in (half, count)]
        async with asyncio.timeout(10):
            while not all(path.exists() for path in paths):
                await asyncio.sleep(0.05)
        before, after = (Counter(json.loads(path.read_text())) for path in paths)
        gc.collect()
        tenths = [max(size for jobs, size in points if jobs <= count * tenth // 10) for tenth in range(1, 11)]
        return Growth(
            rate,
            # Not the first moments: counting what is alive takes room.
            _slope(points, half + count // 20, count),
            [_slope(points, count * quarter // 4, count * (quarter + 1) // 4) for quarter in range(4)],
            (after - before).most_common(4),
            [size / 1e6 for size in tenths],
        )


def _slope(points: Sequence[tuple[int, int]], first: int, last: int) -> float:
    """Return bytes per job between two numbers of jobs, by least squares."""
    part = [point for point in points if first <= point[0] <= last]
    return statistics.linear_regression(*zip(*part, strict=True)).slope if len(set(part)) > 2 else 0.0
