"""A store under pressure: readers that stay for long, and more work than the disk can take."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Scheduler, handler

from ..tools import Cli

pytestmark = pytest.mark.asyncio

LIMIT = 16 * 1024 * 1024
"""Bytes to which the write-ahead log is cut when nobody needs it any more."""


@handler("pressure.write")
async def write(size: int) -> str:
    """Make the store write."""
    return "x" * size


async def run_jobs(scheduler: Scheduler, count: int, size: int) -> None:
    """Put in jobs from several tasks, and wait for them."""

    async def some() -> None:
        for _ in range(count // 20):
            assert (await (await scheduler.submit(write, size)).wait()).succeeded

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(some)


@pytest.mark.slow
async def test_a_reader_that_stays_holds_nobody_up_and_the_log_is_cut_when_it_has_gone(tmp_path: Path) -> None:
    """Jobs are written beside a transaction that reads; what the log has grown by meanwhile is given back."""
    path = tmp_path / "jobs.sqlite"
    log = tmp_path / "jobs.sqlite-wal"
    async with Scheduler(path) as scheduler:
        await run_jobs(scheduler, 20, 10)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (20,)
            await run_jobs(scheduler, 600, 40_000)
            assert len(await scheduler.jobs(limit=1_000)) == 620, "who reads anew sees them"
            assert len(Cli(tmp_path).call("jobs", "list", "--db", path, "--json").stdout.splitlines()) == 620
            assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (20,), "it still sees what it saw"
            assert log.stat().st_size > LIMIT, "the log cannot be cut while it is read"
            reader.execute("COMMIT")
        await run_jobs(scheduler, 100, 40_000)
        assert log.stat().st_size <= LIMIT
    assert not log.exists()


@pytest.mark.parametrize(
    "jobs",
    [pytest.param(5_000), pytest.param(100_000, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])],
)
async def test_what_is_put_in_waits_for_the_disk_and_not_in_a_queue(tmp_path: Path, jobs: int) -> None:
    """However much comes: in the queue of the writer is what tasks wait for, and nothing is kept of what was put in."""
    longest = 0
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        writer = scheduler._store._writer  # type: ignore[attr-defined]

        async def sender() -> None:
            nonlocal longest
            for _ in range(jobs // 100):
                await scheduler.submit(write, 1, delay=3600.0)
                longest = max(longest, writer._queue.qsize())

        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(sender)
        print(f"{jobs} jobs in {time.monotonic() - began:.1f} s, at most {longest} in the queue")
        assert 10 < longest <= 110, "one for each sender, and what the scheduler itself asks"
        assert len(scheduler._life.engine.jobs) <= 100  # type: ignore[union-attr]
        assert os.path.getsize(tmp_path / "jobs.sqlite") > 0
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (jobs,)
