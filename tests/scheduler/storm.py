"""Kills programs that share a store, again and again, and proves from the store that each job has ended once.

Triggers write every change of a job's state into a table of their own, so that nothing can happen twice unseen.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lifecycle.scheduler._store.sqlite.files import connect

PROGRAM = Path(__file__).with_name("busy.py")

WATCH = """
CREATE TABLE moves (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER, run INTEGER, name TEXT, old TEXT, new TEXT,
    attempt INTEGER, result TEXT);
CREATE TABLE dues (schedule INTEGER, scheduled REAL, job INTEGER);
CREATE TRIGGER put_in AFTER INSERT ON jobs BEGIN
    INSERT INTO moves (job, run, name, old, new, attempt)
    VALUES (new.id, new.run, new.name, '', new.state, new.attempt);
END;
CREATE TRIGGER moved AFTER UPDATE OF state, result, attempt ON jobs BEGIN
    INSERT INTO moves (job, run, name, old, new, attempt, result)
    VALUES (new.id, new.run, new.name, old.state, new.state, new.attempt, new.result);
END;
CREATE TRIGGER let_go AFTER DELETE ON jobs BEGIN
    INSERT INTO moves (job, run, name, old, new, attempt)
    VALUES (old.id, old.run, old.name, old.state, '', old.attempt);
END;
CREATE TRIGGER was_due AFTER UPDATE OF scheduled ON jobs BEGIN
    INSERT INTO dues VALUES (new.schedule, new.scheduled, new.id);
