"""Looking at jobs in an SQLite file: lists and single jobs, for people and for the final report."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from .records import JobRecord, JobStatus, OpenedRun, StoredRun, flow_key

COLUMNS = """
    jobs.id, jobs.run, runs.flow, jobs.name, jobs.kind, jobs.state, jobs.priority, jobs.attempt, jobs.failures,
    jobs.retries, jobs.seconds, jobs.created, jobs.started, jobs.finished, jobs.due, jobs.error, jobs.queue"""

_FIELDS = (
    *("id", "run_id", "flow", "name", "kind", "status", "priority", "attempts", "failures", "retries"),
    *("seconds", "created", "started", "finished", "due", "error", "queue"),
)

FROM_JOBS = "FROM jobs LEFT JOIN runs ON runs.id = jobs.run"


def jobs_of(db: sqlite3.Connection, run: int) -> Sequence[JobRecord]:
    """Return all jobs of a run, without results, logs and traces, in their order."""
    rows = db.execute(f"SELECT {COLUMNS} {FROM_JOBS} WHERE jobs.run = ? ORDER BY jobs.id", (run,))
    return [job_record(row) for row in rows]


def run(db: sqlite3.Connection, run_id: int) -> StoredRun | None:
    """Return what is known of a run."""
    row = db.execute(
        """
        SELECT flow, digest, params, jobs, unfinished,
               unfinished < jobs OR EXISTS (SELECT 1 FROM jobs WHERE run = runs.id AND attempt > 1)
        FROM runs WHERE id = ?""",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    flow, digest, params, jobs, unfinished, begun = row
    return StoredRun(flow_key(flow, digest), params, OpenedRun(run_id, bool(begun), jobs, unfinished))


def effective_state(dead: Collection[int]) -> str:
    """Return the SQL expression for a job's state: what a dead owner runs is interrupted, whatever its row says."""
    owners = ", ".join(str(int(owner)) for owner in dead)
    return f"CASE WHEN jobs.state = 'running' AND jobs.owner IN ({owners}) THEN 'interrupted' ELSE jobs.state END"


def job(db: sqlite3.Connection, job_id: int) -> JobRecord | None:
    """Return one job with everything."""
    row = db.execute(
        f"SELECT {COLUMNS}, jobs.result, jobs.trace, jobs.log {FROM_JOBS} WHERE jobs.id = ?", (job_id,)
    ).fetchone()
    if row is None:
        return None
    needs = db.execute(
        "SELECT jobs.name FROM needs JOIN jobs ON jobs.id = needs.needed WHERE needs.job = ? ORDER BY jobs.id",
        (job_id,),
    )
    result, trace, log = row[len(_FIELDS) :]
    result = None if result is None else json.loads(result)
    return job_record(row, result=result, trace=trace, log=log, needs=tuple(name for (name,) in needs))


def unfinished(db: sqlite3.Connection, owner: int | None, limit: int) -> Sequence[str]:
    """Return the names of an owner's jobs that run, are ready or are delayed: three conditions, each with its index."""
    of_ours = "SELECT name FROM jobs WHERE owner = :owner AND state ="
    rows = db.execute(
        f"""
        {of_ours} 'running' UNION ALL {of_ours} 'pending' AND unmet = 0 AND due = 0
        UNION ALL {of_ours} 'pending' AND unmet = 0 AND due > 0 LIMIT :limit""",
        {"owner": owner, "limit": limit},
    )
    return [name for (name,) in rows]


def find_jobs(db: sqlite3.Connection, name: str, limit: int = 100) -> Sequence[int]:
    """Return the numbers of the jobs with this name, the newest first."""
    rows = db.execute("SELECT id FROM jobs WHERE name = ? ORDER BY id DESC LIMIT ?", (name, limit))
    return [number for (number,) in rows]


def job_record(row: Sequence[Any], **details: Any) -> JobRecord:
    """Return the record of a row of `COLUMNS`."""
    fields = dict(zip(_FIELDS, row, strict=False))
    status, due = JobStatus(fields.pop("status")), fields.pop("due")
    return JobRecord(**fields, status=status, due=due or None, **details)
