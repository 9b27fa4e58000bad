"""The wall clock may be set back: waits that this made longer are shortened, so that no job waits for hours.

Delays, retries and schedules are kept as times of the wall clock, because they survive a restart. None of them may be
further away than what was asked for; one that is was written before the clock was set back.
"""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import suppress
from functools import partial

from ..._ground.limits import LONGEST_WAIT
from ..pace import Pace
from ..rules import cron_due, due_after_set_back

DOUBT = 30.0
"""Seconds for which the clock is doubted: what was reckoned before it was set back may be written a little later."""

INTERVAL = 1.0
"""Seconds between two looks while the clock is doubted."""

_WAIT = "CASE WHEN failures > 0 THEN backoff_longest ELSE delay END"


class ClockWatch:
    """Notices that the clock was set back; used by the writer's thread alone."""

    def __init__(self) -> None:
        self._latest = math.inf  # it may have been set before this process looked
        self._doubted_until = self._next_look = -math.inf
        self._cron_latest = math.inf

    def after_rollback(self) -> None:
        """Look at everything again: what was changed may be as it was."""
        self._latest = self._cron_latest = math.inf

    def recheck(self) -> None:
        """Look again: jobs were taken over that nothing had watched."""
        self._latest = math.inf

    def look(self, db: sqlite3.Connection, owner: int, now: float) -> bool:
        """Shorten waits that are too long, if the clock is doubted; return whether it is."""
        instant = time.monotonic()
        if now < self._latest:
            self._doubted_until, self._next_look = instant + DOUBT, instant
        self._latest = now
        if now < self._cron_latest:
            set_cron(db, now)
        self._cron_latest = now
        if not self._next_look <= instant < self._doubted_until:
            return False
        self._next_look = instant + INTERVAL
        shorten_waits(db, owner, now)
        return True

    def next_look_in(self) -> float:
        """Return the seconds until there is something to look at."""
        return INTERVAL if time.monotonic() < self._doubted_until else LONGEST_WAIT


def shorten_waits(db: sqlite3.Connection, owner: int, now: float) -> None:
    """Let no delayed job of an owner, and no schedule, wait for longer than was asked for."""
    db.execute(
        f"""
        UPDATE jobs SET due = :now + {_WAIT}
        WHERE owner = :owner AND state = 'pending' AND unmet = 0 AND due > 0 AND due > :now + {_WAIT}
            AND (failures > 0 OR at IS NULL)""",
        {"owner": owner, "now": now},
    )
    rows = db.execute("SELECT id, kind, rule, next_due, starts FROM schedules WHERE next_due > ?", (now,)).fetchall()
    for number, kind, rule, due, starts in rows:
        if (at := due_after_set_back(kind, rule, due, now, starts)) is not None:
            db.execute("UPDATE schedules SET anchor = ?, next_due = ? WHERE id = ?", (now, at, number))


def set_cron(db: sqlite3.Connection, now: float) -> None:
    """Let each cron expression go on with the first instant that it was not run for."""
    rows = db.execute(
        """
        SELECT id, rule, timezone, starts, ends, next_due FROM schedules WHERE kind = 'cron' AND next_due > ?""",
        (now,),
    ).fetchall()
    for number, rule, timezone, starts, ends, due in rows:
        with suppress(ValueError, ImportError):  # as it is told of when it is due
            at = cron_due(rule, timezone, Pace(starts=starts, ends=ends), now, partial(was_run, db, number))
            if at != due:
                db.execute("UPDATE schedules SET next_due = ? WHERE id = ?", (at, number))


def was_run(db: sqlite3.Connection, schedule: int, due: float) -> bool:
    """Return whether there is a job or a run of a schedule for a due time."""
    row = db.execute(
        """
        SELECT EXISTS (SELECT 1 FROM jobs WHERE schedule = :schedule AND scheduled = :due)
            OR EXISTS (SELECT 1 FROM runs WHERE schedule = :schedule AND scheduled = :due)""",
        {"schedule": schedule, "due": due},
    ).fetchone()
    return bool(row[0])
