"""Keeping an SQLite store in shape: looking, checking, deleting what has ended, shrinking and copying.

Each of these is one call from outside, with a connection of its own, and may be made while schedulers work on the
file: none of them holds the write lock for longer than one batch, but `vacuum`, which rewrites the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..._ground.errors import StoreError
from ..records import JobStatus
from ..store_facts import StoreFacts, StoreOwner
from ..upkeep import check_purge
from . import claiming, owners, schedules, views
from .files import begin_to_write, explain
from .locks import Doubts
from .partial import partial_beside, write_through
from .place import Place, belongs_to, log_of, shared_memory_of
from .schema import VERSION
from .sweeping import ROWS, delete_jobs
from .visit import reading, visit

PROBLEMS: Final = 20
"""Problems of one kind that a check lists."""

_EXPORTED: Final = 500
"""Rows that an export has in memory."""


class SqliteUpkeep:
    """Looks after an SQLite store, as an operator does, from any process.

    Args:
        path: the file, which must be there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._place = Place(path)
        self._path = self._place.path

    def facts(self) -> StoreFacts:
        """Return what the store holds.

        Raises:
            StoreError: it cannot be read.
        """
        with reading(self._place) as db:
            pages, free, size = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in _PAGES)
            counts = dict(db.execute("SELECT state, jobs FROM counts").fetchall())
            runs, unfinished = db.execute("SELECT count(*), count(*) - count(finished) FROM runs").fetchone()
            scheduled = db.execute("SELECT count(*) FROM schedules").fetchone()[0]
            dead = {owner for owner, _ in owners.dead_owners(db, self._path, Doubts())}
            alive = db.execute("SELECT id, name, pid, started FROM owners ORDER BY id").fetchall()
            identity = views.identity(db)
        return StoreFacts(
            path=self._place.shown,
            identity=identity,
            version=VERSION,
            size=pages * size + _size_of(log_of(self._path)),
            free=free * size,
            jobs={status.value: counts.get(status.value, 0) for status in JobStatus},
            runs=runs,
            unfinished_runs=unfinished,
            schedules=scheduled,
            owners=tuple(StoreOwner(name, pid, started) for owner, name, pid, started in alive if owner not in dead),
        )

    def check(self) -> tuple[str, ...]:
        """Return what is wrong with the store, one line each; nothing when it is sound.

        It looks at the file itself (`PRAGMA integrity_check`), and at what its rows say of each other.

        Raises:
            StoreError: it cannot be read at all.
        """
        with reading(self._place) as db:
            answers = db.execute(f"PRAGMA integrity_check({PROBLEMS})").fetchall()
            damage = [f"the file is damaged: {answer}" for (answer,) in answers if answer != "ok"]
            return tuple(damage) or tuple(line for rule in _RULES for line in _broken(db, rule))

    def purge(
        self,
        *,
        older_than: float = 0.0,
        keep: int | None = None,
        name: str | None = None,
        succeeded: bool = False,
        dry_run: bool = False,
    ) -> int:
        check_purge(older_than, keep, name)
        with visit(self._place) as db:
            newest = db.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()[0]
            wanted = {
                "horizon": time.time() - older_than,
                "last": newest if keep is None else newest - keep,
                "name": name,
                "succeeded": succeeded,
            }
            deleted = last = 0
            while rows := db.execute(_ENDED, {**wanted, "from": last, "limit": ROWS}).fetchall():
                last = rows[-1][0]
                if not dry_run:
                    begin_to_write(db)
                    # Once more, now that nothing can change: somebody may have had one of them tried again.
                    rows = db.execute(_ENDED, {**wanted, "from": rows[0][0] - 1, "limit": len(rows)}).fetchall()
                    delete_jobs(db, rows)
                    db.execute("COMMIT")
                deleted += len(rows)
            return deleted

    def vacuum(self) -> tuple[int, int]:
        """Rewrite the file without what is free in it; return its bytes before and after.

        It needs as much room again on the disk, and nobody else can write meanwhile: schedulers wait for it.

        Raises:
            StoreError: it cannot be rewritten, or another process did not let go of it in time; it is as it was.
        """
        with visit(self._place) as db:
            before = _size_of(self._path)
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before, _size_of(self._path)

    def backup(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Copy the store, as it is at one moment, into the file *target*; return the bytes of the copy.

        Schedulers go on meanwhile. The copy appears under its name when it is whole, and on the disk, with the
        permissions of the store. What runs now goes on in the copy, when it is opened, as after the end of its process.
        What a process leaves that is killed meanwhile is removed by the next copy to that target.

        Raises:
            FileExistsError: *target* is there, and is not to be overwritten, or a process works on it.
            StoreError: the store cannot be read, or the copy not be written.
        """
        path = Path(target).absolute()
        try:
            if belongs_to(self._path, path):
                raise FileExistsError(f"{os.fspath(target)}: is the store itself, or belongs to it; give another file")
            if path.exists() and not (overwrite and path.is_file()):
                odd = path.exists() and not path.is_file()
                kind = "is no file, and is not replaced by one" if odd else "there is such a file"
                raise FileExistsError(f"{os.fspath(target)}: {kind}")
            if not path.parent.is_dir():
                raise StoreError(
                    f"{os.fspath(target)}: the copy cannot be written: there is no directory {path.parent}"
                )
            with partial_beside(path, self._path) as partial:
                with visit(self._place) as db:
                    _copy(db, partial, os.fspath(target))
                with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
                    _make_independent(copy)
                write_through(partial)
                _end_log(path, os.fspath(target))
            write_through(path.parent)
            return _size_of(path)
        except (FileExistsError, StoreError):
            raise
        except (OSError, sqlite3.Error) as error:
            raise StoreError(explain(os.fspath(target), error)) from error

    def export(self) -> Generator[dict[str, Any], None, None]:
        """Return everything that the store knows, as it is at one moment, one table after the other.

        First runs, then jobs with result, log and traceback, then schedules and limits; the key ``record`` says which.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            for row in db.execute("SELECT id, flow, source, digest, params, jobs, created, finished FROM runs"):
                run = dict(zip(_RUN_FIELDS, row, strict=True))
                yield {"record": "run", **run, "params": json.loads(run["params"])}
            last = 0
            while found := _numbers_after(db, last):
                last = found[-1]
                for number in found:
                    record = views.job(db, number)
                    assert record is not None
                    yield {"record": "job", **record.to_dict()}
            for schedule in schedules.records(db):
                yield {"record": "schedule", **schedule.to_dict()}
            for limit in claiming.limit_records(db):
                yield {"record": "limit", **limit.to_dict()}


def _copy(db: sqlite3.Connection, target: Path, shown: str) -> None:
    try:
        # As bytes: names of files need not be texts in UTF-8.
        db.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(target),))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
            raise StoreError(f"{shown}: the copy cannot be written: {_why(error)}") from error
        raise


