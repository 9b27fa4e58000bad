"""What happened in a storm: every change of every job as triggers of the database saw it, and what programs noted."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LOOK: str = """
CREATE TABLE moves (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER, old TEXT, new TEXT, attempt INTEGER, result TEXT,
    began REAL, at REAL, expires REAL, paused INTEGER, early INTEGER);
CREATE TABLE known (
    job INTEGER PRIMARY KEY, run INTEGER, name TEXT, queue TEXT, handler TEXT, runs_when TEXT, key TEXT,
    replaced INTEGER);
CREATE TABLE dues (schedule INTEGER, scheduled REAL, due REAL, delay REAL, job INTEGER);
CREATE TRIGGER put_in AFTER INSERT ON jobs BEGIN
    INSERT INTO known VALUES (new.id, new.run, new.name, new.queue, new.handler, new.when_, NULL, 0);
    INSERT INTO moves (job, old, new, attempt) VALUES (new.id, '', new.state, new.attempt);
END;
CREATE TRIGGER got_key AFTER UPDATE OF key ON jobs WHEN new.key IS NOT NULL BEGIN
    UPDATE known SET key = new.key WHERE job = new.id;
END;
CREATE TRIGGER handed_on AFTER UPDATE OF key ON jobs WHEN old.key IS NOT NULL AND new.key IS NULL BEGIN
    UPDATE known SET replaced = 1 WHERE job = new.id;
END;
CREATE TRIGGER moved AFTER UPDATE OF state, result, attempt ON jobs BEGIN
    INSERT INTO moves (job, old, new, attempt, result, began, at, expires, paused, early)
    SELECT new.id, old.state, new.state, new.attempt, new.result, new.started, new.at, new.expires,
        EXISTS (SELECT 1 FROM limits WHERE paused AND (kind = 'all' OR (kind = 'queue' AND name = new.queue)
                OR (kind = 'handler' AND name = new.handler))),
        EXISTS (SELECT 1 FROM needs JOIN jobs AS above ON above.id = needed WHERE needs.job = new.id AND (
                above.finished IS NULL OR (
                    above.state NOT IN ('succeeded', 'skipped') AND NOT tolerant AND new.when_ IS NULL)));
END;
CREATE TRIGGER let_go AFTER DELETE ON jobs BEGIN
    INSERT INTO moves (job, old, new, attempt) VALUES (old.id, old.state, '', old.attempt);
END;
CREATE TRIGGER was_due AFTER UPDATE OF scheduled ON jobs BEGIN
    INSERT INTO dues VALUES (new.schedule, new.scheduled, new.due, new.delay, new.id);
END;
"""
"""Has the database write down what becomes of each job, in the transaction in which it does.

``paused`` and ``early`` are what the database itself finds at that moment: whether something is paused that keeps the
job out, and whether what it needs has not ended, or not as it should.
"""

FINAL = {"succeeded", "failed", "cancelled", "timed_out", "skipped"}

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
    ("pending", "skipped"): 0,  # a step for failures, without any
    **{("running", end): 0 for end in FINAL - {"skipped"}},
    **{(end, "pending"): 0 for end in FINAL},  # again by hand
    **{(end, ""): 0 for end in FINAL},
}
"""What a job may do, and by how much its attempt grows."""


class Move(NamedTuple):
    """One change of a job, with what the database found at that moment."""

    old: str
    new: str
    attempt: int
    result: str | None = None
    began: float | None = None
    at: float | None = None
    expires: float | None = None
    paused: bool = False
    early: bool = False

    @property
    def begins(self) -> bool:
        """Whether an attempt begins."""
        return self.new == "running" and self.old != "running"

    @property
    def again(self) -> bool:
        """Whether a job that has ended waits again, by hand."""
        return self.old in FINAL and self.new == "pending"


@dataclass
class Story:
    """What the triggers saw of one job."""

    job: int
    run: int | None
    name: str
    queue: str
    handler: str | None
    runs_when: str | None
    key: str | None
    replaced: bool
    scheduled: bool
    moves: list[Move] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the ledger calls it."""
        return self.name if self.run is None else f"run{self.run}-{self.name}"

    @property
    def keeps_key(self) -> bool:
        """Whether its key is its own: one that has handed it on, and is tried again by hand, has none any more."""
        return self.key is not None and not (self.replaced and self.again)

    @property
    def end(self) -> Move:
        """What brought it to its last state."""
        return next(move for move in reversed(self.moves) if move.new)

    @property
    def began(self) -> bool:
        """Whether it was ever begun."""
        return any(move.begins for move in self.moves)

    @property
    def again(self) -> bool:
        """Whether somebody has had it tried again."""
        return any(move.again for move in self.moves)


