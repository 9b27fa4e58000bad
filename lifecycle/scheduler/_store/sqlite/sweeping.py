"""Deleting what has ended: by age and by count, a bounded number of rows in each transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..._ground.limits import LONGEST_WAIT
from ..records import FINAL
from ..retention import Retention

ROWS = 500
"""Rows examined per turn."""

PAUSE = 0.01
"""Seconds from one turn to the next, while there is more to look at."""

REST = 1.0
"""Seconds before everything is looked at again."""

RUN_GRACE = 60.0
"""Seconds that the jobs of a run are kept after its end, for callers that have just waited for it."""

_ENDED = frozenset(status.value for status in FINAL)


class Sweeper:
    """Deletes jobs that have ended, and runs whose jobs are gone; used by the writer's thread alone.

    It walks over the jobs by their numbers, from the oldest on: a number is older than another when it is smaller, so
    that no index has to be kept, which every job would pay for. What has not ended, or belongs to a run that has not,
    is passed over.
    """

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._last = 0  # the number that was looked at last
        self._next_turn = 0.0

    def turn(self, db: sqlite3.Connection, now: float) -> int:
        """Look at some rows, if it is time, and delete those that need not be kept; return how many those were."""
        keep_for, keep_jobs = self._retention.keep_for, self._retention.keep_jobs
        if (keep_for is None and keep_jobs is None) or 0 < self._next_turn - now <= REST:
            return 0
        newest = db.execute("SELECT max(id) FROM jobs").fetchone()[0] or 0
        oldest_kept = 0 if keep_jobs is None else newest - keep_jobs + 1
        horizon = 0.0 if keep_for is None else now - keep_for
        rows = db.execute(
            """
            SELECT jobs.id, jobs.run, jobs.state, jobs.created, jobs.finished, runs.finished
            FROM jobs LEFT JOIN runs ON runs.id = jobs.run WHERE jobs.id > ? ORDER BY jobs.id LIMIT ?""",
            (self._last, ROWS),
        ).fetchall()
        # From the first row on that is too young to have ended long ago, and not too many, all are.
        old = [row for row in rows if row[0] < oldest_kept or row[3] <= horizon]
        more = len(rows) == len(old) == ROWS
        self._last = rows[-1][0] if more else 0
        self._next_turn = now + (PAUSE if more else REST)
        gone = [row for row in old if _may_go(row, oldest_kept, horizon, now)]
        delete_jobs(db, gone)
        return len(gone)

    def next_look_in(self, now: float) -> float:
        """Return the seconds until there is something to do."""
        return max(0.0, self._next_turn - now) if self._last else LONGEST_WAIT


def _may_go(row: tuple[Any, ...], oldest_kept: int, horizon: float, now: float) -> bool:
    number, run, state, _, finished, run_finished = row
    if state not in _ENDED or (number >= oldest_kept and finished > horizon):
        return False
    return run is None or (run_finished is not None and run_finished < now - RUN_GRACE)


def delete_jobs(db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Delete jobs that have ended, each a row that begins with its number and its run, and runs left without a job.

    That another job needed one which did not succeed stays known until that other one is deleted, too: it cannot be
    tried again.
    """
    numbers = [(row[0],) for row in rows]
    runs = {row[1] for row in rows if row[1] is not None}
    well = "(SELECT state IN ('succeeded', 'skipped') FROM jobs WHERE id = needed)"
    db.executemany("DELETE FROM needs WHERE job = ?", numbers)
    db.executemany(f"DELETE FROM needs WHERE needed = ? AND (tolerant OR {well})", numbers)
    db.executemany("DELETE FROM jobs WHERE id = ?", numbers)
    db.executemany(
        "DELETE FROM runs WHERE id = ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE run = runs.id)",
        [(run,) for run in runs],
    )
