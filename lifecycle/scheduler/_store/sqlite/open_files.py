"""The database files that this process has open: nothing else here may open and close them.

SQLite holds its locks on a file by ``fcntl``, and POSIX drops all that a process has on a file as soon as it closes any
descriptor of it. SQLite knows and closes none too early, but of its own only. When its lock is gone, the next process
that closes the database thinks that it was the last one, and removes the log; what is committed into that, nobody sees.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from typing_extensions import override

_gate: Final = threading.Lock()
_open: Final[Counter[tuple[int, int]]] = Counter()

_JOURNAL: Final = slice(18, 20)  # in the header: two bytes of 2 in a file that has, or has had, a log; else of 1


class OpenFile(sqlite3.Connection):
    """A connection to a file, which is known to be open until it is closed."""

    _file: tuple[int, int] | None = None

    def note(self, path: Path) -> None:
        """Note which file it has opened."""
        self._file = identity(path)
        if self._file is not None:
            _open[self._file] += 1

    @override
    def close(self) -> None:
        super().close()
        file, self._file = self._file, None
        if file is not None:
            with _gate:
                _open[file] -= 1
                if not _open[file]:
                    del _open[file]


def open_database(path: Path, mode: str, timeout: float) -> OpenFile:
    """Return a connection to a file that commits nothing by itself.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    with _gate:
        db = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=timeout,
            check_same_thread=False,
            cached_statements=256,
            factory=OpenFile,
        )
        db.note(path)
    return db


def has_had_no_log(database: Path) -> bool:
    """Return whether a database says that it never had a log; of one that this process has open it is not asked."""
    with _gate:
        if identity(database) in _open:
            return False
        try:
            with database.open("rb") as file:
                return file.read(_JOURNAL.stop)[_JOURNAL] == b"\1\1"
        except OSError:
            return False


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode number of a file, None when it is not there."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
