"""Retention: what has ended is let go by age and by count; what has not, or may still be asked for, stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun
from lifecycle.scheduler._store.retention import Retention
from lifecycle.scheduler._store.sqlite import claiming, entering, operations
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.sweeping import PAUSE, REST, ROWS, RUN_GRACE, Sweeper

from ..stores import Address, rows_at

OK = Ending(JobStatus.SUCCEEDED, result="x" * 100)


@handler("retention.nothing")
async def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A store's file."""
    with closing(connect(tmp_path / "jobs.sqlite", "x")) as db:
        yield db


def put(db: sqlite3.Connection, count: int, *, now: float, end: bool = True) -> None:
    """Put in jobs, and end them."""
    for number in range(count):
        operations.insert_job(db, NewJob(f"job{number}", "call"), None, 1, now)
    if end:
        for claimed in claiming.claim(db, 1, count, now).jobs:
            operations.finish(db, claimed.id, claimed.attempt, OK, now)


def numbers(db: sqlite3.Connection) -> list[int]:
    """Return the numbers of the jobs that are there."""
    return [number for (number,) in db.execute("SELECT id FROM jobs ORDER BY id")]


def test_ended_jobs_go_when_they_are_too_old(db: sqlite3.Connection) -> None:
    """Age counts from the end of a job."""
    put(db, 3, now=1_000.0)
    put(db, 3, now=2_000.0)
    sweeper = Sweeper(Retention(keep_for=500.0, keep_jobs=None))
    assert sweeper.turn(db, 1_400.0) == 0
    assert sweeper.turn(db, 2_100.0) == 3
    assert numbers(db) == [4, 5, 6]


def test_the_newest_jobs_are_kept_by_their_count(db: sqlite3.Connection) -> None:
    """Whatever their age."""
    put(db, 10, now=1_000.0)
    assert Sweeper(Retention(keep_for=None, keep_jobs=4)).turn(db, 1_000.0) == 6
    assert numbers(db) == [7, 8, 9, 10]


def test_with_both_bounds_the_narrower_counts(db: sqlite3.Connection) -> None:
    """Among the newest, and yet too old."""
    put(db, 2, now=1_000.0)
    put(db, 2, now=2_000.0)
    assert Sweeper(Retention(keep_for=100.0, keep_jobs=3)).turn(db, 2_000.0) == 2
    assert numbers(db) == [3, 4]


def test_without_bounds_everything_stays(db: sqlite3.Connection) -> None:
    """For ever."""
    put(db, 5, now=0.0)
    assert Sweeper(Retention(None, None)).turn(db, 1e10) == 0


def test_what_has_not_ended_stays(db: sqlite3.Connection) -> None:
    """Pending, running and interrupted jobs are passed over, however old."""
    put(db, 3, now=0.0, end=False)
    claiming.claim(db, 1, 2, 0.0)
    put(db, 0, now=0.0)
    (first, _) = numbers(db)[:2]
    operations.finish(db, first, 1, Ending(JobStatus.INTERRUPTED), 0.0)
    assert Sweeper(Retention(1.0, 0)).turn(db, 1e9) == 0
    assert len(numbers(db)) == 3


def test_the_jobs_of_a_run_go_together_with_it_when_it_has_ended(db: sqlite3.Connection, tmp_path: Path) -> None:
    """Its outputs are needed until then, and by those who waited for it a little longer."""
    run = NewRun("f", "f.toml", "d", "{}", (NewJob("a", "call"), NewJob("b", "call", ("a",))))
    entering.open_run(db, tmp_path / "jobs.sqlite", run, 1, 0.0, resume=False, fresh=False)
    (a,) = claiming.claim(db, 1, 9, 0.0).jobs
    operations.finish(db, a.id, 1, OK, 0.0)
    assert Sweeper(Retention(1.0, 0)).turn(db, 1_000.0) == 0
    (b,) = claiming.claim(db, 1, 9, 1_000.0).jobs
    operations.finish(db, b.id, 1, OK, 1_000.0)
    assert Sweeper(Retention(1.0, 0)).turn(db, 1_000.0 + RUN_GRACE) == 0
    assert Sweeper(Retention(1.0, 0)).turn(db, 1_001.0 + RUN_GRACE) == 2
    for table in ("jobs", "runs", "needs"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_turn_is_bounded_and_the_next_goes_on(db: sqlite3.Connection) -> None:
    """Many old jobs behind many that have not ended: turn by turn, none twice, until all are gone."""
    db.execute("BEGIN")
    put(db, ROWS, now=0.0, end=False)
    claiming.claim(db, 1, ROWS, 0.0)
    put(db, 2 * ROWS, now=0.0)
    db.execute("COMMIT")
    sweeper, now, gone = Sweeper(Retention(1.0, 0)), 1_000.0, []
    for _ in range(5):
        gone.append(sweeper.turn(db, now))
        assert sweeper.turn(db, now) == 0, "not before its time"
        now += max(PAUSE, sweeper.next_look_in(now)) if sweeper.next_look_in(now) < REST else REST
    assert gone[:4] == [0, ROWS, ROWS, 0]
    assert len(numbers(db)) == ROWS


@pytest.mark.asyncio
async def test_a_scheduler_keeps_so_many_jobs(durable: Address) -> None:
    """The store does not grow with the work that has gone through it."""
    path = durable
    async with Scheduler(path, keep_jobs=10) as scheduler:
        for _ in range(200):
            job = await scheduler.submit(nothing)
        await job.wait()
        with anyio.fail_after(20):
            while len(rows_at(path, "SELECT id FROM jobs")) > 15:
                await anyio.sleep(0.1)
                await (await scheduler.submit(nothing)).wait()


@pytest.mark.parametrize(("setting", "value"), [("keep_for", -1.0), ("keep_jobs", -1)])
def test_wrong_bounds_are_refused(setting: str, value: float) -> None:
    """Before anything is opened."""
    with pytest.raises(ValueError, match=setting):
        Scheduler(**{setting: value})  # type: ignore[arg-type]
