"""Schedules in the database do what they do in an SQLite file: the same programs leave the same rows."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from lifecycle.scheduler import JobStatus, RunConflict
from lifecycle.scheduler._store.pace import OVERLAPS, Bound, Pace
from lifecycle.scheduler._store.postgres import schedules as ours
from lifecycle.scheduler._store.postgres.said import ending_said
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun, flow_key
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import claiming, clock, operations, owners
from lifecycle.scheduler._store.sqlite import schedules as theirs
from lifecycle.scheduler._store.sqlite.schema import bring_up_to_date
from lifecycle.scheduler._store.sqlite.unreadable import Unreadable
from lifecycle.scheduler._store.terms import Terms

from .calls import Functions

FLOW = flow_key("f", "d")
KNOWN = ("h", FLOW)

JOBS = """
    SELECT id, run, name, state, unmet, delay, due, expires, schedule, scheduled, cancel, finished IS NOT NULL
    FROM jobs ORDER BY id"""
RUNS = """
    SELECT id, unfinished, finished IS NOT NULL, cancel, held, max_instances, schedule, scheduled
    FROM runs ORDER BY id"""
SCHEDULES = """
    SELECT name, kind, rule, timezone, missed, misfire_grace, handler, paused, anchor, next_due, last_due, last_job,
        last_run, runs, missed_runs, skipped_runs, triggered, waiting, max_instances, overlap, jitter, starts, ends
    FROM schedules"""


@pytest.fixture(name="file")
def new_file() -> Iterator[sqlite3.Connection]:
    """The tables of an SQLite file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        bring_up_to_date(db, "x")
        yield db


