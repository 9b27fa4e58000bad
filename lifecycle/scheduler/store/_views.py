"""Looking at jobs in an SQLite file: lists and single jobs, for people and for the final report."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ._records import JobRecord, JobStatus

_COLUMNS = """
    jobs.id, jobs.run, runs.flow, jobs.name, jobs.kind, jobs.state, jobs.priority, jobs.attempt, jobs.failures,
    jobs.retries, jobs.seconds, jobs.created, jobs.started, jobs.finished, jobs.due, jobs.error"""

_FROM = "FROM jobs LEFT JOIN runs ON runs.id = jobs.run"


def jobs_of(db: sqlite3.Connection, run: int) -> Sequence[JobRecord]:
    """Return all jobs of a run, without results, logs and traces, in their order."""
    rows = db.execute(f"SELECT {_COLUMNS} {_FROM} WHERE jobs.run = ? ORDER BY jobs.id", (run,))
    return [_record(row) for row in rows]


def job(db: sqlite3.Connection, job_id: int) -> JobRecord | None:
    """Return one job with everything."""
    row = db.execute(
        f"SELECT {_COLUMNS}, jobs.result, jobs.trace, jobs.log {_FROM} WHERE jobs.id = ?", (job_id,)
    ).fetchone()
    if row is None:
        return None
    needs = db.execute(
        "SELECT jobs.name FROM needs JOIN jobs ON jobs.id = needs.needed WHERE needs.job = ? ORDER BY jobs.id",
        (job_id,),
    )
    result = None if row[16] is None else json.loads(row[16])
    return _record(row, result=result, trace=row[17], log=row[18], needs=tuple(name for (name,) in needs))


def jobs_named(db: sqlite3.Connection, name: str) -> Sequence[JobRecord]:
    """Return the jobs with this name, the newest first."""
    rows = db.execute(f"SELECT {_COLUMNS} {_FROM} WHERE jobs.name = ? ORDER BY jobs.id DESC LIMIT 100", (name,))
    return [_record(row) for row in rows]


def list_jobs(
    db: sqlite3.Connection, *, status: JobStatus | None = None, run: int | None = None, limit: int = 1_000
) -> Sequence[JobRecord]:
    """Return the newest jobs, the newest last.

    Args:
        db: the connection.
        status: only those in this state.
        run: only those of this run.
        limit: how many at most.
    """
    conditions = ["1"]
    values: list[Any] = []
    if status is not None:
        conditions.append("jobs.state = ?")
        values.append(status.value)
    if run is not None:
        conditions.append("jobs.run = ?")
        values.append(run)
    rows = db.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE {' AND '.join(conditions)} ORDER BY jobs.id DESC LIMIT ?", (*values, limit)
    ).fetchall()
    return [_record(row) for row in reversed(rows)]


def _record(row: tuple[Any, ...], **details: Any) -> JobRecord:
    return JobRecord(*row[:5], JobStatus(row[5]), *row[6:14], row[14] or None, row[15], **details)
