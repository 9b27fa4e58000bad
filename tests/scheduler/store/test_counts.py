"""The counters by state are exact: after any operation, in any order, rolled back or not, and after a kill."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun
from lifecycle.scheduler._store.retention import Retention
from lifecycle.scheduler._store.sqlite import again, claiming, entering, operations, owners
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.sweeping import Sweeper

from ...properties.at_length import at_length

Pick = Callable[[str], int]
PAY = {"handler": "h", "args": []}


def add_run(db: sqlite3.Connection, pick: Pick) -> None:
    """Put in a run of three jobs, each of which needs the one before."""
    jobs = (NewJob("a", "call"), NewJob("b", "call", ("a",)), NewJob("c", "call", ("b",)))
    entering.insert_run(db, NewRun("f", "f", "d", "{}", jobs), 1, 0.0)


def finish(db: sqlite3.Connection, pick: Pick) -> None:
    """End what runs, in one way or another."""
    for number, attempt in db.execute("SELECT id, attempt FROM jobs WHERE state = 'running'").fetchall():
        status = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.CANCELLED)[pick("end") % 4]
        operations.finish(db, number, attempt, Ending(status), 2.0)


def give_up(db: sqlite3.Connection, pick: Pick) -> None:
    """Try what runs again later, or give it back."""
    for number, attempt in db.execute("SELECT id, attempt FROM jobs WHERE state = 'running'").fetchall():
        if pick("back") % 2:
            claiming.give_back(db, [(number, attempt)], 1.0)
        else:
            operations.retry(db, number, attempt, Ending(JobStatus.FAILED, failed=True), 3.0)


STEPS: dict[str, Callable[[sqlite3.Connection, Pick], object]] = {
    "add": lambda db, pick: operations.insert_job(db, NewJob("j", "call", payload=PAY), None, 1, 0.0),
    "add a run": add_run,
    "claim": lambda db, pick: claiming.claim(db, 1, 1 + pick("room") % 4, 9.0),
    "finish": finish,
    "give up": give_up,
    "cancel": lambda db, pick: operations.cancel(db, 1 + pick("job") % 12, "why", 2.0, None),
    "cancel a run": lambda db, pick: (
        operations.cancel_run(db, 1, "why", 2.0, None)
        if db.execute("SELECT 1 FROM runs WHERE id = 1").fetchone()
        else 0
    ),
    "die": lambda db, pick: owners.retire(db, 1, crashed=True, most=2),
    "adopt": lambda db, pick: owners.adopt_jobs(db, 1, ["h"], 1 + pick("crashes") % 3, most=2),
    "adopt runs": lambda db, pick: owners.adopt_runs(db, 1, "f", "d", 2),
    "again": lambda db, pick: again.revive_jobs(db, [1 + pick("job") % 12], force=True, by=1, known=["h"], now=5.0),
    "sweep": lambda db, pick: Sweeper(Retention(keep_for=0.0, keep_jobs=0)).turn(db, 1e9),
}


def counted(db: sqlite3.Connection) -> dict[str, int]:
    """Return the counters that are not 0, after a look at all that the counters should say."""
    kept = {state: jobs for state, jobs in db.execute("SELECT state, jobs FROM counts") if jobs}
    assert kept == dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
    return kept


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_counters_are_what_one_would_count(data: st.DataObject) -> None:
    """After each step, and after a transaction that was not to be."""
    count_after_each_step(data)


@at_length(2_000, st.data())
def test_the_counters_are_right_at_length(data: st.DataObject) -> None:
    """Thousands of programs."""
    count_after_each_step(data)


def count_after_each_step(data: st.DataObject) -> None:
    """Take random steps."""

    def pick(what: str) -> int:
        return data.draw(st.integers(0, 11), label=what)

    steps = data.draw(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans()), max_size=25), label="steps")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "jobs.sqlite")
        with closing(connect(path, "x")) as db:
            db.execute("PRAGMA synchronous = OFF")
            for step, kept in steps:
                db.execute("BEGIN IMMEDIATE")
                before = counted(db)
                STEPS[step](db, pick)
                after = counted(db)
                db.execute("COMMIT" if kept else "ROLLBACK")
                assert counted(db) == (after if kept else before)
            db.execute("BEGIN IMMEDIATE")
            operations.insert_job(db, NewJob("killed", "call"), None, 1, 0.0)
        with closing(connect(path, "x")) as db:  # what was not committed is gone, as after a kill
            counted(db)
