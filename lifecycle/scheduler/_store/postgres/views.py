"""Looking at jobs in a PostgreSQL database: single ones, those of a run, and what has ended."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from .. import job_rows
from ..job_rows import FIELDS
from ..messages import Notice
from ..records import JobRecord, JobStatus, OpenedRun, StoredRun, flow_key
from ..revival import whole_log
from ..waiting import needs_of
from . import waiting
from .connections import Connection

STATE: Final = "CASE WHEN jobs.state = 'running' AND jobs.owner = ANY($1) THEN 'interrupted' ELSE jobs.state END"
"""A job's state: what a dead scheduler runs is interrupted, whatever its row says."""

COLUMNS: Final = f"""
    jobs.id, jobs.run, runs.flow, jobs.name, jobs.kind, {STATE}, jobs.priority, jobs.attempt, jobs.failures,
    jobs.retries, jobs.seconds, jobs.created, jobs.started, jobs.finished, jobs.due, jobs.error, jobs.queue,
    jobs.crashes,
    CASE WHEN jobs.state IN ('failed', 'timed_out') THEN lifecycle.may_fail(jobs.id, jobs.run) ELSE false END,
    jobs.logged, jobs.progress_done, jobs.progress_total, jobs.expires, jobs.key, jobs.metadata, {waiting.COLUMNS}"""

FROM_JOBS: Final = "FROM lifecycle.jobs LEFT JOIN lifecycle.runs ON runs.id = jobs.run"

_STATUS, _FLOW, _DUE = map(FIELDS.index, ("status", "flow", "due"))
_END_OF_COLUMNS = len(FIELDS) + 5


def record_of(row: Sequence[Any], others: waiting.Others, **details: Any) -> JobRecord:
    """Return the record of a row of `COLUMNS`."""
    status, flow, due = JobStatus(row[_STATUS]), row[_FLOW], row[_DUE] or None
    waits_for = waiting.waits_for(status, flow, due, row[len(FIELDS) : _END_OF_COLUMNS], others)
    return job_rows.job_record(row, waits_for, **details)


async def jobs_of(db: Connection, run: int) -> Sequence[JobRecord]:
    """Return all jobs of a run, without results, logs and traces, in their order."""
    others = await waiting.others_of(db)
    rows = await db.fetch(f"SELECT {COLUMNS} {FROM_JOBS} WHERE jobs.run = $2 ORDER BY jobs.id", others.dead, run)
    return [record_of(tuple(row), others) for row in rows]


async def run(db: Connection, run_id: int) -> StoredRun | None:
    """Return what is known of a run."""
    row = await db.fetchrow(
        """
        SELECT flow, digest, params, jobs, unfinished, unfinished < jobs OR EXISTS (
                   SELECT 1 FROM lifecycle.jobs WHERE run = runs.id AND attempt > 1) AS begun,
               cancel IS NOT NULL AS cancelled, status, held
        FROM lifecycle.runs WHERE id = $1""",
        run_id,
    )
    if row is None:
        return None
    opened = OpenedRun(run_id, row["begun"], row["jobs"], row["unfinished"], row["held"])
    status = None if row["status"] is None else JobStatus(row["status"])
    key = flow_key(row["flow"], row["digest"])
    return StoredRun(row["flow"], key, row["params"], opened, row["cancelled"], status)


async def job(db: Connection, job_id: int) -> JobRecord | None:
    """Return one job with everything."""
    return (await whole_jobs(db, [job_id], await waiting.others_of(db))).get(job_id)


async def whole_jobs(db: Connection, numbers: Sequence[int], others: waiting.Others) -> dict[int, JobRecord]:
    """Return jobs with everything, by number."""
    rows = await db.fetch(
        f"""
        SELECT {COLUMNS}, jobs.result, jobs.trace, jobs.log, jobs.history, ARRAY(
            SELECT above.name FROM lifecycle.needs JOIN lifecycle.jobs AS above ON above.id = needs.needed
            WHERE needs.job = jobs.id ORDER BY above.id)
        {FROM_JOBS} WHERE jobs.id = ANY($2) ORDER BY jobs.id""",
        others.dead,
        numbers,
    )
    found = {}
    for row in map(tuple, rows):
        result, trace, log, history, needs = row[_END_OF_COLUMNS:]
        record = record_of(
            row,
            others,
            result=None if result is None else json.loads(result),
            trace=trace,
            log=whole_log(history, log),
            needs=tuple(needs),
        )
        unmet, doer, _, _, held = row[len(FIELDS) : _END_OF_COLUMNS]
        if record.waits_for is not None and unmet and not held and doer in others.known:
            names = await waiting.unended_needs(db, record.id)
            record = replace(record, waits_for=needs_of(unmet, names))
        found[record.id] = record
    return found


