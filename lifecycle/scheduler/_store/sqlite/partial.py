"""A copy while it is written: a file of its own beside the target, which no other copy touches."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path


@contextmanager
def partial_beside(target: Path, like: Path | None) -> Iterator[Path]:
    """Give an empty file in the directory of *target*, for those who may read *like*, and put it in its place.

    Without *like* nobody but its owner may read it.

    After an error it is removed instead. It is locked, so that whoever copies there next knows which of these files
    nobody writes any more, because the process was killed, and removes those.

    Raises:
        OSError: it cannot be made.
    """
    _remove_abandoned(target)
    fd, path = _new_locked(target)
    try:
        try:
            if like is not None:
                os.fchmod(fd, stat.S_IMODE(like.stat().st_mode))
            yield path
            path = path.rename(path.with_name(f"whole-{path.name}"))  # which nobody takes for abandoned
        finally:
            os.close(fd)  # before it is in its place: there somebody of this process may have it open, with locks on it
        path.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _new_locked(target: Path) -> tuple[int, Path]:
    while True:
        fd, name = tempfile.mkstemp(prefix=f"{target.name}.partial-", dir=target.parent)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, Path(name)
        os.close(fd)  # it was taken for abandoned before it was locked


def _remove_abandoned(target: Path) -> None:
    for path in target.parent.glob(f"{escape(target.name)}.partial-*"):
        if path.name.endswith("-journal"):  # SQLite's, of one of the others
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
                path.unlink()
            finally:
                os.close(fd)


def write_through(path: Path) -> None:
    """Have the disk hold what is in a file, or in a directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
