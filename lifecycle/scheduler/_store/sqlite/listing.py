"""Lists of jobs and runs in an SQLite file: each is read newest first along an index, until there are enough."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from ..filters import JobFilter
from ..records import JobRecord, JobStatus
from ..run_records import RunFilter, RunRecord
from ..waiting import nobody_takes
from .views import COLUMNS, FROM_JOBS, effective_state, job_record
from .waiting import Others, owners_of

RARE: Final = 10_000
"""So many jobs in the wanted states, at most, are looked at rather than all of a name or a flow."""


def list_jobs(db: sqlite3.Connection, wanted: JobFilter, dead: Collection[int] = ()) -> Sequence[JobRecord]:
    """Return the newest jobs, the newest last.

    Args:
        db: the connection.
        wanted: which jobs.
        dead: numbers of owners that are dead: what they run is interrupted.
    """
    values = {name: getattr(wanted, name) for name in ("run", "flow", "name", "since", "until", "limit")}
    state = effective_state(dead)
    columns = COLUMNS.replace("jobs.state", state)
    if wanted.statuses and _states_are_rare(db, wanted):
        # "+" keeps the other indexes out of it.
        where = f"{_conditions(wanted, '+')} AND {_in_time(db, wanted, 'jobs')}"
        parts = []
        for condition in _in_states(wanted.statuses, dead):
            # Those that run are few, and their index is by owner: they are sorted.
            number = "+jobs.id" if "'running'" in condition else "jobs.id"
            order = f"ORDER BY {number} DESC LIMIT :limit"
            parts.append(f"SELECT * FROM (SELECT {columns} {FROM_JOBS} WHERE {condition} AND {where} {order})")
        query = f"{' UNION ALL '.join(parts)} ORDER BY 1 DESC LIMIT :limit"
    else:
        tables, order, where = FROM_JOBS, "jobs.id DESC", f"{_conditions(wanted)} AND {_in_time(db, wanted, 'jobs')}"
        if wanted.flow is not None and wanted.run is None:
            # The jobs of a run are stored together: by run and number is by number. CROSS: in this order.
            tables, order = "FROM runs CROSS JOIN jobs ON jobs.run = runs.id", "runs.id DESC, jobs.id DESC"
            where = f"{where} AND {_in_time(db, wanted, 'runs')}"
        states = ", ".join(f"'{status.value}'" for status in wanted.statuses)
        in_state = f"{state} IN ({states})" if states else "1"
        query = f"SELECT {columns} {tables} WHERE {where} AND {in_state} ORDER BY {order} LIMIT :limit"
    rows = db.execute(query, values).fetchall()
    others = owners_of(db, dead)
    return [job_record(row, others) for row in reversed(rows)]


def list_runs(db: sqlite3.Connection, wanted: RunFilter, dead: Collection[int] = ()) -> Sequence[RunRecord]:
    """Return the newest runs, the newest last; what dead owners had is interrupted.

    Of each that is returned all jobs are counted.
    """
    conditions = {"id = :run": wanted.run, "flow = :flow": wanted.flow}
    where = [condition for condition, value in conditions.items() if value is not None]
    if wanted.statuses:
        ends = ", ".join(f"'{status.value}'" for status in wanted.statuses if status.final)
        going = "OR finished IS NULL" if any(not status.final for status in wanted.statuses) else ""
        where.append(f"(status IN ({ends}) {going})")
    rows = db.execute(
        f"""
        SELECT id, flow, params, created, finished, owner, status, held FROM runs
        WHERE {" AND ".join([*where, _in_time(db, wanted, "runs")])} ORDER BY id DESC""",
        {name: getattr(wanted, name) for name in ("run", "flow", "since", "until")},
    )
    others = owners_of(db, dead)
    records = (_run_record(db, row, others) for row in rows)
    found = (record for record in records if wanted.accepts(record))
    return list(itertools.islice(found, wanted.limit))[::-1]


def _run_record(db: sqlite3.Connection, row: Sequence[Any], others: Others) -> RunRecord:
    number, flow, params, created, finished, owner, ended, held = row
    state = effective_state(others.dead)
    counts = dict(db.execute(f"SELECT {state}, count(*) FROM jobs WHERE run = ? GROUP BY 1", (number,)).fetchall())
    owned = owner is not None and owner not in others.dead
    going = JobStatus.PENDING if held else JobStatus.RUNNING if owned else JobStatus.INTERRUPTED
    status = going if finished is None else JobStatus(ended)
    waits = (
        None
        if status is not JobStatus.PENDING
        else others.ends(flow)
        if owned
        else nobody_takes(flow, None, others.any_alive)
    )
    return RunRecord(number, flow, status, json.loads(params), counts, created, finished, waits)


def _conditions(wanted: JobFilter, prefix: str = "") -> str:
    """Return what the row of a wanted job fulfils, state and time left out."""
    given = {"jobs.run = :run": wanted.run, "jobs.name = :name": wanted.name, "runs.flow = :flow": wanted.flow}
    conditions = [f"{prefix}{condition}" for condition, value in given.items() if value is not None]
    return " AND ".join(conditions) or "1"


def _in_states(statuses: Collection[JobStatus], dead: Collection[int]) -> Iterator[str]:
    """Return a condition for each of the states, in the words of its index."""
    lost = f"jobs.owner IN ({', '.join(str(int(owner)) for owner in dead)})"
    for status in statuses:
        alive = f" AND NOT coalesce({lost}, 0)" if status is JobStatus.RUNNING and dead else ""
        ended = " AND jobs.finished IS NOT NULL" if status.final else ""
        yield f"jobs.state = '{status.value}'{ended}{alive}"
        if status is JobStatus.INTERRUPTED and dead:
            yield f"jobs.state = 'running' AND {lost}"


def _states_are_rare(db: sqlite3.Connection, wanted: JobFilter) -> bool:
    """Return whether few jobs are in the wanted states, so that they are the way to find what else is asked for."""
    if wanted.run is not None:
        return False
    if wanted.name is None and wanted.flow is None:
        return True  # nothing else narrows it down
    states = ", ".join(f"'{status.value}'" for status in wanted.statuses)
    row = db.execute(f"SELECT coalesce(sum(jobs), 0) FROM counts WHERE state IN ({states})").fetchone()
    return bool(row[0] <= RARE)


def _in_time(db: sqlite3.Connection, wanted: JobFilter | RunFilter, table: str) -> str:
    """Return what the row of a job, or of a run, fulfils that was submitted in the wanted time.

    Numbers grow with time, so that no index of times has to be kept, which every job would pay for.
    """
    conditions = ["1"]
    if wanted.since is not None:
        conditions.append(f"{table}.created >= :since AND {table}.id >= {_first_since(db, wanted.since, table)}")
    if wanted.until is not None:
        conditions.append(f"{table}.created < :until AND {table}.id < {_first_since(db, wanted.until, table)}")
    return " AND ".join(conditions)


def _first_since(db: sqlite3.Connection, instant: float, table: str) -> int:
    """Return the smallest number that a row has which was made at *instant* or later, found by halving."""
    low, high = db.execute(
        f"SELECT coalesce((SELECT min(id) FROM {table}), 1), coalesce((SELECT max(id) FROM {table}), 0) + 1"
    ).fetchone()
    while low < high:
        middle = (low + high) // 2
        number, created = db.execute(
            f"SELECT id, created FROM {table} WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if created >= instant:
            high = middle
        else:
            low = number + 1
    return int(low)
