"""What the SQLite store does for one question must not grow with what else is in the file: counted in its own steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.limits import EVERYTHING
from lifecycle.scheduler._store.records import Ending, JobStatus, NewJob, NewRun
from lifecycle.scheduler._store.sqlite import claiming, entering, operations, owners, views
from lifecycle.scheduler._store.sqlite.crashes import held_back
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.listing import list_jobs

MakeFile = Callable[[], sqlite3.Connection]


@pytest.fixture
def new_file(tmp_path: Path) -> Iterator[MakeFile]:
    """Make new stores, each in a transaction that is never committed."""
    made: list[sqlite3.Connection] = []

    def make() -> sqlite3.Connection:
        db = connect(tmp_path / f"jobs{len(made)}.sqlite", "jobs.sqlite")
        db.execute("BEGIN")
        made.append(db)
        return db

    yield make
    for db in made:
        with closing(db):
            db.execute("ROLLBACK")


def steps(db: sqlite3.Connection, question: Callable[[], object]) -> int:
    """Return how many instructions SQLite's machine carries out to answer a question, in hundreds."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    db.set_progress_handler(count, 100)
    question()
    db.set_progress_handler(None, 0)
    return taken


def fail_all(db: sqlite3.Connection, roots: int) -> None:
    """Let all jobs that can run fail."""
    for claimed in claiming.claim(db, 1, roots, 1.0).jobs:
        ending = Ending(JobStatus.FAILED, error="no", failed=True)
        assert operations.finish(db, claimed.id, claimed.attempt, ending, 2.0).accepted


def test_roots_that_fail_over_one_chain_do_not_each_walk_down_all_of_it(new_file: MakeFile) -> None:
    """Ten times as many roots over a chain ten times as long cost ten times as much, not a hundred times."""
    taken = []
    for size in (30, 300):
        db = new_file()
        roots = [NewJob(f"root{number}", "call") for number in range(size)]
        needs = [tuple(root.name for root in roots), *((f"below{number}",) for number in range(size - 1))]
        chain = [NewJob(f"below{number}", "call", needed) for number, needed in enumerate(needs)]
        entering.insert_run(db, NewRun("f", "f", "d", "{}", (*roots, *chain)), 1, 0.0)
        taken.append(steps(db, lambda db=db, size=size: fail_all(db, size)))  # type: ignore[misc]
        assert db.execute("SELECT unfinished FROM runs").fetchone() == (0,)
    assert taken[1] < 20 * taken[0], taken


QUESTIONS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "the newest of a name": lambda db: views.newest_of(db, "many"),
    "the newest of a name that has not ended": lambda db: views.newest_of(db, "many", unended=True),
    "the one with crashes": lambda db: held_back(db, 1, 3),
    "what runs": lambda db: list_jobs(db, JobFilter(frozenset({JobStatus.RUNNING}))),
    "how many are in each state": lambda db: db.execute("SELECT * FROM counts").fetchall(),
    "what is ready": lambda db: claiming.claim(db, 1, 1, 9.0),
    "what is to be taken over": lambda db: owners.adopt_jobs(db, 1, ["h"], 3, most=10),
    "what an owner leaves": lambda db: owners.retire(db, 2, most=10),
    "what is unfinished": lambda db: views.unfinished(db, 1, 1),
    "cancel one": lambda db: operations.cancel(db, 1, "why", 9.0, None),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_costs_the_same_however_many_jobs_there_are(new_file: MakeFile, question: str) -> None:
    """Ended ones, and those that wait: for this owner, for another one and for none."""
    taken = []
    for size in (20, 1_000):
        db = new_file()
        pay = {"handler": "h", "args": []}
        for owner in (1, 2, None):
            operations.insert_job(db, NewJob("many", "call", payload=pay), None, owner, 0.0)
            for _ in range(size):
                operations.insert_job(db, NewJob("other", "call", payload=pay), None, owner, 0.0)
        for _ in range(size):
            operations.insert_job(db, NewJob("many", "call"), None, 3, 0.0)
        db.execute("UPDATE jobs SET state = 'succeeded', owner = NULL, finished = 1.0 WHERE owner = 3")
        taken.append(steps(db, lambda db=db: QUESTIONS[question](db)))  # type: ignore[misc]
    assert taken[1] <= 2 * taken[0] + 2, taken


def test_what_is_paused_is_not_looked_at_queue_by_queue(new_file: MakeFile) -> None:
    """Each submission looks for what may begin: while everything is paused that costs the same with many queues."""
    taken = []
    for queues in (10, 300):
        db = new_file()
        for number in range(queues):
            operations.insert_job(db, NewJob("job", "call", queue=f"queue{number}"), None, 1, 0.0)
        claiming.pause(db, EVERYTHING, paused=True)
        taken.append(steps(db, lambda db=db: claiming.claim(db, 1, 8, 1.0)))  # type: ignore[misc]
        assert claiming.claim(db, 1, 8, 1.0).jobs == ()
        claiming.pause(db, EVERYTHING, paused=False)
        assert len(claiming.claim(db, 1, 8, 1.0).jobs) == 8
    assert taken[1] <= taken[0] + 2, taken
