"""Who is alive: each process that works on a store holds a lock on a file of its own beside it.

The kernel releases the lock when the process ends, however it ends, so that a dead owner is told from a living one
at once and for certain: no heartbeat that a busy process could miss, no lease that could be too short. It leaves its
file behind. So an owner without a file has not died: somebody has deleted the file, or copied the store. A living one
makes it anew within a second, and is given some to do so.

Not a lock on the database itself, which nobody could delete: closing any descriptor of that file would drop the locks
that SQLite holds for this process. Nor a name beyond the file system, which other containers do not see.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import weakref
from collections.abc import Collection
from pathlib import Path

KEPT_EVERY = 1.0
"""Seconds between two looks of an owner at its own file."""

HAS_LEFT = ""
"""In place of the token of an owner that has ended and not let go of all its jobs yet."""

DOUBT = 4.0
"""Seconds that an owner without a file has to show that it lives."""

DOUBTED_EVERY = 0.2
"""Seconds from one look at such an owner to the next: it is to be seen when it shows that it lives."""


class OwnerLock:
    """The lock of one owner; alive as long as it is open.

    Args:
        database: the store's file.
    """

    def __init__(self, database: Path) -> None:
        self.token = secrets.token_hex(8)
        self.path = lock_path(database, self.token)
        self._fd = _locked_file(self.path)
        self._kept = time.monotonic()
        _held.add(self)

    def keep(self) -> None:
        """Make the file anew if somebody has deleted it; looks once a second."""
        now = time.monotonic()
        if self._fd < 0 or now - self._kept < KEPT_EVERY:
            return
        # What fails is tried again at the next look, and meanwhile this owner is only doubted.
        with contextlib.suppress(OSError):
            if not _is_at(self._fd, self.path):
                self.path.unlink(missing_ok=True)
                fd, made = self._fd, _locked_file(self.path)
                self._fd = made
                os.close(fd)
            self._kept = now

    def release(self) -> None:
        """Remove the file and release the lock. Idempotent."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close this process's descriptor, without removing the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        _held.discard(self)


def _locked_file(path: Path) -> int:
    """Return the descriptor of a new file that is locked; raise BlockingIOError when another process looks at it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


def _is_at(fd: int, path: Path) -> bool:
    """Return whether the file of a descriptor is the one with this name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def lock_path(database: Path, token: str) -> Path:
    """Return the lock file of the owner with this token."""
    return database.with_name(f"{database.name}-owner-{token}")


def is_alive(database: Path, token: str) -> bool | None:
    """Return whether the owner with this token lives, None when it has no file that says so."""
    try:
        fd = os.open(lock_path(database, token), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return True  # not known: jobs are not taken from their owner on a guess
    try:
        # Shared, so that two who look at the same time do not take each other for the owner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


class Doubts:
    """The owners that have no file, and since when; who keeps them finds out which of those are dead."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def is_dead(self, database: Path, token: str) -> bool:
        """Return whether the owner with this token has ended; one that has no file is doubted for some seconds."""
        alive = is_alive(database, token) if token != HAS_LEFT else False
        if alive is not None:
            self._since.pop(token, None)
            return not alive
        now = time.monotonic()
        if now - self._since.setdefault(token, now) < DOUBT:
            return False
        del self._since[token]
        return True

    def forget_others(self, tokens: Collection[str]) -> None:
        """Forget the owners that are not among those with these tokens: others have buried them."""
        self._since = {token: since for token, since in self._since.items() if token in tokens}

    def __bool__(self) -> bool:
        return bool(self._since)


def remove_lock(database: Path, token: str) -> None:
    """Remove the lock file of an owner that has ended."""
    with contextlib.suppress(OSError):
        lock_path(database, token).unlink()


_held: weakref.WeakSet[OwnerLock] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the copies that a forked child has: it must not keep its parent alive after the parent's death."""
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_close_in_child)