@dataclass
class History:
    """All that ever was: the stories of the jobs by their numbers, and their moves in order."""

    stories: dict[int, Story]
    order: list[tuple[int, Move]]

    @classmethod
    def read(cls, db: sqlite3.Connection) -> History:
        """Return what the triggers have written."""
        scheduled = {job for (job,) in db.execute("SELECT job FROM dues")}
        columns = "job, run, name, queue, handler, runs_when, key, replaced"
        stories = {row[0]: Story(*row, row[0] in scheduled) for row in db.execute(f"SELECT {columns} FROM known")}
        order = []
        for job, *values in db.execute(f"SELECT job, {', '.join(Move._fields)} FROM moves ORDER BY number"):
            move = Move(*values)
            stories[job].moves.append(move)
            order.append((job, move))
        return cls(stories, order)

    def by_label(self) -> dict[str, Story]:
        """Return the stories by what the ledger calls the jobs; the runs of schedules are not in it."""
        return {story.label: story for story in self.stories.values() if story.run or not story.scheduled}

    def runs(self) -> dict[int, dict[str, Story]]:
        """Return the stories of each run, by the names of the jobs."""
        runs: dict[int, dict[str, Story]] = defaultdict(dict)
        for story in self.stories.values():
            if story.run is not None:
                runs[story.run][story.name] = story
        return runs


@dataclass
class Ledger:
    """What the programs have written down: by name, in the order of the lines (`program.told` says which there are)."""

    accepted: dict[str, int] = field(default_factory=dict)
    needs: dict[str, list[int]] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    unwanted: dict[str, str] = field(default_factory=dict)
    saw: dict[str, str] = field(default_factory=dict)
    stopping: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    ran: dict[int, str] = field(default_factory=dict)
    busy: int = 0
    order: list[tuple[str, str, str]] = field(default_factory=list)
    """The attempts that begin, end or are left, and the processes that are doomed: what, of which job, in which."""

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Return what is in a file; what was begun elsewhere after it was no more wanted fails at once.

        Unless it had failed before that took effect, and somebody has tried it again.
        """
        ledger = cls()
        again = {name for what, name, *_ in _lines(path) if what == "again"}
        for what, name, *details in _lines(path):
            match what:
                case "busy":
                    ledger.busy += 1
                case "accepted":
                    ledger.accepted[name] = int(details[0])
                case "needs":
                    ledger.needs[name] = [int(number) for number in details]
                case "unwanted":
                    ledger.unwanted[name] = details[0]
                case "saw":
                    ledger.saw[name] = details[1]
                case "stopping":
                    ledger.stopping[int(name)] += 1
                case "ran":
                    ledger.ran[int(details[1])] = details[2]
                case "doomed":
                    ledger.order.append((what, "", name))
                case "begin" | "end" | "left":
                    if what == "begin":
                        wanted = name in again or ledger.unwanted.get(name, details[1]) == details[1]
                        assert wanted, f"{name} was cancelled, and begun again"
                        ledger.begun[name].append(int(details[0]))
                    elif what == "end":
                        ledger.ended[name].append(int(details[0]))
                    ledger.order.append((what, name, details[1]))
        return ledger

    def check(self, name: str, story: Story) -> None:
        """Check that what was done for a job agrees with what the store says of it."""
        _, state, attempt, result, *_ = story.end
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