async def ended_jobs(db: Connection, jobs: Collection[int]) -> dict[int, JobRecord | None]:
    """Return those of these jobs that have ended, and None for those that there are not any more."""
    numbers = [number for number in jobs if number < 2**63]
    rows = await db.fetch("SELECT id, finished IS NOT NULL FROM lifecycle.jobs WHERE id = ANY($1)", numbers)
    states = dict(map(tuple, rows))
    ended = [number for number in numbers if states.get(number)]
    # What has ended waits for nobody.
    records = await whole_jobs(db, ended, waiting.NOBODY) if ended else {}
    return {number: records.get(number) for number in jobs if states.get(number, True)}


async def highest_job(db: Connection) -> int:
    """Return the highest number that a job has ever had, 0 when there was none."""
    return int(await db.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM lifecycle.jobs_id_seq"))


async def identity(db: Connection) -> str:
    """Return which store this is."""
    return str(await db.fetchval("SELECT left(value, 10) FROM lifecycle.facts WHERE name = 'token'"))


async def ended_runs(db: Connection, runs: Collection[int]) -> Collection[int]:
    """Return the numbers of those of these runs that have ended, or are not there any more."""
    numbers = [number for number in runs if number < 2**63]
    rows = await db.fetch("SELECT id FROM lifecycle.runs WHERE id = ANY($1) AND finished IS NULL", numbers)
    going = {row[0] for row in rows}
    return [number for number in runs if number not in going]


async def unfinished(db: Connection, owner: int, limit: int) -> Sequence[str]:
    """Return the names of jobs that a scheduler runs, or has submitted, and that run, are ready or are delayed."""
    rows = await db.fetch(
        """
        SELECT name FROM lifecycle.jobs WHERE state = 'running' AND owner = $1
        UNION ALL SELECT name FROM lifecycle.jobs WHERE state = 'running' AND sender = $1 AND owner <> $1
        UNION ALL SELECT name FROM lifecycle.jobs WHERE state = 'pending' AND unmet = 0 AND due = 0 AND sender = $1
        UNION ALL SELECT name FROM lifecycle.jobs WHERE state = 'pending' AND unmet = 0 AND due > 0 AND sender = $1
        LIMIT $2""",
        owner,
        limit,
    )
    return [row[0] for row in rows]


async def outputs(db: Connection, run_id: int, names: Collection[str]) -> dict[str, Any]:
    """Return the outputs of succeeded jobs of a run, by name."""
    rows = await db.fetch(
        "SELECT name, result FROM lifecycle.jobs WHERE run = $1 AND name = ANY($2) AND state = 'succeeded'",
        run_id,
        list(names),
    )
    return {name: None if result is None else json.loads(result) for name, result in rows}


async def fates(db: Connection, run_id: int, names: Collection[str]) -> dict[str, tuple[str, str | None]]:
    """Return the status and the error of jobs of a run, by name."""
    rows = await db.fetch(
        "SELECT name, state, error FROM lifecycle.jobs WHERE run = $1 AND name = ANY($2)", run_id, list(names)
    )
    return {name: (state, error) for name, state, error in rows}


async def notices(db: Connection, owner: int) -> Sequence[Notice]:
    """Return what others have done to a scheduler's jobs: one query, nearly always empty."""
    rows = await db.fetch(
        """
        SELECT notices.id, jobs.id, jobs.run, jobs.name, coalesce(jobs.cancel, jobs.error, 'cancelled'), jobs.state,
               coalesce(runs.unfinished = 0, false)
        FROM lifecycle.notices JOIN lifecycle.jobs ON jobs.id = notices.job
            LEFT JOIN lifecycle.runs ON runs.id = jobs.run
        WHERE notices.owner = $1 ORDER BY notices.id LIMIT 5000""",
        owner,
    )
    return [
        Notice(number, job, run, name, reason, JobStatus(state), finished)
        for number, job, run, name, reason, state, finished in map(tuple, rows)
    ]


async def newest_of(db: Connection, name: str, *, unended: bool = False) -> int | None:
    """Return the number of the newest job with this name, with *unended* of those that have not ended."""
    condition = " AND finished IS NULL" if unended else ""
    number: int | None = await db.fetchval(
        f"SELECT id FROM lifecycle.jobs WHERE name = $1{condition} ORDER BY id DESC LIMIT 1", name
    )
    return number
