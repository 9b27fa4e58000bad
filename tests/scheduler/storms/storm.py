"""Kills programs that share a store, again and again, and proves from the store that each job has ended once.

Triggers write every change of a job's state into a table of their own, so that nothing can happen twice unseen; what
else has to hold is in `promises`.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lifecycle.scheduler import StoreError
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.upkeep import SqliteUpkeep

from ...tracked import ROOT
from . import promises
from .history import LOOK, History, Ledger
from .trouble import Trouble, trouble

PROGRAM = f"{__package__}.program"

SCHEDULES = ("burst", "newest", "drop", "delay", "jittery", "alone", "in line", "latest")

MANY = 50
"""So many kills have to hit something."""


@dataclass
class Storm:
    """One store, the programs that work on it, and who kills them.

    Args:
        directory: where ledger and messages are written.
        seed: of all that is left to chance here; what the processes do with it is up to the machine.
        database: the store's file, by default in the directory.
        keep: so many ended jobs are kept; the others are deleted by the programs.
        schedules: the names of the schedules.
        clock: the file that says how far the clock of the programs is set forward; None for not at all.
        doubted: whether a program may be taken for dead while it lives: then what it runs is begun elsewhere, and its
            result dropped, but for a moment more goes on than may.
        troubled: whether the store is sometimes not to be written, or its files are not there.
        may_refuse: whether a program may find that it cannot use the store, and end by itself.
        max_crashes: crashes of its process after which a job has failed; None for never.
        names: the names by which the programs open the database, in turn; by default its own.
    """

    directory: Path
    seed: int
    database: Path = field(default=Path())
    keep: int | None = None
    schedules: tuple[str, ...] = SCHEDULES
    troubled: bool = False
    may_refuse: bool = False
    max_crashes: int | None = None
    names: tuple[Path, ...] = ()
    clock: Path | None = None
    doubted: bool = False

    def __post_init__(self) -> None:
        """Make an empty store with its watchers."""
        self.chance = random.Random(self.seed)
        self.database = self.database if self.database.name else self.directory / "jobs.sqlite"
        self.ledger = self.directory / "ledger"
        self.kills = self.refusals = 0
        self._alive: dict[str, subprocess.Popen[str]] = {}
        self._tags: dict[str, str] = {}
        self._first: dict[int, str] = {}  # lines that were read from those that live
        self._started = 0
        self._messages: IO[str] = (self.directory / "messages").open("a+")
        self.ledger.touch()
        with closing(connect(self.database, "jobs.sqlite")) as db:
            db.executescript(LOOK)

    def close(self) -> None:
        """Kill what a failed test has left running."""
        for process in self._alive.values():
            process.kill()
            process.communicate()
        self._alive.clear()
        self._messages.close()

    def run(self, kills: int, make: Trouble | None = None) -> None:
        """Kill so many processes while somebody makes trouble, let it calm down, and check everything."""
        with nullcontext() if make is None else trouble(make, self.seed):
            self.rage(kills)
        self.calm()
        print(self.check(), flush=True)
        self.close()

    # Killing

    def rage(self, kills: int) -> None:
        """Kill so many processes at random moments; one or two live at a time."""
        while self.kills < kills:
            self._wait(self._start_some())
            for role in self._victims():
                self._kill(role)
            if self.chance.random() < 0.7:  # else the next process has to recover the write-ahead log itself
                self.check_store()

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
        self.check_store()

    def _start_some(self) -> list[subprocess.Popen[str]]:
        wanted = self.chance.choice((["A"], ["B"], ["A", "B"], ["A", "B"]))
        return [self._start(role) for role in wanted if role not in self._alive]

    def _name(self) -> Path:
        return self.names[self._started % len(self.names)] if self.names else self.database

    def _start(self, role: str, *, finish: bool = False) -> subprocess.Popen[str]:
        self._started += 1
        self._tags[role] = f"{role}{self._started}"
        told = {
            "database": str(self._name()), "ledger": str(self.ledger), "role": role,
            "tag": self._tags[role], "seed": self.chance.randrange(2**32), "keep": self.keep, "finish": finish,
            "schedules": self.schedules, "clock": str(self.clock or ""), "troubled": self.troubled,
            "may_refuse": self.may_refuse, "max_crashes": self.max_crashes,
        }  # fmt: skip
        process = self._alive[role] = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, json.dumps(told)], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=self._messages, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return process

    def _wait(self, started: list[subprocess.Popen[str]]) -> None:
        """Wait for some moment in the life of what was just started: while it starts, or while it works."""
        for process in started:
            if self.chance.random() < 0.75:
                assert process.stdout is not None
                self._first[process.pid] = process.stdout.readline()  # it says that it is up, or why it ends
        time.sleep(self.chance.random() * 0.4)

    def _victims(self) -> list[str]:
        roles = sorted(self._alive)
        return roles if self.chance.random() < 0.3 else [self.chance.choice(roles)]

    def _kill(self, role: str) -> None:
        process = self._alive.pop(role)
        with self.ledger.open("a") as ledger:  # before: what it runs is the others' as soon as it is dead
            ledger.write(f"doomed {self._tags[role]}\n")
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        if process.returncode == -signal.SIGKILL:
            self.kills += 1
        else:
            self._refused(process, out)

    def _refused(self, process: subprocess.Popen[str], out: str) -> None:
        out = self._first.get(process.pid, "") + out
        assert self.may_refuse, f"it has ended by itself with {process.returncode}: {out}\n{self.messages()}"
        # Not 5: it was at work already, and should have waited.
        assert process.returncode == 3, f"{process.returncode}: {out}\n{self.messages()}"
        self.refusals += 1

    def messages(self) -> str:
        """Return what the processes have said on stderr."""
        self._messages.seek(0)
        return self._messages.read()

    # Looking

    def check_store(self) -> None:
        """Have the store look at itself, as `lifecycle store check` does, while programs work on it."""
        try:
            found = SqliteUpkeep(self.database).check()
        except StoreError:
            if not self.may_refuse:
                raise
            return
        assert found == (), "\n".join(found)

    def _unfinished(self) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=60.0)) as db:
            query = "SELECT id, run, name, state, owner, unmet, due FROM jobs WHERE finished IS NULL LIMIT 20"
            return [time.time(), *db.execute(query)]

    def check(self) -> str:
        """Check that no job was lost, that each has ended once, and all promises; return what was seen, for people."""
        assert (said := self.messages()) == "", said
        assert [path.name for path in self.database.parent.glob("jobs.sqlite-*")] == [], (
            "what the killed left is removed"
        )
        ledger = Ledger.read(self.ledger)
        crashes = self.max_crashes is not None
        with closing(sqlite3.connect(self.database)) as db:
            history = History.read(db)
            runs = db.execute("SELECT count(*) FROM runs").fetchone()[0]
            dues = promises.check_due_times(db, strict=self.clock is None)
            overlapping = promises.check_overlap(db, history)
            cleaned = promises.check_cleaning(db, history, ledger, crashes=crashes)
            promises.check_counts(db)
        self._check_jobs(history, ledger)
        keys = promises.check_keys(history)
        begun = promises.check_needs(history, ledger)
        most = {} if self.doubted else promises.check_limits(history, ledger)
        paced = 0 if self.clock is not None else promises.check_rates(history, ledger)
        moves = [move for _, move in history.order]
        hit = sum(move[:2] == ("running", "interrupted") for move in moves)
        again = sum(move.again for move in moves)
        if self.kills >= MANY:
            assert again > 0, "jobs have to be tried again by hand"
            assert hit > 0, "the kills have to hit jobs in flight"
            assert keys > 0
            assert begun > 0
            assert dues > 0
        return (
            f"seed {self.seed}: {self.kills} kills, {self.refusals} refusals, {len(history.stories)} jobs, "
            f"{len(ledger.accepted)} accepted one by one, {ledger.busy} refused, {runs} runs, {dues} due times, "
            f"{hit} attempts interrupted, {again} again by hand, {len(ledger.unwanted)} cancelled, {keys} with a key, "
            f"{begun} begun after others, {paced} at a rate, most at once {most}, overlap {dict(overlapping)}, "
            f"cleaning up {dict(cleaned)}"
        )

    def _check_jobs(self, history: History, ledger: Ledger) -> None:
        by_label = history.by_label()
        for name, number in ledger.accepted.items():
            assert by_label[name].job == number, f"{name} was accepted and is not there"
        for name, story in by_label.items():
            ledger.check(name, story)
        for story in history.stories.values():
            promises.check_story(story)
            if self.clock is None:
                promises.check_times(story)
            if self.max_crashes is not None:
                promises.check_crashes(story, self.max_crashes)
