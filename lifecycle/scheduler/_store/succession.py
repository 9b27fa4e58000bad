"""Taking over, while this owner lives, the jobs and runs of other owners of the same file that have ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path

from .._ground.limits import LONGEST_WAIT
from . import owners
from .locks import remove_lock

INTERVAL = 2.0
"""Seconds between two looks at the other owners, while there are any."""


class Succession:
    """Looks every two seconds whether another owner has ended; used by the writer's thread alone.

    Args:
        database: the store's file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._others: set[int] = set()
        self._next_look = 0.0
        self._unsure = True  # one may have ended since this one was opened

    def after_rollback(self) -> None:
        """Look again: the transaction that took jobs over was undone."""
        self.look_at_once()

    def look_at_once(self) -> None:
        """Look at the next opportunity; there may be jobs that nobody has. May be called from any thread."""
        self._next_look, self._unsure = 0.0, True

    def look(self, db: sqlite3.Connection, owner: int, known: Callable[[], Collection[str]]) -> bool:
        """Take over the jobs of those that have ended; return whether there were any."""
        instant = time.monotonic()
        if instant < self._next_look:
            return False
        self._next_look = instant + INTERVAL
        # Not itself, although its lock file may have been removed: it would begin a second time what it runs.
        dead = [other for other in owners.dead_owners(db, self._database) if other[0] != owner]
        for number, token in dead:
            owners.retire(db, number)
            remove_lock(self._database, token)
        others = {number for (number,) in db.execute("SELECT id FROM owners WHERE id != ?", (owner,))}
        left, self._others = self._others - others, others
        if not (dead or left or self._unsure):
            return False
        self._unsure = False
        names = known()
        return owners.adopt_jobs(db, owner, names) + owners.adopt_served_runs(db, owner, names) > 0

    def next_look_in(self) -> float:
        """Return the seconds until the other owners have to be looked at."""
        return max(0.0, self._next_look - time.monotonic()) if self._others else LONGEST_WAIT
