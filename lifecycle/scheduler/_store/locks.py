"""Who is alive: each process that works on a store holds a lock on a file of its own beside it.

The kernel releases the lock when the process ends, however it ends, so that a dead owner is told from a living one
at once and for certain: no heartbeat that a busy process could miss, no lease that could be too short.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import weakref
from pathlib import Path


class OwnerLock:
    """The lock of one owner; alive as long as it is open.

    Args:
        database: the store's file.
    """

    def __init__(self, database: Path) -> None:
        self.token = secrets.token_hex(8)
        self.path = lock_path(database, self.token)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self.release()
            raise
        _held.add(self)

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


def lock_path(database: Path, token: str) -> Path:
    """Return the lock file of the owner with this token."""
    return database.with_name(f"{database.name}-owner-{token}")


def is_alive(database: Path, token: str) -> bool:
    """Return whether the owner with this token lives."""
    try:
        fd = os.open(lock_path(database, token), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
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
