"""Where a store's file is: by whatever name it was given, one file, and still the one that was opened."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..._ground.errors import StoreError
from ..._ground.odd_files import odd_kind
from .open_files import has_had_no_log, identity


class Place:
    """The place of an SQLite file, and of the files that belong to it.

    SQLite resolves symbolic links, so that its log lies beside the file itself; so do the locks of the owners. Whoever
    may share the log then sees the locks, by every name and in every container. A hard link has another directory, and
    so another log: SQLite would lose what is in the first. Nobody else can be seen from there, so it is refused.

    A file that is in use can be deleted, replaced or moved with its directory. SQLite goes on as if nothing had
    happened, and what it commits is in no file any more. So the files are looked at by their names after each commit,
    before anybody is told of it, and each second: as long as this process holds them open, no other file gets their
    device and inode numbers.

    A copy that is put in the place of a store whose process was killed finds the log of the old one beside it. SQLite
    would play that over the copy and destroy it. A copy has never had a log, and says so in its header.

    Args:
        path: the file as its user gives it.

    Attributes:
        shown: what messages call it.
        path: the file itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.shown: str = os.fspath(path)
        self._given = Path(path).absolute()
        self.path: Path = Path(os.path.realpath(self._given))
        self._opened: dict[Path, tuple[int, int] | None] = {}

    def check(self) -> None:
        """Check that the file can be used from here, before it is opened; one that is not there can.

        Raises:
            StoreError: it is no file but a device or the like, has more than one name, is mounted alone, or the log
                beside it is that of another file.
        """
        kind = None
        with contextlib.suppress(OSError):  # SQLite says what is wrong
            kind = odd_kind(self.path)
        if kind is not None:
            raise StoreError(f"{self.shown}: the database cannot be opened: it is {kind}")
        names = self.path.stat().st_nlink if self.path.is_file() else 1
        if names > 1:
            raise StoreError(
                f"{self.shown}: the file has {names} names (hard links), and each would have a log of its own; "
                "remove the others, or copy it"
            )
        if str(self.path) in _mount_points():
            raise StoreError(
                f"{self.shown}: the file is mounted alone, without the log that belongs beside it; mount its directory"
            )
        log = log_of(self.path)
        if _has_pages(log) and has_had_no_log(self.path):  # in this order: whoever begins a log says so first
            raise StoreError(
                f"{self.shown}: the log {log.name} beside it belongs to another file, in whose place it was put; "
                f"remove {log.name} and {shared_memory_of(self.path).name}, and start again"
            )
        found = identity(self.path)
        self._opened = {} if found is None else {self.path: found}

    def remember(self) -> None:
        """Remember which files have been opened, once something has been written.

        Raises:
            StoreError: the file is not the one that was checked.
        """
        self.verify()
        wanted = (self._given, self.path, log_of(self.path), shared_memory_of(self.path))
        self._opened = {path: identity(path) for path in wanted}
        self.verify()

    def verify(self) -> None:
        """Check that the files are still there under their names.

        Raises:
            StoreError: one is gone, or another is there.
        """
        for path, opened in self._opened.items():
            try:
                found = identity(path)
            except OSError:
                continue  # not known: the file system does not answer
            if found != opened:
                what = "the file" if path in (self._given, self.path) else f"its log {path.name}"
                happened = "was deleted or moved" if found is None else "was replaced by another"
                raise StoreError(
                    f"{self.shown}: {what} {happened} while it was in use; nothing more is accepted, start again"
                )


def log_of(database: Path) -> Path:
    """Return where SQLite keeps the log of a file."""
    return database.with_name(f"{database.name}-wal")


def shared_memory_of(database: Path) -> Path:
    """Return where SQLite keeps what the users of a log share."""
    return database.with_name(f"{database.name}-shm")


def belongs_to(database: Path, path: Path) -> bool:
    """Return whether a path leads to a database, or to what SQLite keeps beside it, which nobody else may write."""
    own, other = (Path(os.path.realpath(name)) for name in (database, path))
    return other in (own, log_of(own), shared_memory_of(own))


def _has_pages(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except OSError:
        return False


def _mount_points() -> frozenset[str]:
    """Return where file systems and single files are mounted, nothing where the system does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return frozenset()
    names = (line.split(b" ")[4] for line in lines)
    return frozenset(os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), name)) for name in names)


_OCTAL = re.compile(rb"\\([0-7]{3})")  # how a blank or a backslash is written there