END;
"""

MANY = 50
"""So many kills have to hit something."""

FINAL = {"succeeded", "failed", "cancelled", "timed_out"}

ALLOWED = {
    ("", "pending"): 0,
    ("pending", "running"): 1,
    ("running", "pending"): 0,  # to be tried again, or given back (then the attempt counts for nothing)
    ("running", "interrupted"): 0,
    ("interrupted", "pending"): 0,
    ("pending", "pending"): 0,  # taken over from a dead owner
    ("interrupted", "cancelled"): 0,
    ("interrupted", "failed"): 0,  # it has crashed its process too often
    ("pending", "cancelled"): 0,
    **{("running", end): 0 for end in FINAL},
    **{(end, "pending"): 0 for end in ("failed", "timed_out", "cancelled")},  # again by hand
    **{(end, ""): 0 for end in FINAL},
}
"""What a job may do, and by how much its attempt grows."""


@dataclass
class Storm:
    """One store, the programs that work on it, and who kills them.

    Args:
        directory: where ledger and messages are written.
        seed: of all that is left to chance here; what the processes do with it is up to the machine.
        database: the store's file, by default in the directory.
        keep: so many ended jobs are kept; the others are deleted by the programs.
        schedules: the names of the schedules.
        troubled: whether the store is sometimes not to be written, or its files are not there.
        may_refuse: whether a program may find that it cannot use the store, and end by itself.
        max_crashes: crashes of its process after which a job has failed; None for never.
        names: the names by which the programs open the database, in turn; by default its own.
    """

    directory: Path
    seed: int
    database: Path = field(default=Path())
    keep: int | None = None
    schedules: tuple[str, ...] = ("burst", "newest", "drop", "delay")
    troubled: bool = False
    may_refuse: bool = False
    max_crashes: int | None = None
    names: tuple[Path, ...] = ()
    clock: Path | None = None

    def __post_init__(self) -> None:
        """Make an empty store with its watchers."""
        self.chance = random.Random(self.seed)
        self.database = self.database if self.database.name else self.directory / "jobs.sqlite"
        self.ledger = self.directory / "ledger"
        self.kills = self.refusals = 0
        self._alive: dict[str, subprocess.Popen[str]] = {}
        self._started = 0
        self._messages: IO[str] = (self.directory / "messages").open("a+")
        self.ledger.touch()
        with closing(connect(self.database, "jobs.sqlite")) as db:
            db.executescript(WATCH)

    def close(self) -> None:
        """Kill what a failed test has left running."""
        for process in self._alive.values():
            process.kill()
            process.communicate()
        self._alive.clear()
        self._messages.close()

    # Killing

    def rage(self, kills: int) -> None:
        """Kill so many processes at random moments; one or two live at a time."""
        while self.kills < kills:
            self._wait(self._start_some())
            for role in self._victims():
                self._kill(role)
            if self.chance.random() < 0.7:  # else the next process has to recover the write-ahead log itself
                self.check_integrity("integrity_check" if self.kills % 20 == 0 else "quick_check")

    def calm(self, timeout: float = 90.0) -> None:
        """Let everything come to its end, after the last kill."""
        for role in list(self._alive):
            self._kill(role)
        while True:
            process = self._start("last", finish=True)
            try:
                out, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"jobs do not end: {self._unfinished()}") from None
            del self._alive["last"]
            if process.returncode == 0:
                break
            self._refused(process, out)
        self.check_integrity("integrity_check")

    def _start_some(self) -> list[subprocess.Popen[str]]:
        wanted = self.chance.choice((["A"], ["B"], ["A", "B"], ["A", "B"]))
        return [self._start(role) for role in wanted if role not in self._alive]

    def _name(self) -> Path:
        return self.names[self._started % len(self.names)] if self.names else self.database

    def _start(self, role: str, *, finish: bool = False) -> subprocess.Popen[str]:
        self._started += 1
        told = {
            "database": str(self._name()), "ledger": str(self.ledger), "role": role, "roles": ["A", "B"],
            "tag": f"{role}{self._started}", "seed": self.chance.randrange(2**32), "keep": self.keep, "finish": finish,
            "schedules": self.schedules, "clock": str(self.clock or ""), "troubled": self.troubled,
            "max_crashes": self.max_crashes,
        }  # fmt: skip
        process = self._alive[role] = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(told)],
            stdout=subprocess.PIPE, stderr=self._messages, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return process

    def _wait(self, started: list[subprocess.Popen[str]]) -> None:
        """Wait for some moment in the life of what was just started: while it starts, or while it works."""
        for process in started:
            if self.chance.random() < 0.75:
                assert process.stdout is not None
                process.stdout.readline()  # it says that it is up, or ends
        time.sleep(self.chance.random() * 0.4)

    def _victims(self) -> list[str]:
        roles = sorted(self._alive)
        return roles if self.chance.random() < 0.3 else [self.chance.choice(roles)]

    def _kill(self, role: str) -> None:
        process = self._alive.pop(role)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        if process.returncode == -signal.SIGKILL:
            self.kills += 1
        else:
            self._refused(process, out)

    def _refused(self, process: subprocess.Popen[str], out: str) -> None:
        assert self.may_refuse, f"it has ended by itself with {process.returncode}: {out}\n{self.messages()}"
        # Not 5: it was at work already, and should have waited.
        assert process.returncode == 3, f"{process.returncode}: {out}\n{self.messages()}"
        self.refusals += 1

    def messages(self) -> str:
        """Return what the processes have said on stderr."""
        self._messages.seek(0)
        return self._messages.read()

    # Looking

    def check_integrity(self, pragma: str) -> None:
        """Have SQLite look at the whole file."""
        try:
            with closing(sqlite3.connect(self.database, timeout=60.0)) as db:
                found = db.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.OperationalError:
            if not self.may_refuse:
                raise
            return
        assert found == [("ok",)]

    def _unfinished(self) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=60.0)) as db:
            query = "SELECT id, run, name, state, owner, unmet, due FROM jobs WHERE finished IS NULL LIMIT 20"
            return [time.time(), *db.execute(query)]

    def check(self) -> str:
        """Check that no job was lost and that each has ended once; return what was seen, for people."""
        assert (said := self.messages()) == "", said
        assert [path.name for path in self.database.parent.glob("jobs.sqlite-*")] == [], (
            "what the killed left is removed"
        )
        with closing(sqlite3.connect(self.database)) as db:
            history = read_history(db)
            left = db.execute("SELECT count(*), sum(unfinished) FROM runs").fetchone()
            dues = check_due_times(db, strict=self.clock is None)
        ledger = Ledger.read(self.ledger)
        for story in history.values():
            check_story(story)
        by_name = {story.label: story for story in history.values() if story.run or not story.scheduled}
        assert left[1] == 0, "a run has not ended"
        for name, number in ledger.accepted.items():
            assert by_name[name].job == number, f"{name} was accepted and is not there"
        for name, story in by_name.items():
            ledger.check(name, story)
        if self.max_crashes is not None:
            for story in history.values():
                check_crashes(story, self.max_crashes)
        hit = sum(move[:2] == ("running", "interrupted") for story in history.values() for move in story.moves)
        again = sum(old in FINAL and new == "pending" for story in history.values() for old, new, *_ in story.moves)
        if self.kills >= MANY:
            assert again > 0, "jobs have to be tried again by hand"
            assert hit > 0, "the kills have to hit jobs in flight"
            assert dues > 0
        return (
            f"seed {self.seed}: {self.kills} kills, {self.refusals} refusals, {len(history)} jobs, "
            f"{len(ledger.accepted)} accepted one by one, {ledger.busy} refused, {left[0]} runs, {dues} due times, "
            f"{hit} attempts interrupted, {again} again by hand, {len(ledger.unwanted)} cancelled"
        )


@dataclass
class Story:
    """What the triggers saw of one job: ``(old state, new state, attempt, result)`` in order."""

    job: int
    run: int | None
    name: str
    scheduled: bool
    moves: list[tuple[str, str, int, str | None]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the ledger calls it."""
        return self.name if self.run is None else f"run{self.run}-{self.name}"

    @property
    def end(self) -> tuple[str, int, str | None]:
        """Its last state, the attempt that reached it, and the result."""
        return next((new, attempt, result) for _, new, attempt, result in reversed(self.moves) if new)


