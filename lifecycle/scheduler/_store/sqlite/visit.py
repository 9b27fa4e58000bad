"""Visits to an SQLite store: one connection for one call, beside the schedulers that work on the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ..._ground.errors import StoreError
from .files import begin_to_write, connect, explain
from .place import Place


@contextmanager
def visit(place: Place) -> Iterator[sqlite3.Connection]:
    """Open a file that must be there, and close it after the block, which rolls back what was not committed.

    Raises:
        StoreError: it is not there, cannot be used, or failed in the block.
    """
    if not place.path.exists():
        raise StoreError(f"{place.shown}: there is no such file")
    place.check()
    try:
        # Also for reading: a connection that may not write leaves the -wal and -shm files behind when it closes.
        db = connect(place.path, place.shown, mode="rw")
        try:
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(explain(place.shown, error)) from error


@contextmanager
def reading(place: Place) -> Iterator[sqlite3.Connection]:
    """Visit the store as it is now, whatever is written during the block."""
    with visit(place) as db:
        db.execute("PRAGMA query_only = true")
        db.execute("BEGIN")
        yield db
        db.execute("COMMIT")


@contextmanager
def writing(place: Place) -> Iterator[sqlite3.Connection]:
    """Visit the store to change it: all that the block does, or nothing when it fails."""
    with visit(place) as db:
        begin_to_write(db)
        yield db
        db.execute("COMMIT")
