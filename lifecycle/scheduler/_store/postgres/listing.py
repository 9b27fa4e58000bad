"""Lists of jobs and runs in a PostgreSQL database: the newest of those that are wanted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..filters import JobFilter
from ..records import JobRecord, JobStatus
from ..run_records import RunFilter, RunRecord
from ..waiting import nobody_takes
from .connections import Connection
from .views import COLUMNS, FROM_JOBS, STATE, record_of
from .waiting import Others, others_of


class _Conditions:
    """What rows are to fulfil; values are given to the database apart from its text."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self._texts: list[str] = []

    def add(self, condition: str, value: Any) -> None:
        """Add a condition in which ``{}`` stands for *value*; none for None."""
        if value is not None:
            self.values.append(value)
            self._texts.append(condition.format(f"${len(self.values)}"))

    @property
    def text(self) -> str:
        """All of them."""
        return " AND ".join(self._texts) or "true"


async def list_jobs(db: Connection, wanted: JobFilter) -> Sequence[JobRecord]:
    """Return the newest jobs that are wanted, the newest last."""
    others = await others_of(db)
    where = _Conditions(others.dead, wanted.limit)
    where.add("jobs.run = {}", wanted.run)
    where.add("jobs.name = {}", wanted.name)
    where.add("jobs.run IN (SELECT id FROM lifecycle.runs WHERE flow = {})", wanted.flow)
    _in_time(where, wanted, "jobs")
    if wanted.statuses:
        where.add(f"{STATE} = ANY({{}})", [status.value for status in wanted.statuses])
        # In the words of the indexes, whichever narrows it down most.
        if all(status.final for status in wanted.statuses):
            where.add("jobs.finished IS NOT NULL AND jobs.state = ANY({})", [one.value for one in wanted.statuses])
        elif not any(status.final for status in wanted.statuses):
            where.add("jobs.finished IS NULL AND {}", True)
    rows = await db.fetch(
        f"SELECT {COLUMNS} {FROM_JOBS} WHERE {where.text} ORDER BY jobs.id DESC LIMIT $2", *where.values
    )
    return [record_of(tuple(row), others) for row in reversed(rows)]


async def list_runs(db: Connection, wanted: RunFilter) -> Sequence[RunRecord]:
    """Return the newest runs that are wanted, the newest last; of each all jobs are counted."""
    others = await others_of(db)
    where = _Conditions()
    where.add("id = {}", wanted.run)
    where.add("flow = {}", wanted.flow)
    _in_time(where, wanted, "runs")
    if wanted.statuses:
        ends = [status.value for status in wanted.statuses if status.final]
        going = "OR finished IS NULL" if any(not status.final for status in wanted.statuses) else ""
        where.add(f"(status = ANY({{}}) {going})", ends)
    found: list[RunRecord] = []
    async with db.transaction(readonly=True):
        cursor = await db.cursor(f"SELECT * FROM lifecycle.runs WHERE {where.text} ORDER BY id DESC", *where.values)
        while len(found) < wanted.limit and (rows := await cursor.fetch(200)):
            counts = await _counts(db, others, [row["id"] for row in rows])
            records = (_run_record(row, counts.get(row["id"], {}), others) for row in rows)
            found += [record for record in records if wanted.accepts(record)]
    return list(itertools.islice(found, wanted.limit))[::-1]


async def _counts(db: Connection, others: Others, runs: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    counts: dict[int, dict[str, int]] = {}
    rows = await db.fetch(
        f"SELECT jobs.run, {STATE}, count(*) FROM lifecycle.jobs WHERE jobs.run = ANY($2) GROUP BY 1, 2",
        others.dead,
        runs,
    )
    for run, state, count in map(tuple, rows):
        counts.setdefault(run, {})[state] = count
    return counts


def _run_record(row: Mapping[str, Any], counts: Mapping[str, int], others: Others) -> RunRecord:
    flow, served = row["flow"], row["doer"] in others.known
    going = JobStatus.PENDING if row["held"] else JobStatus.RUNNING if served else JobStatus.INTERRUPTED
    status = going if row["finished"] is None else JobStatus(row["status"])
    waits = None
    if status is JobStatus.PENDING:
        waits = others.ends(flow) if served else nobody_takes(flow, None, others.any_alive)
    times = (row["created"], row["finished"])
    return RunRecord(row["id"], flow, status, json.loads(row["params"]), counts, *times, waits)


def _in_time(where: _Conditions, wanted: JobFilter | RunFilter, table: str) -> None:
    where.add(f"{table}.created >= {{}}", wanted.since)
    where.add(f"{table}.created < {{}}", wanted.until)