def read_history(db: sqlite3.Connection) -> dict[int, Story]:
    """Return the story of every job that ever was."""
    scheduled = {job for (job,) in db.execute("SELECT job FROM dues")}
    history: dict[int, Story] = {}
    for job, run, name, *move in db.execute(
        "SELECT job, run, name, old, new, attempt, result FROM moves ORDER BY number"
    ):
        story = history.setdefault(job, Story(job, run, name, job in scheduled))
        story.moves.append(tuple(move))
    return history


def check_story(story: Story) -> None:
    """Check that a job did nothing but what a job may do: above all, that it ended, and only once."""
    state, attempt = "", 0
    for old, new, number, _ in story.moves:
        assert old == state, story
        assert (old, new) in ALLOWED, story
        given_back = (old, new) == ("running", "pending") and number == attempt - 1
        assert number == attempt + ALLOWED[old, new] or given_back, story
        state, attempt = new, number
    assert state in FINAL or (state == "" and story.moves[-1][0] in FINAL), story


def check_crashes(story: Story, most: int) -> None:
    """Check that a job ends with its last crash, and only then because of one; here nothing else interrupts jobs."""
    crashes = 0
    for old, new, *_ in story.moves:
        crashes = (
            0 if old in FINAL else crashes + ((old, new) == ("running", "interrupted"))
        )  # again: from the beginning
        assert crashes <= most, story
        assert (old, new) != ("interrupted", "failed") or crashes == most, story


@dataclass
class Ledger:
    """What the programs have written down: by name, in the order of the lines."""

    accepted: dict[str, int] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    unwanted: dict[str, str] = field(default_factory=dict)
    busy: int = 0

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Return what is in a file; what was begun elsewhere after it was no more wanted fails at once.

        Unless it had failed before that took effect, and somebody has tried it again.
        """
        ledger = cls()
        again = {name for what, name, *_ in _lines(path) if what == "again"}
        for what, name, *details in _lines(path):
            if what == "busy":
                ledger.busy += 1
            elif what == "accepted":
                ledger.accepted[name] = int(details[0])
            elif what == "unwanted":
                ledger.unwanted[name] = details[0]
            elif what == "begin":
                wanted = name in again or ledger.unwanted.get(name, details[1]) == details[1]
                assert wanted, f"{name} was cancelled, and begun again"
                ledger.begun[name].append(int(details[0]))
            elif what == "end":
                ledger.ended[name].append(int(details[0]))
        return ledger

    def check(self, name: str, story: Story) -> None:
        """Check that what was done for a job agrees with what the store says of it."""
        state, attempt, result = story.end
        begun = self.begun.get(name, [])
        assert len(set(begun)) == len(begun), f"{name}: an attempt was begun twice: {begun}"
        assert all(number <= attempt for number in begun), f"{name}: begun after its end: {begun} {story}"
        if state == "succeeded":
            assert attempt in self.ended[name], f"{name} has succeeded without being done"
            assert result is not None
            assert json.loads(result) == [name, attempt], f"{name}: the result of another attempt: {story}"


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open() as file:
        for line in file:
            yield line.split()


def check_due_times(db: sqlite3.Connection, *, strict: bool) -> int:
    """Check that every due time of every schedule was run once, or counted as missed; return how many there were.

    Args:
        db: the store.
        strict: whether the clock was never set, so that due times come one after the other.
    """
    seen = Counter(db.execute("SELECT schedule, scheduled FROM dues"))
    assert not [due for due, times in seen.items() if times > 1], "a due time was run twice"
    columns = "id, name, kind, rule, anchor, missed, runs, missed_runs, last_due"
    for number, name, kind, rule, anchor, missed, runs, dropped, last in db.execute(f"SELECT {columns} FROM schedules"):
        times = [at for (at,) in db.execute("SELECT scheduled FROM dues WHERE schedule = ? ORDER BY job", (number,))]
        assert len(times) == runs, name
        if not times:
            continue
        assert times[-1] == last, name
        if kind != "fixed_rate" or not strict:
            continue
        steps = [round((at - anchor) / float(rule), 3) for at in times]
        assert steps == sorted(steps), name
        assert all(step == int(step) for step in steps), f"{name}: each is on the grid"
        if missed == "burst":
            assert dropped == 0
            assert steps == [float(step) for step in range(1, len(steps) + 1)], f"{name}: none is skipped"
        elif missed == "coalesce":
            assert steps[-1] == len(steps) + dropped, f"{name}: what has no job is counted"
        else:
            assert steps[-1] <= len(steps) + dropped, f"{name}: what has no job is counted"
    return sum(seen.values())
