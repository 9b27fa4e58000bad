"""Schedules in an SQLite file: each due time becomes one job or run, in the transaction that moves the schedule on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from .._ground.values import to_json
from .operations import insert_job
from .owners import insert_run
from .records import NewJob, NewRun
from .rules import after_pause, fire, first_due
from .schedule_records import NewSchedule, ScheduleRecord, Submitted
from .terms import Terms

AT_ONCE = 100
"""Schedules fired in one transaction; the others in the next ones."""

_NEW = "name, kind, rule, timezone, missed, misfire_grace, job, handler"
_RECORD = (
    "name, kind, rule, timezone, missed, misfire_grace, paused, next_due, last_due, last_job, runs, missed_runs, "
    "json_extract(job, '$.flow'), last_run, CASE WHEN json_extract(job, '$.flow') IS NULL THEN handler END"
)
_KNOWN = "handler IN (SELECT value FROM json_each(?))"


def put(db: sqlite3.Connection, new: NewSchedule, now: float) -> ScheduleRecord:
    """Store a schedule, or change the one of this name; its due times stay unless its timing has changed."""
    old = db.execute("SELECT kind, rule, timezone FROM schedules WHERE name = ?", (new.name,)).fetchone()
    values = (*new.timing, new.missed, new.misfire_grace, new.handler, _work_text(new.work))
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
    """Remove a schedule; its jobs stay. Return whether there was one."""
    return db.execute("DELETE FROM schedules WHERE name = ?", (name,)).rowcount == 1


def pause(db: sqlite3.Connection, name: str) -> bool:
    """Pause a schedule until it is resumed; return whether there is one."""
    return db.execute("UPDATE schedules SET paused = 1 WHERE name = ?", (name,)).rowcount == 1


def resume(db: sqlite3.Connection, name: str, now: float) -> bool:
    """End a pause; what was due meanwhile is not made up for. Return whether there is such a schedule."""
    row = db.execute(f"SELECT {_NEW}, anchor, next_due, paused FROM schedules WHERE name = ?", (name,)).fetchone()
    if row is None:
        return False
    *fields, anchor, due, paused = row
    if paused:
        due = after_pause(_new(fields), anchor, due, now)
    db.execute("UPDATE schedules SET paused = 0, next_due = ? WHERE name = ?", (due, name))
    return True


def trigger(
    db: sqlite3.Connection, name: str, flows: Collection[str], owner: int | None, now: float
) -> Submitted | None:
    """Submit a run now, besides those that are due; return what was submitted.

    None when there is no such schedule, or its flow is not among those with the keys *flows*.
    """
    row = db.execute(f"SELECT {_NEW} FROM schedules WHERE name = ?", (name,)).fetchone()
    new = None if row is None else _new(row)
    if new is None or (new.flow is not None and new.handler not in flows):
        return None
    return _submit(db, new.work, owner, now)


def request_run(db: sqlite3.Connection, name: str) -> bool:
    """Ask a scheduler that knows the schedule for a run, as soon as it looks; return whether there is one."""
    return db.execute("UPDATE schedules SET triggered = triggered + 1 WHERE name = ?", (name,)).rowcount == 1


def any_known(db: sqlite3.Connection, known: Collection[str]) -> bool:
    """Return whether there is any schedule, paused or not, whose handler or flow is known."""
    row = db.execute(f"SELECT EXISTS (SELECT 1 FROM schedules WHERE {_KNOWN})", (to_json(list(known)),)).fetchone()
    return bool(row[0])


def fire_due(db: sqlite3.Connection, owner: int, known: Collection[str], now: float) -> float | None:
    """Submit what is due of the schedules whose handler or flow is known; return when the next is due.

    Every scheduler of a store may do so: the second finds that the schedule has moved on.
    """
    handlers = to_json(list(known))
    _fire_requested(db, handlers, owner, now)
    due = db.execute(
        f"""
        SELECT {_NEW}, id, anchor, next_due FROM schedules
        WHERE paused = 0 AND next_due <= ? AND {_KNOWN} ORDER BY next_due LIMIT {AT_ONCE}""",
        (now, handlers),
    ).fetchall()
    for *fields, number, anchor, at in due:
        _fire(db, _new(fields), number, anchor, at, owner, now)
    row: tuple[float | None] = db.execute(
        f"SELECT min(next_due) FROM schedules WHERE paused = 0 AND next_due IS NOT NULL AND {_KNOWN}", (handlers,)
    ).fetchone()
    return row[0]


def _fire_requested(db: sqlite3.Connection, handlers: str, owner: int, now: float) -> None:
    """Submit what other processes have asked for, which a pause does not hold up either."""
    asked = db.execute(
        f"SELECT {_NEW}, id, triggered FROM schedules WHERE triggered > 0 AND {_KNOWN} LIMIT {AT_ONCE}", (handlers,)
    ).fetchall()
    for *fields, number, times in asked:
        times = min(times, AT_ONCE)
        for _ in range(times):
            _submit(db, _new(fields).work, owner, now)
        db.execute("UPDATE schedules SET triggered = triggered - ? WHERE id = ?", (times, number))


def _submit(db: sqlite3.Connection, work: NewJob | NewRun, owner: int | None, now: float) -> Submitted:
    if isinstance(work, NewRun):
        return Submitted(run=insert_run(db, work, owner, now).run_id)
    return Submitted(job=insert_job(db, work, None, owner, now))


def _fire(
    db: sqlite3.Connection, new: NewSchedule, number: int, anchor: float, due: float, owner: int, now: float
) -> None:
    firing = fire(new, anchor, due, now)
    last = Submitted()
    for at in firing.runs:
        last = _submit(db, new.work, owner, now)
        table = "jobs" if last.run is None else "runs"
        db.execute(f"UPDATE {table} SET schedule = ?, scheduled = ? WHERE id = ?", (number, at, last.job or last.run))
    last_due = firing.runs[-1] if firing.runs else None
    db.execute(
        """
        UPDATE schedules SET next_due = ?, last_due = coalesce(?, last_due), last_job = coalesce(?, last_job),
                             last_run = coalesce(?, last_run), runs = runs + ?, missed_runs = missed_runs + ?
        WHERE id = ?""",
        (firing.next_due, last_due, last.job, last.run, len(firing.runs), firing.missed, number),
    )


def _begin_anew(db: sqlite3.Connection, new: NewSchedule, now: float) -> None:
    db.execute("UPDATE schedules SET anchor = ?, next_due = ? WHERE name = ?", (now, first_due(new, now), new.name))


def _work_text(work: NewJob | NewRun) -> str:
    if isinstance(work, NewRun):
        facts = {"flow": work.flow, "source": work.source, "digest": work.digest, "params": work.params}
        return to_json({**facts, "jobs": [_said_of(job) for job in work.jobs]})
    return to_json({"job": _said_of(work)})


def _work(text: str) -> NewJob | NewRun:
    kept = json.loads(text)
    if isinstance(kept, list):  # as version 4 wrote a job
        label, kind, *settings = kept
        return _job([label, kind, [], settings[0], 0.0, *settings[1:]])
    if "job" in kept:
        return _job(kept["job"])
    return NewRun(**{**kept, "jobs": tuple(map(_job, kept["jobs"]))})


def _said_of(job: NewJob) -> dict[str, Any]:
    """Return what a job says that every other does not."""
    defaults = NewJob._field_defaults
    said = {name: value for name, value in job._asdict().items() if name not in defaults or value != defaults[name]}
    if job.terms is not None:
        said["terms"] = {"lifetime": job.terms.lifetime, "metadata": job.terms.metadata}
    return said


def _job(said: dict[str, Any] | list[Any]) -> NewJob:
    fields = said if isinstance(said, dict) else dict(zip(NewJob._fields, said, strict=False))
    lists = {name: tuple(value) for name, value in fields.items() if name in ("needs", "backoff")}
    terms = fields.get("terms")
    return NewJob(**{**fields, **lists, "terms": None if terms is None else Terms(**terms)})


def _new(row: Sequence[Any]) -> NewSchedule:
    name, kind, rule, timezone, missed, grace, text, handler = row
    return NewSchedule(name, kind, rule, timezone, missed, grace, _work(text), handler)


def _record(row: Sequence[Any]) -> ScheduleRecord:
    name, kind, rule, timezone, missed, grace, paused, *times = row
    return ScheduleRecord(name, kind, rule, timezone, missed, grace, bool(paused), *times)
