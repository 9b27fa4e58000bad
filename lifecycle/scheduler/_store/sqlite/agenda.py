"""When to look at what an SQLite file has for a time: schedules that are due, and jobs that expire.

And each second for what other processes have changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

from ..._ground.limits import LONGEST_WAIT
from .admission import look
from .schedules import any_known, fire_due
from .unreadable import Unreadable

LOOK_INTERVAL = 1.0
"""Seconds after which the schedules are looked at again: another process may have changed or triggered one."""


class Agenda:
    """Fires the schedules that are due, and cancels jobs that have expired; used by the writer's thread alone."""

    def __init__(self) -> None:
        self._next_due: float | None = None
        self._looked_at = 0.0
        self._any_known = False
        self._next_expiry_in = 0.0
        self._unreadable = Unreadable()

    def after_rollback(self) -> None:
        """Look again: what was done in the transaction was undone."""
        self._looked_at, self._next_due = 0.0, None

    def touch(self) -> None:
        """Look again at the next opportunity: a schedule has changed."""
        self._looked_at = 0.0

    def look(self, db: sqlite3.Connection, owner: int, known: Callable[[], Collection[str]], now: float) -> bool:
        """Cancel what has expired, and submit what is due; return whether something has expired: then look again."""
        expired, self._next_expiry_in = look(db, owner, now)
        if expired:
            self.touch()
        due = self._next_due is not None and self._next_due <= now
        if due or not 0 <= now - self._looked_at < LOOK_INTERVAL:  # negative when the clock was set back
            self._looked_at = now
            names = known()
            self._next_due = fire_due(db, owner, names, now, self._unreadable)
            self._any_known = self._next_due is not None or any_known(db, names)
        return expired > 0

    def next_look_in(self, now: float) -> float:
        """Return the seconds until a schedule is due, or has to be looked for."""
        longest = min(LOOK_INTERVAL if self._any_known else LONGEST_WAIT, self._next_expiry_in)
        return longest if self._next_due is None else min(longest, max(0.0, self._next_due - now))
