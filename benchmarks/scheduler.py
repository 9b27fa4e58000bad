"""How fast the scheduler is beside its peers and beside what no scheduler can beat.

    python -m benchmarks.scheduler [--count N] [--rounds N] [--only NAME ...]

A closed loop keeps 200 trivial jobs outstanding for 8 workers (jobs/s, the median of ten parts); then 200 single jobs
are submitted to the idle queue (milliseconds from the call to the job's first line). Each candidate runs in a process
of its own, and the candidates take turns, so that what else the machine does hits all of them. Slower candidates get
fewer jobs. A peer that is not installed, or whose server is not there, is left out and named.

The floors are no schedulers: a bare ``asyncio.PriorityQueue``, and an SQLite thread that commits whatever waits
together (``synchronous=FULL``) with three statements for each job. They say what the machine can do at this moment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import queue
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import _scheduler_peers as peers
from benchmarks._scheduler_probe import WORKERS, Candidate, Probe, Result, Submit
from benchmarks._sizes import sized
from lifecycle.scheduler import Scheduler, handler

# The floors


@contextlib.asynccontextmanager
async def bare_priority_queue(probe: Probe) -> AsyncIterator[Submit]:
    """``asyncio.PriorityQueue`` and eight tasks that take from it."""
    line: asyncio.PriorityQueue[tuple[int, int]] = asyncio.PriorityQueue()

    async def work() -> None:
        while True:
            probe.ran((await line.get())[1])

    async def submit(number: int) -> None:
        line.put_nowait((0, number))

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(WORKERS)]
        yield submit
        for worker in workers:
            worker.cancel()


@contextlib.asynccontextmanager
async def bare_group_commit(probe: Probe) -> AsyncIterator[Submit]:
    """A thread that does what waits in one transaction: insert, then claim, then finish, each acknowledged."""
    loop = asyncio.get_running_loop()
    requests: queue.SimpleQueue[tuple[str, tuple[Any, ...], asyncio.Future[None]] | None] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as directory:
        writer = threading.Thread(target=_write, args=(Path(directory, "floor.sqlite"), requests, loop))
        writer.start()

        def ask(statement: str, *values: Any) -> asyncio.Future[None]:
            future = loop.create_future()
            requests.put((statement, values, future))
            return future

        line: asyncio.Queue[int] = asyncio.Queue()
        numbers = itertools.count(1)

        async def submit(number: int) -> None:
            row = next(numbers)
            await ask("INSERT INTO jobs (id, state, payload) VALUES (?, 'pending', '{}')", row)
            line.put_nowait(row)

        async def work() -> None:
            while True:
                row = await line.get()
                await ask("UPDATE jobs SET state = 'running' WHERE id = ?", row)
                probe.ran(0)
                await ask("UPDATE jobs SET state = 'done' WHERE id = ?", row)

        async with asyncio.TaskGroup() as group:
            # As many workers as jobs on their way: this floor is about the disk, not about eight workers.
            workers = [group.create_task(work()) for _ in range(200)]
            yield submit
            for worker in workers:
                worker.cancel()
        requests.put(None)
        await asyncio.to_thread(writer.join)


def _write(path: Path, requests: queue.SimpleQueue[Any], loop: asyncio.AbstractEventLoop) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT, payload TEXT)")
    db.execute("CREATE INDEX ready ON jobs (id) WHERE state = 'pending'")
    request = requests.get()
    while request is not None:
        batch = [request]
        while not requests.empty() and (request := requests.get()) is not None:
            batch.append(request)
        db.execute("BEGIN")
        for statement, values, _ in batch:
            db.execute(statement, values)
        db.execute("COMMIT")
        loop.call_soon_threadsafe(_acknowledge, [future for _, _, future in batch])
        request = None if request is None else requests.get()
    db.close()


def _acknowledge(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


# Ours

_running: list[Probe] = []


@handler("bench")
async def bench(number: int) -> None:
    _running[0].ran(number)


@contextlib.asynccontextmanager
async def in_memory(probe: Probe) -> AsyncIterator[Submit]:
    """This scheduler, without a store."""
    async with _ours(probe, None) as submit:
        yield submit


@contextlib.asynccontextmanager
async def durable(probe: Probe) -> AsyncIterator[Submit]:
    """This scheduler, on SQLite with ``synchronous=FULL``."""
    with tempfile.TemporaryDirectory() as directory:
        async with _ours(probe, Path(directory, "jobs.sqlite")) as submit:
            yield submit


@contextlib.asynccontextmanager
async def _ours(probe: Probe, store: Path | None) -> AsyncIterator[Submit]:
    _running[:] = [probe]
    async with Scheduler(store, workers=WORKERS) as scheduler:

        async def submit(number: int) -> None:
            await scheduler.submit(bench, number)

        yield submit


@dataclass(frozen=True)
class Entry:
    """One candidate: what it is, and how many jobs it is given in a round of 100,000."""

    candidate: Candidate
    share: float
    durable: bool


CANDIDATES: dict[str, Entry] = {
    "FLOOR asyncio.PriorityQueue": Entry(bare_priority_queue, 1.0, False),
    "lifecycle, in memory": Entry(in_memory, 0.4, False),
    "taskiq, in memory": Entry(peers.taskiq_memory, 0.2, False),
    "huey, memory": Entry(peers.huey_memory, 0.2, False),
    "APScheduler 3, memory": Entry(peers.apscheduler_memory, 0.05, False),
    "FLOOR group commit, SQLite FULL": Entry(bare_group_commit, 0.2, True),
    "lifecycle, SQLite FULL": Entry(durable, 0.2, True),
    "huey, SQLite": Entry(peers.huey_sqlite, 0.02, True),
    "APScheduler 3, SQLite": Entry(peers.apscheduler_sqlite, 0.01, True),
    "saq, Redis": Entry(peers.saq_redis, 0.02, True),
    "procrastinate, PostgreSQL": Entry(peers.postgres("procrastinate"), 0.01, True),
    "saq, PostgreSQL": Entry(peers.postgres("saq"), 0.01, True),
    "pgqueuer, PostgreSQL": Entry(peers.postgres("pgqueuer, batch 50"), 0.02, True),
}


def measure_here(name: str, count: int) -> Result:
    """Measure one candidate in this process."""
    logging.disable(logging.ERROR)

    async def measured() -> Result:
        return await Probe().measure(CANDIDATES[name].candidate, count)

    return asyncio.run(measured())


def measure_in_process(name: str, count: int) -> Result | str:
    """Measure one candidate in a process of its own; return why not, where it cannot be measured."""
    jobs = max(sized(1_000, 200), int(count * CANDIDATES[name].share))
    command = [sys.executable, "-m", "benchmarks.scheduler", "--here", name, "--count", str(jobs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = ended.stdout.splitlines()
    if ended.returncode or not lines:
        return (ended.stderr.splitlines() or ["it said nothing"])[-1]
    return Result(**json.loads(lines[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=sized(100_000, 200), help="jobs of the fastest candidate")
    parser.add_argument("--rounds", type=int, default=sized(3, 1), help="how often each candidate is measured")
    parser.add_argument(
        "--only",
        nargs="*",
        default=sized([], ["FLOOR", "lifecycle"]),
        help="only candidates with one of these words in the name",
    )
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure_here(options.here, options.count).to_dict()))
        return
    names = [name for name in CANDIDATES if not options.only or any(word in name for word in options.only)]
    results: dict[str, list[Result]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in list(results):
            result = measure_in_process(name, options.count)
            if isinstance(result, str):
                print(f"left out: {name}: {result}", flush=True)
                del results[name]
            else:
                results[name].append(result)
    print_table(results)


def print_table(results: dict[str, list[Result]]) -> None:
    """Print the medians, and ours by the best peer's."""

    def median(name: str, value: Callable[[Result], float]) -> float:
        return statistics.median(value(result) for result in results[name])

    print(f"\n{'':34} {'jobs/s':>9} {'cpu us':>8} {'p50 ms':>8} {'p99 ms':>8} {'B/job':>7}")
    for name in results:
        print(
            f"{name:34} {median(name, lambda r: r.rate):>9,.0f} {median(name, lambda r: r.cpu):>8.1f}"
            f" {median(name, lambda r: r.p50):>8.3f}"
            f" {median(name, lambda r: r.p99):>8.3f} {median(name, lambda r: r.slope):>7.1f}"
        )
    for is_durable, goal in ((False, 2.0), (True, 8.0)):
        rates = {name: median(name, lambda r: r.rate) for name in results if CANDIDATES[name].durable is is_durable}
        ours = next((rate for name, rate in rates.items() if name.startswith("lifecycle")), None)
        best = max((rate for name, rate in rates.items() if not name.startswith(("lifecycle", "FLOOR"))), default=None)
        if ours and best:
            kind, verdict = ("durable" if is_durable else "in memory"), ("reached" if ours >= goal * best else "missed")
            print(f"{kind}: {ours / best:.1f}x the best peer, goal {goal:g}: {verdict}")


if __name__ == "__main__":
    main()
