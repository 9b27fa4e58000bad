"""Schedules in an SQLite file: each due time becomes one job, in the transaction that moves the schedule on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from .._values import to_json
from ._operations import insert_job
from ._records import NewJob, NewSchedule, ScheduleRecord
from ._rules import due_after, fire, first_due

AT_ONCE = 100
"""So many schedules are fired in one transaction; the others in the next ones."""

_NEW = "name, kind, rule, timezone, missed, misfire_grace, job, handler"
_RECORD = "name, kind, rule, timezone, missed, misfire_grace, paused, next_due, last_due, last_job, runs, missed_runs"


def put(db: sqlite3.Connection, new: NewSchedule, now: float) -> ScheduleRecord:
    """Put in a schedule, or change the one of this name; its due times stay unless its timing has changed."""
    old = db.execute("SELECT kind, rule, timezone FROM schedules WHERE name = ?", (new.name,)).fetchone()
    values = (*new.timing, new.missed, new.misfire_grace, new.handler, _job_text(new.job))
    if old is None:
        db.execute(
            """
            INSERT INTO schedules (kind, rule, timezone, missed, misfire_grace, handler, job, name, anchor, next_due)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*values, new.name, now, first_due(new, now)),
        )
    else:
        db.execute(
            """
            UPDATE schedules SET kind = ?, rule = ?, timezone = ?, missed = ?, misfire_grace = ?, handler = ?, job = ?
            WHERE name = ?""",
            (*values, new.name),
        )
        if old != new.timing:
            _begin_anew(db, new, now)
    found = record(db, new.name)
    assert found is not None
    return found


def record(db: sqlite3.Connection, name: str) -> ScheduleRecord | None:
    """Return one schedule."""
    row = db.execute(f"SELECT {_RECORD} FROM schedules WHERE name = ?", (name,)).fetchone()
    return None if row is None else _record(row)


def records(db: sqlite3.Connection) -> Sequence[ScheduleRecord]:
    """Return all schedules by name."""
    return [_record(row) for row in db.execute(f"SELECT {_RECORD} FROM schedules ORDER BY name")]


def remove(db: sqlite3.Connection, name: str) -> bool:
    """Take out a schedule; its jobs stay. Return whether there was one."""
    return db.execute("DELETE FROM schedules WHERE name = ?", (name,)).rowcount == 1


def pause(db: sqlite3.Connection, name: str) -> bool:
    """Have a schedule not be due until it is resumed; return whether there is one."""
    return db.execute("UPDATE schedules SET paused = 1 WHERE name = ?", (name,)).rowcount == 1


def resume(db: sqlite3.Connection, name: str, now: float) -> bool:
    """End a pause; what was due meanwhile is not made up for. Return whether there is such a schedule."""
    row = db.execute(f"SELECT {_NEW}, anchor, next_due, paused FROM schedules WHERE name = ?", (name,)).fetchone()
    if row is None:
        return False
    *fields, anchor, due, paused = row
    new = _new(fields)
    if paused and due is not None and due <= now:
        due = now + float(new.rule) if new.kind == "fixed_delay" else due_after(new, anchor, now)
    db.execute("UPDATE schedules SET paused = 0, next_due = ? WHERE name = ?", (due, name))
    return True


def trigger(db: sqlite3.Connection, name: str, owner: int, now: float) -> int | None:
    """Put in a run now, besides those that are due; return its job's number, None when there is no such schedule."""
    row = db.execute(f"SELECT {_NEW} FROM schedules WHERE name = ?", (name,)).fetchone()
    return None if row is None else insert_job(db, _new(row).job, None, owner, now)


def fire_due(db: sqlite3.Connection, owner: int, known: Collection[str], now: float) -> float | None:
    """Put in the jobs that are due of schedules whose handler is known; return when the next is due.

    Every scheduler of a store may do so: who comes second finds the schedule moved on.
    """
    handlers = to_json(list(known))
    due = db.execute(
        f"""
        SELECT {_NEW}, id, anchor, next_due FROM schedules
        WHERE paused = 0 AND next_due <= ? AND handler IN (SELECT value FROM json_each(?))
        ORDER BY next_due LIMIT {AT_ONCE}""",
        (now, handlers),
    ).fetchall()
    for *fields, number, anchor, at in due:
        _fire(db, _new(fields), number, anchor, at, owner, now)
    row: tuple[float | None] = db.execute(
        """
        SELECT min(next_due) FROM schedules
        WHERE paused = 0 AND next_due IS NOT NULL AND handler IN (SELECT value FROM json_each(?))""",
        (handlers,),
    ).fetchone()
    return row[0]


def _fire(
    db: sqlite3.Connection, new: NewSchedule, number: int, anchor: float, due: float, owner: int, now: float
) -> None:
    firing = fire(new, anchor, due, now)
    job = None
    for at in firing.runs:
        job = insert_job(db, new.job, None, owner, now)
        db.execute("UPDATE jobs SET schedule = ?, scheduled = ? WHERE id = ?", (number, at, job))
    db.execute(
        """
        UPDATE schedules SET next_due = ?, last_due = coalesce(?, last_due), last_job = coalesce(?, last_job),
                             runs = runs + ?, missed_runs = missed_runs + ? WHERE id = ?""",
        (firing.next_due, firing.runs[-1] if firing.runs else None, job, len(firing.runs), firing.missed, number),
    )


def _begin_anew(db: sqlite3.Connection, new: NewSchedule, now: float) -> None:
    db.execute("UPDATE schedules SET anchor = ?, next_due = ? WHERE name = ?", (now, first_due(new, now), new.name))


def _job_text(job: NewJob) -> str:
    return to_json([job.name, job.kind, job.priority, job.retries, list(job.backoff), job.timeout, job.payload])


def _new(row: Sequence[Any]) -> NewSchedule:
    name, kind, rule, timezone, missed, grace, text, handler = row
    label, work, priority, retries, backoff, timeout, payload = json.loads(text)
    job = NewJob(label, work, (), priority, 0.0, retries, tuple(backoff), timeout, payload)
    return NewSchedule(name, kind, rule, timezone, missed, grace, job, handler)


def _record(row: Sequence[Any]) -> ScheduleRecord:
    name, kind, rule, timezone, missed, grace, paused, *times = row
    return ScheduleRecord(name, kind, rule, timezone, missed, grace, bool(paused), *times)
