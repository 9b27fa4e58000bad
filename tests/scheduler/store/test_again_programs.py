"""Everything that can befall jobs of an SQLite file, at random: needs, runs, retries by hand, purges, deaths, keys.

After each step the counts of the file agree with its rows. What begins has what it needs, also when that has been
deleted meanwhile. And when nothing more is asked for, everything comes to its end.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.records import FINAL, Ending, NewJob, NewRun, flow_key
from lifecycle.scheduler._store.sqlite import admission, again, claiming, entering, operations, owners, sweeping, upkeep
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.terms import Terms

GOOD = {"succeeded", "skipped"}
ENDED = {status.value for status in FINAL}
ENDINGS = ("succeeded", "succeeded", "failed", "timed_out", "cancelled")

_UNMET = """
    SELECT id, unmet FROM jobs WHERE state IN ('pending', 'interrupted') AND unmet != (
        SELECT count(*) FROM needs JOIN jobs AS above ON above.id = needed
        WHERE needs.job = jobs.id AND above.finished IS NULL)"""
_ORPHANS = "SELECT count(*) FROM needs WHERE job NOT IN (SELECT id FROM jobs)"


@dataclass
class Asked:
    """On which terms a job was submitted."""

    needs: tuple[int, ...]
    when: str = "success"
    tolerates: frozenset[int] = frozenset()


@dataclass
class Program:
    """A file, and what a random program knows of it."""

    db: sqlite3.Connection
    random: random.Random
    now: float = field(default_factory=time.time)  # where a death is noted, the clock is asked
    asked: dict[int, Asked] = field(default_factory=dict)
    last: dict[int, str] = field(default_factory=dict)  # the states, of what has been deleted the last one
    attempts: dict[int, int] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)  # since it was submitted, or tried again by hand

    def __post_init__(self) -> None:
        for number in (1, 2):
            owners.register(self.db, f"token {number}", 1, "x", self.now)

    def step(self) -> None:
        """Do one thing, and look at the file."""
        act: Callable[[], None] = self.random.choice(
            [self.submit] * 4 + [self.take] * 5 + [self.end] * 6 + [self.again] * 4 + [self.open_run, self.again_run]
            + [self.cancel, self.cancel_run, self.purge, self.die, self.give_back, self.wait]
        )  # fmt: skip
        act()
        self.look()

    def look(self) -> None:
        """Nothing in the file contradicts itself."""
        assert [line for rule in upkeep._RULES for line in upkeep._broken(self.db, rule)] == []
        assert self.db.execute(_UNMET).fetchall() == []
        assert self.db.execute(_ORPHANS).fetchone() == (0,)
        before = dict(self.last)
        self.last.update(self.db.execute("SELECT id, state FROM jobs").fetchall())
        self.begun -= {job for job, state in self.last.items() if state not in ENDED and before.get(job) in ENDED}

    def some_of(self, wanted: Callable[[str], bool], most: int = 1) -> list[int]:
        found = [number for number, state in self.db.execute("SELECT id, state FROM jobs") if wanted(state)]
        return self.random.sample(found, min(len(found), self.random.randint(1, most)))

    def owner(self, *others: None) -> int | None:
        return self.random.choice([1, 2, *others])

    def submit(self) -> None:
        needs = tuple(sorted(self.last)[-8:])
        needs = tuple(self.random.sample(needs, min(len(needs), self.random.choice([0, 0, 1, 1, 2, 3]))))
        held = {need for need in needs if self.last[need] in ENDED and self.random.random() < 0.5}  # by handles
        ended = tuple((need, None if self.last[need] in GOOD else "it failed") for need in needs if need in held)
        key = self.random.choice([None, None, "a", "b"])
        terms = Terms(
            lifetime=self.random.choice([None, None, 15.0]),
            key=key,
            on_twin=self.random.choice(["refuse", "replace"]) if key else "refuse",
            needs=tuple(need for need in needs if need not in held),
            ended=ended,
        )
        job = NewJob("x", "call", delay=self.random.choice([0.0, 0.0, 5.0]), payload={"handler": "h"}, terms=terms)
        admitted = admission.admit(self.db, job, self.owner(), self.now)
        if admitted.job is not None:
            self.asked[admitted.job] = Asked(needs)

    def open_run(self) -> None:
        jobs: list[NewJob] = []
        for number in range(self.random.randint(1, 5)):
            needs = tuple(f"j{other}" for other in range(number) if self.random.random() < 0.5)
            when = self.random.choice(["success", "success", "always", "failure"]) if needs else "success"
            tolerates = tuple(need for need in needs if self.random.random() < 0.2)
            jobs.append(NewJob(f"j{number}", "call", needs=needs, when=when, tolerates=tolerates))
        run = entering.insert_run(self.db, NewRun("f", "f", "d", "{}", tuple(jobs)), self.owner(), self.now).run_id
        ids = dict(self.db.execute("SELECT name, id FROM jobs WHERE run = ?", (run,)).fetchall())
        for job in jobs:
            needed, tolerated = tuple(ids[need] for need in job.needs), frozenset(ids[need] for need in job.tolerates)
            self.asked[ids[job.name]] = Asked(needed, job.when, tolerated)

    def take(self) -> None:
        self.take_for(self.owner(), self.random.randint(1, 5))

    def take_for(self, owner: int | None, limit: int) -> None:
        """A scheduler takes what may begin; for the first time only with all that it needs."""
        while admission.expire(self.db, self.now):
            pass
        self.look()
        for claimed in claiming.claim(self.db, owner, limit, self.now).jobs:
            asked = self.asked[claimed.id]
            if claimed.id not in self.begun and asked.when == "success":
                states = {need: self.last[need] for need in asked.needs}
                assert not [need for need, state in states.items() if state not in ENDED]
                assert not [need for need, state in states.items() if need not in asked.tolerates | _good(states)]
            self.begun.add(claimed.id)
            self.attempts[claimed.id] = claimed.attempt

    def end(self) -> None:
        for job in self.some_of(lambda state: state == "running"):
            ending = Ending(JobStatus(self.random.choice(ENDINGS)), error="x")
            tried_again = self.random.random() < 0.2 and operations.retry(
                self.db, job, self.attempts[job], ending, self.now + 1.0
            )
            if not tried_again:
                assert operations.finish(self.db, job, self.attempts[job], ending, self.now).accepted

    def again(self) -> None:
        wanted = self.some_of(lambda state: True, 2)
        known = self.random.choice([("h", flow_key("f", "d")), ()])
        force = self.random.random() < 0.4
        if force:  # also without what has been deleted
            left = {number for (number,) in self.db.execute("SELECT id FROM jobs")}
            for job in wanted:
                needs = tuple(need for need in self.asked[job].needs if need in left)
                self.asked[job] = replace(self.asked[job], needs=needs)
        again.revive_jobs(self.db, wanted, force=force, by=self.owner(None), known=known, now=self.now)

    def again_run(self) -> None:
        again.revive_run(self.db, self.a_run(), by=self.owner(None), known=(), now=self.now)

    def a_run(self) -> int:
        runs = [run for (run,) in self.db.execute("SELECT id FROM runs")]
        return self.random.choice(runs) if runs else 99

    def cancel(self) -> None:
        for job in self.some_of(lambda state: state not in ENDED):
            operations.cancel(self.db, job, "why", self.now, self.owner(None))

    def cancel_run(self) -> None:
        operations.cancel_run(self.db, self.a_run(), "why", self.now, self.owner(None))

    def purge(self) -> None:
        rows = self.db.execute(
            """
            SELECT jobs.id, jobs.run FROM jobs LEFT JOIN runs ON runs.id = run
            WHERE jobs.finished IS NOT NULL AND (run IS NULL OR runs.finished IS NOT NULL)"""
        ).fetchall()
        sweeping.delete_jobs(self.db, [row for row in rows if self.random.random() < 0.4])

    def die(self) -> None:
        """A process dies, and another takes over what it had."""
        dead = self.random.choice([1, 2])
        owners.retire(self.db, dead, crashed=True)
        values = (dead, f"token {dead}", 1, "x", self.now)
        self.db.execute("INSERT INTO owners (id, token, pid, name, started) VALUES (?, ?, ?, ?, ?)", values)
        self.adopt(3 - dead)

    def adopt(self, owner: int) -> None:
        owners.adopt_jobs(self.db, owner, ["h"], None)
        owners.adopt_served_runs(self.db, owner, [flow_key("f", "d")], None)

    def give_back(self) -> None:
        for job in self.some_of(lambda state: state == "running"):
            claiming.give_back(self.db, [(job, self.attempts[job])], 1.0)

    def wait(self) -> None:
        self.now += self.random.choice([1.0, 5.0, 20.0])

    def come_to_an_end(self) -> None:
        """Whatever has not ended does, when all that runs succeeds and nobody asks for anything."""
        for _ in range(200):
            self.now += 100.0
            self.adopt(1)
            for owner in (1, 2):
                self.take_for(owner, 50)
            self.look()
            for job in [job for job, state in self.last.items() if state == "running"]:
                operations.finish(self.db, job, self.attempts[job], Ending(JobStatus.SUCCEEDED), self.now)
            self.look()
            if not self.db.execute("SELECT 1 FROM jobs WHERE finished IS NULL").fetchone():
                return
        left = "SELECT id, name, state, owner, unmet, due, blocked FROM jobs WHERE finished IS NULL"
        raise AssertionError(f"never ends: {self.db.execute(left).fetchall()}")


def _good(states: dict[int, str]) -> set[int]:
    return {need for need, state in states.items() if state in GOOD}


@pytest.fixture(scope="module", name="file")
def new_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A store for all programs: what they do to it is undone."""
    with closing(connect(tmp_path_factory.mktemp("programs") / "jobs.sqlite", "jobs.sqlite")) as db:
        yield db


def run(db: sqlite3.Connection, seed: int, steps: int) -> None:
    """Run one program; the same number gives the same."""
    db.execute("BEGIN")
    try:
        program = Program(db, random.Random(seed))
        for _ in range(steps):
            program.step()
        program.come_to_an_end()
    except AssertionError as error:
        error.add_note(f"program {seed}, {steps} steps")
        raise
    finally:
        db.execute("ROLLBACK")


def test_whatever_befalls_jobs(file: sqlite3.Connection) -> None:
    """No count is wrong, nothing begins without what it needs, and everything ends."""
    for seed in range(200):
        run(file, seed, 20 + seed % 60)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_whatever_befalls_jobs_at_length(file: sqlite3.Connection) -> None:
    """The same for a night."""
    for seed in range(1_000, 21_000):
        run(file, seed, 20 + seed % 100)
