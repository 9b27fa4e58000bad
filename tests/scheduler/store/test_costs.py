"""What the SQLite store does for one question must not grow with what else is in the file: counted in its own steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lifecycle.scheduler._store import claiming, operations, owners
from lifecycle.scheduler._store.files import connect
from lifecycle.scheduler._store.records import Ending, JobStatus, NewJob, NewRun

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
        owners.insert_run(db, NewRun("f", "f", "d", "{}", (*roots, *chain)), 1, 0.0)
        taken.append(steps(db, lambda db=db, size=size: fail_all(db, size)))  # type: ignore[misc]
        assert db.execute("SELECT unfinished FROM runs").fetchone() == (0,)
    assert taken[1] < 20 * taken[0], taken