def _why(error: sqlite3.Error) -> str:
    return "the disk is full" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else "it is not allowed"


def _end_log(old: Path, shown: str) -> None:
    """Have a file that is to be replaced leave no log behind: SQLite would play it over the new one.

    Raises:
        FileExistsError: a process works on it.
        sqlite3.Error: its log cannot be ended.
    """
    if old.exists():
        try:
            with closing(sqlite3.connect(old, timeout=0)) as db:
                db.execute("PRAGMA journal_mode = DELETE")  # not while anybody else has it open
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise FileExistsError(f"{shown}: another process works on this file") from error
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
    for left in (log_of(old), shared_memory_of(old)):  # of a file that is gone, or no database
        left.unlink(missing_ok=True)


def _make_independent(copy: sqlite3.Connection) -> None:
    """Make a copy one that no process works on. It stays the same store: it may have to stand in for it one day."""
    copy.execute("BEGIN")
    for (owner,) in copy.execute("SELECT id FROM owners").fetchall():
        owners.retire(copy, owner)
    copy.execute("COMMIT")


_PAGES: Final = ("page_count", "freelist_count", "page_size")
_RUN_FIELDS: Final = ("id", "flow", "source", "digest", "params", "jobs", "created", "finished")

_ENDED: Final = """
    SELECT jobs.id, jobs.run FROM jobs LEFT JOIN runs ON runs.id = jobs.run
    WHERE jobs.id > :from AND jobs.id <= :last
    AND jobs.state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'skipped')
    AND CASE WHEN jobs.run IS NULL THEN jobs.finished ELSE runs.finished END <= :horizon
    AND (:name IS NULL OR coalesce(runs.flow, jobs.name) = :name)
    AND NOT (:succeeded AND jobs.state != 'succeeded')
    AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.run = runs.id
                    AND (other.id > :last OR (:succeeded AND other.state != 'succeeded')))
    ORDER BY jobs.id LIMIT :limit"""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What rows must say of each other: a query for those that do not, and the line about one of them."""

    query: str
    line: str


_RULES: Final = (
    _Rule(
        """
        SELECT id, unfinished, (SELECT count(*) FROM jobs WHERE run = runs.id
            AND state NOT IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'skipped')) AS real
        FROM runs WHERE unfinished != real""",
        "run {0} says that {1} of its jobs have not ended, and {2} have not",
    ),
    _Rule(
        "SELECT id, unfinished FROM runs WHERE (unfinished = 0) != (finished IS NOT NULL)",
        "run {0} has {1} jobs to end, and its own end says otherwise",
    ),
    _Rule(
        "SELECT jobs.id, jobs.run FROM jobs LEFT JOIN runs ON runs.id = run WHERE run IS NOT NULL AND runs.id IS NULL",
        "job {0} is of run {1}, which is not there",
    ),
    _Rule(
        """
        SELECT id, unmet, (SELECT count(*) FROM needs JOIN jobs AS above ON above.id = needed
            WHERE job = jobs.id AND above.finished IS NULL)
            + coalesce((SELECT held FROM runs WHERE runs.id = jobs.run), 0) AS real
        FROM jobs WHERE finished IS NULL AND unmet != real""",
        "job {0} says that it waits for {1} others, and it does for {2}",
    ),
    _Rule(
        "SELECT id, name FROM jobs WHERE state = 'running' AND owner IS NULL",
        "job {0} ({1}) runs, and nobody runs it",
    ),
    _Rule(
        "SELECT id, state FROM jobs WHERE (finished IS NOT NULL) != "
        "(state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'skipped'))",
        "job {0} is {1}, and its own end says otherwise",
    ),
    _Rule(
        "SELECT jobs.id, owner FROM jobs LEFT JOIN owners ON owners.id = owner "
        "WHERE owner IS NOT NULL AND owners.id IS NULL",
        "job {0} belongs to scheduler {1}, which is not there",
    ),
    _Rule(
        "SELECT state, jobs, (SELECT count(*) FROM jobs WHERE jobs.state = counts.state) AS real FROM counts "
        "WHERE jobs != real",
        "{1} jobs are counted as {0}, and {2} are",
    ),
)


def _broken(db: sqlite3.Connection, rule: _Rule) -> Sequence[str]:
    rows = db.execute(f"{rule.query} LIMIT {PROBLEMS}").fetchall()
    return [rule.line.format(*row) for row in rows]


def _numbers_after(db: sqlite3.Connection, last: int) -> list[int]:
    rows = db.execute("SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?", (last, _EXPORTED))
    return [number for (number,) in rows]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
