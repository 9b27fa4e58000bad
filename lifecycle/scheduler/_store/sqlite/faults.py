"""What a fault of an SQLite file means: that it may pass, that it is the end, or that an operation was wrong."""

from __future__ import annotations

import enum
import sqlite3


class Fault(enum.Enum):
    """What is to be done after a fault."""

    PASSING = (
        "wait"  #: another process holds the lock, the disk is full, there is no memory: the same may succeed later
    )
    FINAL = "end"  #: the file or the disk is damaged, or may not be written: nobody knows what has been kept
    OWN = "refuse"  #: the operation was wrong by itself


_PASSING = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PROTOCOL}
)
_FINAL = frozenset(
    {
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOLFS),
    }
)


def fault_of(error: BaseException) -> Fault:
    """Return what a fault means; an I/O error is the end, because what was written before may be lost as well."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return Fault.OWN
    if code & 0xFF in _PASSING or code == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for the log's index
        return Fault.PASSING
    return Fault.FINAL if code & 0xFF in _FINAL else Fault.OWN
