"""Taking over, while this owner lives, the jobs and runs of other owners of the same file that have ended."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path

from ..._ground.limits import LONGEST_WAIT
from . import owners
from .locks import DOUBTED_EVERY, Doubts, remove_lock

logger = logging.getLogger("lifecycle.scheduler")

INTERVAL = 2.0
"""Seconds between two looks at the other owners, while there are any."""


class Succession:
    """Looks every two seconds whether another owner has ended; used by the writer's thread alone.

    It takes over a bounded number of jobs in one transaction, so that what is urgent begins meanwhile.

    Args:
        database: the store's file.
        doubts: the owners of which it is not known whether they live.
        max_crashes: crashes after which a job has failed; None for never.
        name: the owner's, for logs.
    """

    def __init__(self, database: Path, doubts: Doubts, max_crashes: int | None, name: str) -> None:
        self._database = database
        self._doubts = doubts
        self._max_crashes = max_crashes
        self._name = name
        self._others: set[int] = set()
        self._next_look = 0.0
        self._unsure = True  # one may have ended since this one was opened
        self._taken = 0  # so many, where one transaction was not enough

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
        dead = [other for other in owners.dead_owners(db, self._database, self._doubts) if other[0] != owner]
        for number, token in dead:
            owners.retire(db, number, crashed=True)
            remove_lock(self._database, token)
        if self._doubts:
            self._next_look = instant + DOUBTED_EVERY
        others = {number for (number,) in db.execute("SELECT id FROM owners WHERE id != ?", (owner,))}
        left, self._others = self._others - others, others
        if not (dead or left or self._unsure):
            return False
        names = known()
        jobs = owners.adopt_jobs(db, owner, names, self._max_crashes)
        # More is waiting: of an owner that has not let go of everything, or of what had none.
        self._unsure = jobs >= owners.AT_ONCE or not others.isdisjoint(number for number, _ in dead)
        if self._unsure:
            self._next_look = instant
        self._note(jobs)
        return jobs + owners.adopt_served_runs(db, owner, names, self._max_crashes) > 0

    def _note(self, jobs: int) -> None:
        """Say what takes longer than a moment."""
        if self._unsure and not self._taken:
            logger.info("taking over jobs that were left", extra={"owner": self._name})
        if self._unsure or self._taken:
            self._taken += jobs
        if self._taken and not self._unsure:
            logger.info("jobs that were left are taken over", extra={"owner": self._name, "jobs": self._taken})
            self._taken = 0

    def next_look_in(self) -> float:
        """Return the seconds until the other owners have to be looked at."""
        if not (self._others or self._unsure):
            return LONGEST_WAIT
        return max(0.0, self._next_look - time.monotonic())
