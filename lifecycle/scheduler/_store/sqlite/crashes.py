"""Jobs whose process died while they ran: counted, kept apart before they are blamed, and failed after so many times.

A handler that kills its process (a segmentation fault, no memory left, ``os._exit``) would do so again whenever its
job is taken over. But a process runs several jobs at once, and only one of them has killed it. So a job that has one
crash left runs beside no other such job: the guilty one is then alone when it is the last time, and the others are not
failed for having been near.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from ..records import JobStatus
from . import operations

_UNENDED = "crashes > 0 AND finished IS NULL"  # in the words of the index


def held_back(db: sqlite3.Connection, owner: int | None, limit: int | None) -> Collection[int]:
    """Return the numbers of the owner's jobs that wait because another one with as many crashes is to run first."""
    if limit is None:
        return ()
    rows = db.execute(
        f"""
        SELECT id, unmet = 0 AND due = 0 OR state = 'running' FROM jobs
        WHERE owner = ? AND {_UNENDED} AND crashes >= ?
        ORDER BY state = 'running' DESC, priority DESC, id""",
        (owner, limit - 1),
    ).fetchall()
    first = next((number for number, ready in rows if ready), None)
    return [number for number, _ in rows if number != first]


def end_crashed(
    db: sqlite3.Connection, heir: int | None, limit: int | None, now: float, whose: str, values: tuple[object, ...]
) -> int:
    """Let the jobs fail that have crashed their process so often, instead of being taken over; return how many.

    Args:
        db: the connection.
        heir: who would take them over, and is told of their end.
        limit: crashes after which a job has failed; None for never.
        now: the wall-clock time.
        whose: a condition for the jobs that are looked at, with the values *values*.
    """
    if limit is None:
        return 0
    rows = db.execute(
        f"""
        SELECT id, name, run, crashes, schedule FROM jobs
        WHERE owner IS NULL AND {_UNENDED} AND crashes >= ? AND state = 'interrupted' AND {whose} ORDER BY id""",
        (limit, *values),
    ).fetchall()
    for number, name, run, crashes, schedule in rows:
        error = f"crashed the process {crashes} times" if crashes > 1 else "crashed the process"
        operations.end_unrun(db, number, name, run, schedule, JobStatus.FAILED, error, now, heir, None)
    return len(rows)
