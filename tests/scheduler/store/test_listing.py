"""Lists of jobs: any filter finds what a look at every single job finds, for as little as what it returns costs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.scheduler import JobRecord, JobStatus
from lifecycle.scheduler._store.filters import JobFilter, job_filter
from lifecycle.scheduler._store.memory.store import MemoryStore
from lifecycle.scheduler._store.records import NewJob, NewRun
from lifecycle.scheduler._store.sqlite import entering, listing
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.listing import list_jobs
from lifecycle.scheduler._store.sqlite.operations import insert_job

from .test_costs import steps


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty store, in a transaction."""
    with closing(connect(tmp_path / "jobs.sqlite", "jobs.sqlite")) as made:
        made.execute("BEGIN")
        yield made


def fill(db: sqlite3.Connection, chance: random.Random, jobs: int) -> None:
    """Store jobs by themselves and of runs, one a second, in states of all kinds, and delete some."""
    for at in range(jobs):
        if chance.random() < 0.2:
            names = chance.sample("abcd", 3)
            run = NewRun(chance.choice("fg"), "f", "d", "{}", tuple(NewJob(name, "call") for name in names))
            entering.insert_run(db, run, None, float(at))
        else:
            insert_job(db, NewJob(chance.choice("abc"), "call"), None, None, float(at))
    numbers = [number for (number,) in db.execute("SELECT id FROM jobs")]
    for number in numbers:
        status = chance.choice(list(JobStatus))
        values = (status.value, chance.choice((7, 8, None)), 100.0 if status.final else None, number)
        db.execute("UPDATE jobs SET state = ?, owner = ?, finished = ? WHERE id = ?", values)
    db.executemany("DELETE FROM jobs WHERE id = ?", [(number,) for number in chance.sample(numbers, jobs // 4)])


def some_filter(chance: random.Random) -> JobFilter:
    """Return any filter."""
    return JobFilter(
        statuses=frozenset(chance.sample(list(JobStatus), chance.choice((0, 0, 1, 1, 2, 3)))),
        run=chance.choice((None, None, None, chance.randrange(1, 9))),
        flow=chance.choice((None, None, "f", "g", "h")),
        name=chance.choice((None, None, "a", "d", "e")),
        since=chance.choice((None, None, chance.randrange(-5, 70) + 0.5, float(chance.randrange(60)))),
        until=chance.choice((None, None, chance.randrange(-5, 70) + 0.5, float(chance.randrange(60)))),
        limit=chance.choice((1, 3, 1_000)),
    )


@pytest.mark.parametrize("rare", [0, 1_000])
def test_any_filter_finds_what_a_look_at_every_job_finds(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, rare: int
) -> None:
    """Whichever way it takes, and also where a dead process was running some of them."""
    monkeypatch.setattr(listing, "RARE", rare)
    chance = random.Random(1)
    fill(db, chance, 60)
    for turn in range(400):
        wanted, dead = some_filter(chance), chance.choice(((), (7,), (7, 9)))
        every = list_jobs(db, JobFilter(), dead)
        assert {job.status for job in every} <= set(JobStatus)
        expected = [job for job in every if wanted.accepts(job)][-wanted.limit :]
        assert list_jobs(db, wanted, dead) == expected, (turn, wanted, dead)


@pytest.mark.anyio
async def test_the_store_in_memory_filters_alike() -> None:
    """By state, name, flow, run and time."""
    store = MemoryStore()
    await store.add_job(NewJob("a", "call"))
    await store.open_run(
        NewRun("f", "f", "d", "{}", (NewJob("a", "call"), NewJob("b", "call"))), resume=False, fresh=False
    )
    [claimed] = (await store.claim(1, 5.0)).jobs

    async def numbers(wanted: JobFilter) -> list[int]:
        return [job.id for job in await store.jobs(wanted)]

    assert await numbers(JobFilter()) == [1, 2, 3]
    assert await numbers(JobFilter(limit=2)) == [2, 3]
    assert await numbers(JobFilter(statuses=frozenset({JobStatus.RUNNING}))) == [claimed.id]
    assert await numbers(JobFilter(name="a", flow="f")) == [2]
    assert await numbers(JobFilter(run=1, since=0.0)) == [2, 3]
    assert await numbers(JobFilter(until=1.0)) == []


COMMON = 3_000
MANY: dict[str, tuple[JobFilter, Callable[[JobRecord], bool]]] = {
    "newest": (JobFilter(limit=5), lambda job: True),
    "rare state": (job_filter(status=JobStatus.FAILED, limit=5), lambda job: job.status is JobStatus.FAILED),
    "two states": (job_filter(status=[JobStatus.FAILED, JobStatus.TIMED_OUT], limit=5), lambda job: True),
    "rare name": (job_filter(name="rare", limit=5), lambda job: job.name == "rare"),
    "common name in a rare state": (job_filter(name="common", status=JobStatus.FAILED), lambda job: True),
    "flow": (job_filter(flow="f", limit=5), lambda job: job.flow == "f"),
    "run": (job_filter(run=1, limit=5), lambda job: job.run_id == 1),
    "long ago": (job_filter(since=10.0, until=15.0), lambda job: 10 <= job.created < 15),
    "last minutes": (job_filter(since=COMMON - 5.0, status=JobStatus.SUCCEEDED), lambda job: job.created >= COMMON - 5),
}


@pytest.mark.parametrize("name", MANY)
def test_a_list_costs_what_it_returns(db: sqlite3.Connection, name: str) -> None:
    """Not what else is in the file: every row takes some ten instructions at least."""
    wanted, right = MANY[name]
    entering.insert_run(db, NewRun("f", "f", "d", "{}", tuple(NewJob(one, "call") for one in "ab")), None, 1.0)
    insert_job(db, NewJob("rare", "call"), None, None, 2.0)
    for at in range(COMMON):
        insert_job(db, NewJob("common", "call"), None, None, float(at))
    db.execute("UPDATE jobs SET state = 'succeeded', finished = created")
    db.execute("UPDATE jobs SET state = 'failed' WHERE id % 1000 = 0")
    found: list[JobRecord] = []
    assert steps(db, lambda: found.extend(list_jobs(db, wanted))) < COMMON // 50, name
    assert found
    assert all(map(right, found))


def test_what_is_no_filter_is_refused() -> None:
    """By type and by value, before anything is looked at; a time must be one instant."""
    for wrong in (
        {"status": "failed"},
        {"status": ["failed"]},
        {"since": "today"},
        {"name": 1},
        {"run": "1"},
        {"flow": 2},
    ):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            job_filter(**wrong)
    for value in (datetime(2026, 1, 1), float("nan"), float("inf")):
        with pytest.raises(ValueError, match="until"):
            job_filter(until=value)
    assert job_filter(since=datetime(1970, 1, 1, 0, 1, tzinfo=UTC)).since == 60.0
    assert job_filter(status=JobStatus.FAILED).statuses == job_filter(status={JobStatus.FAILED}).statuses
