"""Stores of the scheduler, with n jobs: submitted, run, looked at, cancelled, taken over, swept away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._store.records import NewJob
from lifecycle.scheduler._store.retention import Retention
from lifecycle.scheduler._store.sqlite import operations
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.outside import StoreFile
from lifecycle.scheduler._store.sqlite.sweeping import Sweeper

from ._kinds import Laps, case

AGAIN = 20
"""So often a look is taken that costs the same each time."""


@handler("growth.nothing")
async def nothing() -> None:
    pass


@contextmanager
def a_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "jobs.sqlite")


def fill(path: Path, n: int, state: str = "pending", name: str = "many") -> None:
    """Put n jobs into a file that nobody has open, as they are when their process has ended."""
    new = NewJob(name, "call", payload={"handler": "growth.nothing", "args": []})
    with closing(connect(path, "jobs.sqlite")) as db:
        db.execute("BEGIN")
        for _ in range(n):
            operations.insert_job(db, new, None, None, 1.0)
        if state != "pending":
            db.execute("UPDATE jobs SET state = ?, finished = 1.0 WHERE name = ?", (state, name))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def times(n: int, ask: Callable[[], Awaitable[object]]) -> None:
    for _ in range(n):
        await ask()


async def work_through(scheduler: Scheduler, n: int, laps: Laps) -> None:
    with laps("submit and run n jobs", n):
        for _ in range(n):
            await scheduler.submit(nothing)
        await scheduler.drain()
    with laps("submit n jobs for later", n):
        jobs = [await scheduler.submit(nothing, delay=600.0) for _ in range(n)]
    with laps("look at the newest of n jobs", AGAIN):
        await times(AGAIN, lambda: scheduler.jobs(limit=10))
    with laps("look at one of n jobs", AGAIN):
        await times(AGAIN, lambda: scheduler.job(jobs[n // 2].id))
    with laps("cancel n jobs", n):
        for job in jobs:
            await job.cancel()


@case
async def jobs_in_memory(n: int, laps: Laps) -> None:
    async with Scheduler() as scheduler:
        await work_through(scheduler, n, laps)


@case
async def jobs_in_a_file(n: int, laps: Laps) -> None:
    with a_path() as path:
        async with Scheduler(path, keep_jobs=None) as scheduler:
            await work_through(scheduler, n, laps)


@case
async def lists_of_a_file(n: int, laps: Laps) -> None:
    """Most have succeeded; few of each other state, and the oldest of all."""
    with a_path() as path:
        for state in JobStatus:
            if state is not JobStatus.RUNNING:
                fill(path, 5, state.value, name=state.value)
        fill(path, n, "succeeded")
        async with Scheduler(path, adopt=False, keep_for=None, keep_jobs=None) as scheduler:
            for state in JobStatus:
                with laps(f"list what is {state.value}", AGAIN):
                    await times(AGAIN, lambda state=state: scheduler.jobs(status=state, limit=10))  # type: ignore[misc]
            with laps("list by a name", AGAIN):
                await times(AGAIN, lambda: scheduler.jobs(name="failed", limit=10))
            with laps("list by a name and a state", AGAIN):
                await times(AGAIN, lambda: scheduler.jobs(name="many", status=JobStatus.FAILED, limit=10))
            with laps("list by a flow", AGAIN):
                await times(AGAIN, lambda: scheduler.jobs(flow="none", limit=10))
            with laps("count by states", AGAIN):
                await times(AGAIN, scheduler.upkeep.facts)
            file = StoreFile(path)
            with laps("cancel by a name", AGAIN):
                for _ in range(AGAIN):
                    file.cancel("many", "why")


@case
async def starts_with_a_file(n: int, laps: Laps) -> None:
    """What n jobs that wait cost who opens their store, until the first of them has ended; and who closes it."""
    with a_path() as path:
        fill(path, n)
        first = asyncio.Event()
        scheduler = Scheduler(path, keep_jobs=None, drain_timeout=0.0, on_event=lambda event: first.set())
        with laps("open, run the first", 1):
            await scheduler.__aenter__()
            await first.wait()
            scheduler.close()
        with laps("close", 1):
            await scheduler.aclose()
        async with Scheduler(path, keep_jobs=None, keep_for=None) as scheduler:
            with laps("take over and run n jobs", n):
                await scheduler.drain()
                while (await asyncio.to_thread(StoreFile(path).jobs))[0].status is JobStatus.PENDING:
                    await scheduler.drain()


@case
async def retention(n: int, laps: Laps) -> None:
    with a_path() as path:
        fill(path, n, "succeeded")
        with closing(connect(path, "jobs.sqlite")) as db:
            sweeper = Sweeper(Retention(keep_for=0.0, keep_jobs=0))
            db.execute("BEGIN")
            with laps("sweep n ended jobs away", n):
                now = 1e9
                while db.execute("SELECT 1 FROM jobs LIMIT 1").fetchone():
                    sweeper.turn(db, now := now + 2.0)
            db.execute("COMMIT")
