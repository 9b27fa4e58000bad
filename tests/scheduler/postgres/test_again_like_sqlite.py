"""Again by hand in the database does what it does in an SQLite file: the same programs leave the same rows."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from lifecycle.scheduler import JobStatus, RunConflict
from lifecycle.scheduler._store.pace import Bound
from lifecycle.scheduler._store.postgres.heard import revived_of
from lifecycle.scheduler._store.postgres.said import admission_said, ending_said, run_said
from lifecycle.scheduler._store.records import FINAL, Ending, NewJob, NewRun, flow_key
from lifecycle.scheduler._store.sqlite import admission, again, claiming, entering, operations, owners, sweeping
from lifecycle.scheduler._store.sqlite.schema import bring_up_to_date
from lifecycle.scheduler._store.terms import Terms

from .calls import Functions

ENDED = {status.value for status in FINAL}
ENDINGS = ("succeeded", "succeeded", "failed", "timed_out", "cancelled")
KNOWN = ("h", flow_key("f", "d"), flow_key("g", "d"))
NAMES = ("x", 'a "b"', "long " * 60)

JOBS = """
    SELECT id, run, name, state, unmet, due, expires, attempt, recorded, failures, crashes, key, blocked, trouble,
        skipped, cancel, error, history, result, finished IS NOT NULL FROM jobs ORDER BY id"""
RUNS = """
    SELECT id, unfinished, finished IS NOT NULL, status, cancel IS NOT NULL, held, owner IS NOT NULL
    FROM runs ORDER BY id"""
NEEDS = "SELECT needed, job, tolerant FROM needs ORDER BY needed, job"


@dataclass
class Program:
    """A random program, and what both stores say to it. One scheduler, which knows everything, does all the work."""

    file: sqlite3.Connection
    base: Functions
    random: random.Random
    now: float = 1_000_000.0
    jobs: dict[int, str] = field(default_factory=dict)  # the states
    attempts: dict[int, int] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        owners.register(self.file, "token", 1, "x", self.now)
        self.base.enter_as_one()
        self.base.value("learn($1, 1)", list(KNOWN))

    def step(self) -> None:
        """Do one thing to both, and compare what they say and have."""
        act: Callable[[], None] = self.random.choice(
            [self.submit] * 3 + [self.take] * 5 + [self.end] * 6 + [self.again] * 4 + [self.open_run] * 2
            + [self.again_run] * 2 + [self.cancel, self.cancel_run, self.purge, self.die, self.wait]
        )  # fmt: skip
        act()
        self.look()

    def look(self) -> None:
        """Both have the same."""
        for query in (JOBS, RUNS, NEEDS):
            ours, theirs = self.base.rows(query), self.file.execute(query).fetchall()
            assert [row for row in ours if row not in theirs] == [row for row in theirs if row not in ours], query
        self.jobs = dict(self.file.execute("SELECT id, state FROM jobs").fetchall())
        self.runs = [run for (run,) in self.file.execute("SELECT id FROM runs")]

    def some_of(self, wanted: Callable[[str], bool], most: int = 1) -> list[int]:
        found = [number for number, state in self.jobs.items() if wanted(state)]
        return self.random.sample(found, min(len(found), self.random.randint(1, most)))

    def submit(self) -> None:
        needs = tuple(sorted(self.jobs)[-8:])
        needs = tuple(self.random.sample(needs, min(len(needs), self.random.choice([0, 0, 1, 1, 2, 3]))))
        key = self.random.choice([None, None, "a", "b"])
        terms = Terms(
            lifetime=self.random.choice([None, None, 15.0]),
            key=key,
            on_twin=self.random.choice(["refuse", "replace"]) if key else "refuse",
            needs=needs,
        )
        delay = self.random.choice([0.0, 0.0, 5.0])
        job = NewJob(self.random.choice(NAMES), "call", delay=delay, payload={"handler": "h"}, terms=terms)
        theirs = admission.admit(self.file, job, 1, self.now)
        ours = self.base.value("admit($1, 1, $2)", admission_said(job), self.now)
        assert ours.get("job") == theirs.job

    def open_run(self) -> None:
        jobs: list[NewJob] = []
        for number in range(self.random.randint(1, 5)):
            needs = tuple(f"j{other}" for other in range(number) if self.random.random() < 0.5)
            when = self.random.choice(["success", "success", "always", "failure"]) if needs else "success"
            tolerates = tuple(need for need in needs if self.random.random() < 0.2)
            delay = self.random.choice([0.0, 0.0, 5.0])
            jobs.append(NewJob(f"j{number}", "call", needs=needs, when=when, tolerates=tolerates, delay=delay))
        bound = self.random.choice([Bound(), Bound(1, "skip"), Bound(1, "queue"), Bound(2, "cancel_running")])
        flow = self.random.choice("fg")
        run = NewRun(flow, "f.toml", "d", "{}", tuple(jobs), Bound() if flow == "f" else bound)
        ours = self.base.value("admit_run($1, 1, $2)", run_said(run), self.now)
        try:
            opened = entering.admit_run(self.file, run, 1, self.now)
        except RunConflict as error:
            conflict = str(error)
        else:
            conflict = None
            assert (ours["run"], ours["waits"]) == (opened.run_id, opened.waits)
        assert ours.get("conflict") == conflict

    def take(self) -> None:
        expired = admission.expire(self.file, self.now)
        assert self.base.value("expire($1)", self.now) == expired
        taken = claiming.claim(self.file, 1, self.random.randint(1, 5), self.now).jobs
        self.base.execute(
            "UPDATE jobs SET due = 0 WHERE state = 'pending' AND unmet = 0 AND due > 0 AND due <= $1", self.now
        )
        self.base.value("start_attempts($1, 1, $2)", [job.id for job in taken], self.now)
        self.attempts |= {job.id: job.attempt for job in taken}

    def end(self) -> None:
        for job in self.some_of(lambda state: state == "running"):
            ending = Ending(JobStatus(self.random.choice(ENDINGS)), error=self.random.choice(["x", "y\nz" * 200, None]))
            said = ending_said(job, self.attempts[job], ending)
            if self.random.random() < 0.2:
                retried = operations.retry(self.file, job, self.attempts[job], ending, self.now + 1.0)
                assert self.base.value("retry($1, 1, $2)", said, self.now + 1.0) == retried
                if retried:
                    continue
            operations.finish(self.file, job, self.attempts[job], ending, self.now)
            self.base.value("finish($1, 1, $2)", said, self.now)

    def again(self) -> None:
        wanted = [*self.some_of(lambda state: True, 3), *self.random.choice([[], [], [999]])]
        self.random.shuffle(wanted)
        force, by, known = self.random.random() < 0.4, self.random.choice([1, 1, None]), self.random.choice([KNOWN, ()])
        theirs = again.revive_jobs(self.file, wanted, force=force, by=by, known=known if by else (), now=self.now)
        said = self.base.value(
            "revive_jobs($1, $2, $3, $4, $5)", wanted, force, list(known if by else ()), by, self.now
        )
        self.compare(said, theirs)

    def again_run(self) -> None:
        run, by, known = self.a_run(), self.random.choice([1, 1, None]), self.random.choice([KNOWN, ()])
        theirs = again.revive_run(self.file, run, by=by, known=known if by else (), now=self.now)
        said = self.base.value("revive_run($1, $2, $3, $4)", run, list(known if by else ()), by, self.now)
        assert (said is None) == (theirs is None)
        if theirs is not None:
            self.compare(said, theirs)

    def compare(self, said: Any, theirs: again.Revived) -> None:
        ours = revived_of(said)
        assert ours._replace(ours=()) == theirs._replace(ours=())
        # In the file, what is of a run that another has is not ours; here it is whoever can do it. But what was
        # cancelled at once, with its run, is nobody's.
        states = dict(self.file.execute("SELECT id, state FROM jobs").fetchall())
        assert {job for job in theirs.ours if states[job] not in ENDED} <= set(ours.ours)
        self.adopt()

    def a_run(self) -> int:
        return self.random.choice(self.runs) if self.runs else 99

    def cancel(self) -> None:
        for job in self.some_of(lambda state: state not in ENDED):
            operations.cancel(self.file, job, "why", self.now, 1)
            self.base.value("cancel($1, 'why', $2, 1)", job, self.now)

    def cancel_run(self) -> None:
        run = self.a_run()
        operations.cancel_run(self.file, run, "why", self.now, 1)
        self.base.value("cancel_run($1, 'why', $2, 1)", run, self.now)

    def purge(self) -> None:
        rows = self.file.execute(
            """
            SELECT jobs.id, jobs.run FROM jobs LEFT JOIN runs ON runs.id = run
            WHERE jobs.finished IS NOT NULL AND (run IS NULL OR runs.finished IS NOT NULL)"""
        ).fetchall()
        gone = [row for row in rows if self.random.random() < 0.3]
        sweeping.delete_jobs(self.file, gone)
        runs = [run for _, run in gone if run is not None]
        self.base.value("delete_jobs($1, $2)", [job for job, _ in gone], runs)

    def die(self) -> None:
        owners.retire(self.file, 1, crashed=True)
        values = (1, "token", 1, "x", self.now)
        self.file.execute("INSERT INTO owners (id, token, pid, name, started) VALUES (?, ?, ?, ?, ?)", values)
        self.base.value("retire(1, true, $1)", self.now)
        self.base.execute(
            """
            INSERT INTO owners (id, name, host, pid, started, seen, contact, lease)
            VALUES (1, 'x', 'here', 1, 1, 1, 1, 9)"""
        )
        self.adopt()

    def adopt(self) -> None:
        owners.adopt_jobs(self.file, 1, ["h"], None)
        owners.adopt_served_runs(self.file, 1, KNOWN, None)
        self.base.value("adopt($1, 1, NULL, $2)", list(KNOWN), self.now)

    def wait(self) -> None:
        self.now += self.random.choice([1.0, 5.0, 20.0])


@pytest.fixture(name="file")
def new_file(monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """The tables of an SQLite file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        bring_up_to_date(db, "x")
        yield db


def follow(functions: Functions, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Run one program on both; the same number gives the same."""
    file.execute("BEGIN")
    try:
        with functions.undone():
            program = Program(file, functions, random.Random(seed))
            monkeypatch.setattr(owners, "time", SimpleNamespace(time=lambda: program.now))
            for _ in range(30 + seed % 60):
                program.step()
    except Exception as error:
        error.add_note(f"program {seed}")
        raise
    finally:
        file.execute("ROLLBACK")


def test_the_same_programs_leave_the_same_rows(
    functions: Functions, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of it, the states, the counts, the reasons, and the notes."""
    for seed in range(24):
        follow(functions, file, monkeypatch, seed)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_the_same_at_length(functions: Functions, file: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a night."""
    for seed in range(1_000, 11_000):
        follow(functions, file, monkeypatch, seed)
