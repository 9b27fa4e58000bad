"""Looking at jobs in an SQLite file: lists and single jobs, for people and for the final report."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from .. import job_rows
from ..job_rows import FIELDS
from ..records import JobRecord, JobStatus, OpenedRun, StoredRun, flow_key
from ..revival import whole_log
from ..waiting import needs_of
from . import waiting
from .settling import MAY_FAIL

COLUMNS = f"""
    jobs.id, jobs.run, runs.flow, jobs.name, jobs.kind, jobs.state, jobs.priority, jobs.attempt, jobs.failures,
    jobs.retries, jobs.seconds, jobs.created, jobs.started, jobs.finished, jobs.due, jobs.error, jobs.queue,
    jobs.crashes, CASE WHEN jobs.state IN ('failed', 'timed_out') THEN {MAY_FAIL} ELSE 0 END,
    jobs.logged, jobs.progress_done, jobs.progress_total, jobs.expires, jobs.key, jobs.metadata, {waiting.COLUMNS}"""

FROM_JOBS = "FROM jobs LEFT JOIN runs ON runs.id = jobs.run"


def jobs_of(db: sqlite3.Connection, run: int) -> Sequence[JobRecord]:
    """Return all jobs of a run, without results, logs and traces, in their order."""
    rows = db.execute(f"SELECT {COLUMNS} {FROM_JOBS} WHERE jobs.run = ? ORDER BY jobs.id", (run,))
    others = waiting.owners_of(db)
    return [job_record(row, others) for row in rows]


def run(db: sqlite3.Connection, run_id: int) -> StoredRun | None:
    """Return what is known of a run."""
    row = db.execute(
        """
        SELECT flow, digest, params, jobs, unfinished,
               unfinished < jobs OR EXISTS (SELECT 1 FROM jobs WHERE run = runs.id AND attempt > 1), cancel IS NOT NULL,
               CASE WHEN finished IS NOT NULL THEN status END, held
        FROM runs WHERE id = ?""",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    flow, digest, params, jobs, unfinished, begun, cancelled, status, held = row
    opened = OpenedRun(run_id, bool(begun), jobs, unfinished, bool(held))
    return StoredRun(
        flow, flow_key(flow, digest), params, opened, bool(cancelled), None if status is None else JobStatus(status)
    )


def effective_state(dead: Collection[int]) -> str:
    """Return the SQL expression for a job's state: what a dead owner runs is interrupted, whatever its row says."""
    owners = ", ".join(str(int(owner)) for owner in dead)
    return f"CASE WHEN jobs.state = 'running' AND jobs.owner IN ({owners}) THEN 'interrupted' ELSE jobs.state END"


def job(db: sqlite3.Connection, job_id: int, dead: Collection[int] = ()) -> JobRecord | None:
    """Return one job with everything; what *dead* owners ran is interrupted."""
    row = db.execute(
        f"SELECT {COLUMNS.replace('jobs.state', effective_state(dead))},"
        f" jobs.result, jobs.trace, jobs.log, jobs.history {FROM_JOBS} WHERE jobs.id = ?",
        (job_id,),
    ).fetchone()
    if row is None:
        return None
    needs = db.execute(
        "SELECT jobs.name FROM needs JOIN jobs ON jobs.id = needs.needed WHERE needs.job = ? ORDER BY jobs.id",
        (job_id,),
    )
    unmet, owner, _, _, held, result, trace, log, history = row[len(FIELDS) :]
    result = None if result is None else json.loads(result)
    others = waiting.owners_of(db, dead)
    details = {
        "result": result,
        "trace": trace,
        "log": whole_log(history, log),
        "needs": tuple(name for (name,) in needs),
    }
    record = job_record(row, others, **details)
    if record.waits_for is None or not unmet or held or owner is None or owner in dead:
        return record
    return replace(record, waits_for=needs_of(unmet, waiting.unended_needs(db, job_id)))


def exists(db: sqlite3.Connection, job: int) -> bool:
    """Return whether there is a job with this number."""
    return db.execute("SELECT 1 FROM jobs WHERE id = ?", (job,)).fetchone() is not None


def ended_jobs(db: sqlite3.Connection, jobs: Collection[int]) -> dict[int, JobRecord | None]:
    """Return those of these jobs that have ended, and None for those that there are not any more."""
    ended: dict[int, JobRecord | None] = {}
    for number in jobs:
        row = db.execute("SELECT state FROM jobs WHERE id = ?", (number,)).fetchone()
        if row is None or JobStatus(row[0]).final:
            ended[number] = job(db, number)
    return ended


def highest_job(db: sqlite3.Connection) -> int:
    """Return the highest number that a job has ever had, 0 when there was none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'").fetchone()[0])


def identity(db: sqlite3.Connection) -> str:
    """Return which store this is."""
    return str(db.execute("SELECT substr(value, 1, 10) FROM facts WHERE name = 'token'").fetchone()[0])


def unowned(db: sqlite3.Connection, jobs: Collection[int], dead: Collection[int]) -> Sequence[int]:
    """Return those of these jobs that have not ended and belong to nobody who lives."""
    owner = "SELECT owner FROM jobs WHERE id = ? AND finished IS NULL"
    found = {number: db.execute(owner, (number,)).fetchone() for number in jobs}
    return [number for number, row in found.items() if row and (row[0] is None or row[0] in dead)]


def ended_runs(db: sqlite3.Connection, runs: Collection[int]) -> Collection[int]:
    """Return the numbers of those of these runs that have ended, or are not there any more."""
    going = "SELECT 1 FROM runs WHERE id = ? AND finished IS NULL"
    return [number for number in runs if db.execute(going, (number,)).fetchone() is None]


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


def newest_of(db: sqlite3.Connection, name: str, *, unended: bool = False) -> int | None:
    """Return the number of the newest job with this name, with *unended* of those that have not ended."""
    condition = " AND finished IS NULL" if unended else ""  # in the words of the index `jobs_open`
    row = db.execute(f"SELECT id FROM jobs WHERE name = ?{condition} ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return None if row is None else int(row[0])


def job_record(row: Sequence[Any], others: waiting.Others, **details: Any) -> JobRecord:
    """Return the record of a row of `COLUMNS`."""
    status, flow, due = JobStatus(row[_STATUS]), row[_FLOW], row[_DUE] or None
    waits_for = waiting.waits_for(status, flow, due, row[len(FIELDS) : len(FIELDS) + 5], others)
    return job_rows.job_record(row, waits_for, **details)


_STATUS, _FLOW, _DUE = map(FIELDS.index, ("status", "flow", "due"))