@dataclass
class Program:
    """A random program about one schedule, and what both stores say to it."""

    file: sqlite3.Connection
    base: Functions
    random: random.Random
    now: float = 1_000_000.25
    attempts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        owners.register(self.file, "token", 1, "x", self.now)
        self.base.enter_as_one()
        self.put()

    def step(self) -> None:
        """Do one thing to both, and compare what they say and have."""
        act: Callable[[], None] = self.random.choice(
            [self.wait] * 5 + [self.fire] * 6 + [self.take] * 3 + [self.end] * 4 + [self.trigger, self.request]
            + [self.put, self.pause, self.resume, self.bound, self.remove, self.cancel, self.set_clock_back]
        )  # fmt: skip
        act()
        self.look()

    def look(self) -> None:
        """Both have the same."""
        for query in (JOBS, RUNS, SCHEDULES):
            mine, other = self.base.rows(query), self.file.execute(query).fetchall()
            assert [row for row in mine if row not in other] == [row for row in other if row not in mine], query
        shown = [ours.schedule_of(row) for row in self.base.value("schedule_records()")]
        assert shown == theirs.records(self.file)
        assert repr(shown) == repr(theirs.records(self.file))

    def put(self) -> None:
        name = "it's"
        kind, rule, zone = self.random.choice(
            [("fixed_rate", "10.0", None), ("fixed_delay", "10.0", None), ("cron", "* * * * *", "Europe/Berlin")]
        )
        pace = Pace(
            self.random.choice([None, 1, 1, 2]),
            self.random.choice(OVERLAPS),
            self.random.choice([0.0, 0.0, 4.0]),
            self.random.choice([None, None, None, self.now + 20.0]),
            self.random.choice([None, None, None, self.now + 100.0]),
        )
        missed, grace = self.random.choice(["coalesce", "drop", "burst"]), self.random.choice([None, None, 15.0])
        job = NewJob(name, "call", payload={"handler": "h", "args": ["\0 \ud800"]}, priority=3, retries=2)
        work: NewJob | NewRun = job._replace(terms=self.random.choice([None, Terms(lifetime=50.0, metadata={"a": 1})]))
        handler = "h"
        if self.random.random() < 0.5:
            bound = Bound(self.random.choice([None, 1, 1, 2]), self.random.choice(OVERLAPS))
            jobs = (NewJob("a", "call"), NewJob("b", "call", needs=("a",)), NewJob("c", "call", delay=3.0))
            work, handler = NewRun("f", "f.toml", "d", "{}", jobs, bound), FLOW
        new = NewSchedule(name, kind, rule, zone, missed, grace, work, handler, pace)
        record = theirs.put(self.file, new, self.now)
        said = self.base.value("put_schedule($1, $2)", ours.schedule_said(new, self.now), self.now)
        assert ours.schedule_of(said) == record

    def fire(self) -> None:
        theirs.fire_due(self.file, 1, KNOWN, self.now, Unreadable())
        for row in self.found():
            said = ours.firing_said(row, self.now)
            done = self.base.value(
                "fire($1, $2, $3, 1, $4)", said["schedule"], said["was_due"], said["firing"], self.now
            )
            assert done is not None

    def found(self) -> Any:
        return self.base.value("look_at_schedules($1, '[]', $2)", list(KNOWN), self.now)["found"]

    def name(self) -> str:
        return self.random.choice(["it's", "it's", "it's", "another"])

    def trigger(self) -> None:
        name, flows = self.name(), self.random.choice([KNOWN, KNOWN, ()])
        said = self.base.value("trigger_schedule($1, 1, $2)", {"name": name, "flows": flows}, self.now)
        assert outcome(lambda: ours.submitted_of(said)) == outcome(
            lambda: theirs.trigger(self.file, name, flows, 1, self.now)
        )

    def request(self) -> None:
        name = self.name()
        assert self.base.value("request_run($1)", name) == theirs.request_run(self.file, name)

    def pause(self) -> None:
        name = self.name()
        assert self.base.value("pause_schedule($1)", name) == theirs.pause(self.file, name)

    def resume(self) -> None:
        name = self.name()
        rows = self.base.rows("SELECT to_jsonb(schedules) FROM schedules WHERE name = $1", name)
        due = ours.due_after_pause(rows[0][0], self.now) if rows else None
        found = self.base.value("resume_schedule($1, $2, $3)", name, due, self.now)
        assert found == theirs.resume(self.file, name, self.now)

    def bound(self) -> None:
        name, bound = self.name(), Bound(self.random.choice([None, 1, 2]), self.random.choice(OVERLAPS))
        found = self.base.value("bound_schedule($1, $2, $3)", name, *bound)
        assert found == theirs.set_bound(self.file, name, bound)

    def remove(self) -> None:
        if self.random.random() < 0.3:
            assert self.base.value("remove_schedule($1)", "it's") == theirs.remove(self.file, "it's")

    def take(self) -> None:
        taken = claiming.claim(self.file, 1, self.random.randint(1, 3), self.now).jobs
        due = "UPDATE jobs SET due = 0 WHERE state = 'pending' AND unmet = 0 AND due > 0 AND due <= $1"
        self.base.execute(due, self.now)
        self.base.value("start_attempts($1, 1, $2)", [job.id for job in taken], self.now)
        self.attempts |= {job.id: job.attempt for job in taken}

    def one(self, state: str) -> int | None:
        found = [job for (job,) in self.file.execute("SELECT id FROM jobs WHERE state = ?", (state,))]
        return self.random.choice(found) if found else None

    def end(self) -> None:
        if (job := self.one("running")) is not None:
            ending = Ending(self.random.choice([JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.FAILED]))
            operations.finish(self.file, job, self.attempts[job], ending, self.now)
            self.base.value("finish($1, 1, $2)", ending_said(job, self.attempts[job], ending), self.now)

    def cancel(self) -> None:
        if (job := self.one("pending")) is not None:
            operations.cancel(self.file, job, "why", self.now, 1)
            self.base.value("cancel($1, 'why', $2, 1)", job, self.now)

    def wait(self) -> None:
        self.now += self.random.choice([0.5, 5.0, 10.0, 30.0, 90.0])

    def set_clock_back(self) -> None:
        self.now -= self.random.choice([5.0, 50.0, 500.0])
        clock.shorten_waits(self.file, 1, self.now)
        clock.set_cron(self.file, self.now)
        self.base.value("shorten_waits($1)", self.now)
        for row in self.base.value("cron_schedules($1)", self.now):
            if (said := ours.cron_said(row, self.now)) is not None:
                assert self.base.value("set_due($1, $2, $3)", said["schedule"], said["seen"], said["due"])


def outcome(act: Callable[[], object]) -> object:
    """Return what something returned, or what of runs was in its way."""
    try:
        return act()
    except RunConflict as error:
        return str(error), error.run_ids


def follow(functions: Functions, file: sqlite3.Connection, seed: int) -> None:
    """Run one program on both; the same number gives the same."""
    file.execute("BEGIN")
    try:
        with functions.undone():
            program = Program(file, functions, random.Random(seed))
            for _ in range(30 + seed % 60):
                program.step()
    except Exception as error:
        error.add_note(f"program {seed}")
        raise
    finally:
        file.execute("ROLLBACK")


def test_the_same_programs_leave_the_same_rows(functions: Functions, file: sqlite3.Connection) -> None:
    """What was submitted and when it begins, what waits, what was skipped, and when it is due next."""
    for seed in range(24):
        follow(functions, file, seed)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_the_same_at_length(functions: Functions, file: sqlite3.Connection) -> None:
    """The same for a night."""
    for seed in range(1_000, 11_000):
        follow(functions, file, seed)
