"""An SQLite file as what is copied, and as what a copy is put into."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from anyio.lowlevel import checkpoint

from ..._ground.errors import StoreError
from ..copying import FLAGS, NUMBERED, TABLES, Row
from ..records import FINAL
from ..store_facts import StoreOwner
from . import operations, owners
from .files import explain
from .locks import Doubts
from .partial import partial_beside, write_through
from .place import Place, log_of
from .schedules import work_of, work_text
from .schema import bring_up_to_date
from .visit import reading, writing

_AT_ONCE: Final = 1_000
"""Rows between two moments at which somebody may stop it."""


class SqliteSource:
    """An SQLite file that is copied; `opened` makes it.

    Args:
        place: of the file.
        db: a connection in the middle of a transaction.
    """

    def __init__(self, place: Place, db: sqlite3.Connection) -> None:
        self.shown = place.shown
        self._place = place
        self._db = db
        self._dead = [owner for owner, _ in owners.dead_owners(db, place.path, Doubts())]

    @classmethod
    @contextmanager
    def opened(cls, path: str | os.PathLike[str]) -> Iterator[SqliteSource]:
        """Read a file, as it is now, for the block.

        Raises:
            StoreError: it is not there, or cannot be read.
        """
        place = Place(path)
        with reading(place) as db:
            yield cls(place, db)

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it now: that is asked on a connection of its own."""
        with reading(self._place) as db:
            return _alive(db, self._place.path)

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""
        return _counts(self._db)

    async def last_numbers(self) -> Mapping[str, int]:
        """Return the last number that was used in each table."""
        used: dict[str, int] = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        return {table: used.get(table, 0) for table in NUMBERED}

    async def identity(self) -> str:
        """Return which store this is, in full."""
        return str(self._db.execute("SELECT value FROM facts WHERE name = 'token'").fetchone()[0])

    async def rows(self, table: str) -> AsyncIterator[Row]:
        """Return the rows of a table."""
        columns = TABLES[table]
        flags = [place for place, column in enumerate(columns) if column in FLAGS]
        work = columns.index("job") if table == "schedules" else None
        dead = ", ".join(map(str, self._dead))
        instead = {
            "state": "CASE state WHEN 'running' THEN 'interrupted' ELSE state END",
            "crashes": f"crashes + (state = 'running' AND coalesce(owner IN ({dead}), 0))",
            "when_": "nullif(when_, 'success')",
        }
        shown = ", ".join(instead.get(column, column) if table == "jobs" else column for column in columns)
        for number, found in enumerate(self._db.execute(f"SELECT {shown} FROM {table} ORDER BY 1, 2"), 1):
            row = list(found)
            for place in flags:
                row[place] = bool(row[place])
            if work is not None:
                row[work] = work_of(row[work])
            if number % _AT_ONCE == 0:
                await checkpoint()
            yield tuple(row)


class SqliteTarget:
    """An SQLite file that is filled; `opened` makes it.

    Args:
        shown: what messages call it.
        db: a connection in the middle of a transaction.
        path: of the file, where schedulers may be working on it; None for one that nobody can see yet.
    """

    def __init__(self, shown: str, db: sqlite3.Connection, path: Path | None) -> None:
        self.shown = shown
        self._db = db
        self._path = path

    @classmethod
    @contextmanager
    def opened(cls, path: str | os.PathLike[str], like: Path | None) -> Iterator[SqliteTarget]:
        """Write a file in the block: all that is done there, or nothing when it fails.

        A file that is not there, or has nothing in it, appears when it is whole, and on the disk.

        Args:
            path: of the file.
            like: a file whose readers may read it; None for one that only its owner may read.

        Raises:
            StoreError: it cannot be written.
        """
        place = Place(path)
        if place.path.exists() and not _is_bare(place.path):
            with writing(place) as db:
                yield cls(place.shown, db, place.path)
            return
        if not place.path.parent.is_dir():
            raise StoreError(f"{place.shown}: the copy cannot be written: there is no directory {place.path.parent}")
        try:
            with partial_beside(place.path, like) as partial:
                with closing(sqlite3.connect(partial, isolation_level=None)) as db:
                    bring_up_to_date(db, place.shown)
                    db.execute("PRAGMA journal_mode = MEMORY")  # if it fails, there is no file
                    db.execute("PRAGMA synchronous = OFF")
                    db.execute("BEGIN")
                    yield cls(place.shown, db, None)
                    db.execute("COMMIT")
                write_through(partial)
            write_through(place.path.parent)
        except StoreError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise StoreError(explain(place.shown, error)) from error

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it."""
        return () if self._path is None else _alive(self._db, self._path)

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""
        return _counts(self._db)

    async def fill(self, table: str, rows: AsyncIterator[Row]) -> None:
        """Put rows into a table."""
        # The handler of a job is reckoned by the database.
        places = [place for place, column in enumerate(TABLES[table]) if (table, column) != ("jobs", "handler")]
        columns = [TABLES[table][place] for place in places]
        work = columns.index("job") if table == "schedules" else None
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        batch: list[list[Any]] = []
        async for row in rows:
            values = [row[place] for place in places]
            if work is not None:
                values[work] = work_text(values[work])
            batch.append(values)
            if len(batch) == _AT_ONCE:
                self._db.executemany(insert, batch)
                batch.clear()
        self._db.executemany(insert, batch)

    async def settle(self, last_numbers: Mapping[str, int], identity: str | None) -> None:
        """Go on from these numbers, as that store, and end what was to be stopped and ran no more."""
        db = self._db
        db.execute("UPDATE facts SET value = coalesce(?, value) WHERE name = 'token'", (identity,))
        for table, number in last_numbers.items():
            db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        # The database counts what ends, not what is put in and has ended.
        for status in FINAL:
            count = "SELECT count(*) FROM jobs WHERE state = :state AND finished IS NOT NULL"
            db.execute(f"UPDATE ended SET jobs = ({count}) WHERE state = :state", {"state": status.value})
        gone = "UPDATE ended SET jobs = ? - (SELECT count(*) FROM jobs) WHERE state = 'gone'"
        db.execute(gone, (last_numbers["jobs"],))
        stopped = "SELECT id, cancel FROM jobs WHERE state = 'interrupted' AND cancel IS NOT NULL ORDER BY id"
        for number, reason in db.execute(stopped).fetchall():
            operations.cancel(db, number, reason, time.time(), None)


def _is_bare(path: Path) -> bool:
    """Return whether a file has nothing in it, as one that somebody has made to have its name."""
    return path.is_file() and path.stat().st_size == 0 and not log_of(path).exists()


def _alive(db: sqlite3.Connection, path: Path) -> list[StoreOwner]:
    dead = {owner for owner, _ in owners.dead_owners(db, path, Doubts())}
    rows = db.execute("SELECT id, name, pid, started FROM owners ORDER BY id").fetchall()
    return [StoreOwner(name, pid, started) for owner, name, pid, started in rows if owner not in dead]


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
