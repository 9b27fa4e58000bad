"""Opening an SQLite file, and saying in one line why it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Literal

from ..._ground.errors import StoreError
from ..patience import LOCK_TIMEOUT
from .open_files import open_database
from .schema import bring_up_to_date, check_version


def connect(
    path: Path,
    shown: str,
    *,
    mode: Literal["rwc", "rw", "ro"] = "rwc",
    lock_timeout: float | None = None,
    wait: float | None = None,
) -> sqlite3.Connection:
    """Return a connection to the file at *path*.

    Args:
        path: the file.
        shown: what messages call it.
        mode: ``rwc`` makes the file and its tables or brings them up to date; with ``rw`` and ``ro`` it must be
            there and of this version.
        lock_timeout: seconds to wait for another process's transaction, by default `LOCK_TIMEOUT`.
        wait: the same, for the transactions that follow; by default as long.

    Raises:
        StoreError: the file is of another program, or of another version.
        sqlite3.Error: it cannot be opened, or is not a database.
    """
    lock_timeout = LOCK_TIMEOUT if lock_timeout is None else lock_timeout
    db = open_database(path, mode, lock_timeout)
    try:
        if mode == "rwc":
            bring_up_to_date(db, shown, path)
            # Only now: a file that is refused has not been touched.
            _write_ahead(db, lock_timeout)
            db.execute("PRAGMA journal_size_limit = 16777216")
        else:
            check_version(db, shown)
        db.execute("PRAGMA synchronous = FULL")
        if wait is not None:
            db.execute(f"PRAGMA busy_timeout = {int(wait * 1_000)}")
    except BaseException:
        db.close()
        raise
    return db


def _write_ahead(db: sqlite3.Connection, lock_timeout: float) -> None:
    """Set the journal mode, which does not wait for other processes as a transaction does: it is busy at once."""
    _try_until_free(db, "PRAGMA journal_mode = WAL", lock_timeout)


def begin_to_write(db: sqlite3.Connection, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """Begin a transaction that writes, in a thread that Ctrl-C is to reach while it waits for another process's.

    SQLite would wait by itself, but where no signal handler of Python runs.

    Raises:
        sqlite3.Error: the wait was in vain, or the file cannot be used.
    """
    db.execute("PRAGMA busy_timeout = 0")
    _try_until_free(db, "BEGIN IMMEDIATE", lock_timeout)
    db.execute(f"PRAGMA busy_timeout = {int(lock_timeout * 1_000)}")


def _try_until_free(db: sqlite3.Connection, statement: str, lock_timeout: float) -> None:
    deadline = time.monotonic() + lock_timeout
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def explain(shown: str, error: Exception) -> str:
    """Return in one line why the store *shown* cannot be used, with what can be done."""
    if isinstance(error, StoreError):
        return str(error)
    text = str(error)
    if isinstance(error, OSError):
        return f"{shown}: the store cannot be used: {error.strerror or error}"
    for part, advice in _ADVICE:
        if part in text:
            return f"{shown}: {advice}{_where(shown) if part == 'unable to open' else ''}"
    return f"{shown}: the database refused: {text}"


_ADVICE = (
    ("unable to open", "the database cannot be opened"),
    ("is full", "the disk is full; make room and start again, what was committed is kept"),
    ("disk I/O error", "the disk refused (I/O error); what was committed is kept"),
    ("readonly", "the database cannot be written: file or directory is read-only"),
    ("is locked", "the database is locked by another process; wait for it to end, or use another file"),
    ("not a database", "is not an SQLite database; give another file"),
    ("malformed", "the database is damaged; restore it from a copy, or use another file"),
)


def _where(shown: str) -> str:
    path = Path(shown).absolute()
    if path.is_dir():
        return ": it is a directory"
    if not path.parent.exists():
        return f": there is no directory {path.parent}"
    if not path.parent.is_dir():
        return f": {path.parent} is not a directory"
    if not os.access(path.parent, os.W_OK):
        return f": the directory {path.parent} is read-only"
    return ": it is not allowed"
