"""Schedules in an SQLite file: each due time becomes one job or run, in the transaction that moves the schedule on."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from ..._ground.errors import RunConflict
from ..._ground.values import to_json
from ..pace import OVERTAKEN, UNBOUNDED, Bound, Pace
from ..records import NewJob, NewRun
from ..rules import Firing, after_pause, anchor_of, due_after, fire, first_due, starting_at
from ..schedule_records import NewSchedule, ScheduleRecord, Submitted, record_of
from ..terms import Terms
from .clock import was_run
from .entering import admit_run
from .operations import cancel, cancel_run, insert_job
from .unreadable import Unreadable

logger = logging.getLogger("lifecycle.scheduler")

AT_ONCE = 100
"""Schedules fired in one transaction; the others in the next ones."""

_PACE = "max_instances, overlap, jitter, starts, ends"
_NEW = f"name, kind, rule, timezone, missed, misfire_grace, job, handler, {_PACE}"
_RECORD = (
    "name, kind, rule, timezone, missed, misfire_grace, paused, next_due, last_due, last_job, runs, missed_runs, "
    "json_extract(job, '$.flow'), last_run, CASE WHEN json_extract(job, '$.flow') IS NULL THEN handler END, "
    f"{_PACE}, waiting, skipped_runs"
)
_KNOWN = "handler IN (SELECT value FROM json_each(?))"
_READABLE = "id NOT IN (SELECT value FROM json_each(?))"
_HAS_ROOM = """max_instances > (
    SELECT count(*) FROM {table} WHERE {table}.schedule = schedules.id AND {table}.finished IS NULL)"""


def put(db: sqlite3.Connection, new: NewSchedule, now: float) -> ScheduleRecord:
    """Store a schedule, or change the one of this name; its due times stay unless its timing has changed."""
    old = db.execute("SELECT kind, rule, timezone, starts, ends FROM schedules WHERE name = ?", (new.name,)).fetchone()
    values = (*new.timing, new.missed, new.misfire_grace, new.handler, work_text(new.work), *new.pace)
    if old is None:
        db.execute(
            """
            INSERT INTO schedules (kind, rule, timezone, missed, misfire_grace, handler, job, max_instances, overlap,
                                   jitter, starts, ends, name, anchor, next_due)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*values, new.name, anchor_of(new, now), first_due(new, now)),
        )
    else:
        db.execute(
            """
            UPDATE schedules SET kind = ?, rule = ?, timezone = ?, missed = ?, misfire_grace = ?, handler = ?, job = ?,
                                 max_instances = ?, overlap = ?, jitter = ?, starts = ?, ends = ?
            WHERE name = ?""",
            (*values, new.name),
        )
        if old != (*new.timing, new.pace.starts, new.pace.ends):
            _begin_anew(db, new, now)
    found = record(db, new.name)
    assert found is not None
    return found


def record(db: sqlite3.Connection, name: str) -> ScheduleRecord | None:
    """Return one schedule."""
    row = db.execute(f"SELECT {_RECORD} FROM schedules WHERE name = ?", (name,)).fetchone()
    return None if row is None else record_of(row)


def records(db: sqlite3.Connection) -> Sequence[ScheduleRecord]:
    """Return all schedules by name."""
    return [record_of(row) for row in db.execute(f"SELECT {_RECORD} FROM schedules ORDER BY name")]


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


def set_bound(db: sqlite3.Connection, name: str, bound: Bound) -> bool:
    """Change how many of a schedule's runs go on at once; return whether there is one."""
    change = "UPDATE schedules SET max_instances = ?, overlap = ? WHERE name = ?"
    return db.execute(change, (*bound, name)).rowcount == 1


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
    number = db.execute("SELECT id FROM schedules WHERE name = ?", (name,)).fetchone()[0]
    return _submit(db, new, number, None, owner, now)


def request_run(db: sqlite3.Connection, name: str) -> bool:
    """Ask a scheduler that knows the schedule for a run, as soon as it looks; return whether there is one."""
    return db.execute("UPDATE schedules SET triggered = triggered + 1 WHERE name = ?", (name,)).rowcount == 1


def any_known(db: sqlite3.Connection, known: Collection[str]) -> bool:
    """Return whether there is any schedule, paused or not, whose handler or flow is known."""
    row = db.execute(f"SELECT EXISTS (SELECT 1 FROM schedules WHERE {_KNOWN})", (to_json(list(known)),)).fetchone()
    return bool(row[0])


def fire_due(
    db: sqlite3.Connection, owner: int, known: Collection[str], now: float, unreadable: Unreadable
) -> float | None:
    """Submit what is due of the schedules whose handler or flow is known; return when the next is due.

    Every scheduler of a store may do so: the second finds that the schedule has moved on.
    """
    handlers = to_json(list(known))
    _fire_requested(db, handlers, owner, now)
    due = db.execute(
        f"""
        SELECT {_NEW}, id, anchor, next_due FROM schedules
        WHERE paused = 0 AND next_due <= ? AND {_KNOWN} AND {_READABLE} ORDER BY next_due LIMIT {AT_ONCE}""",
        (now, handlers, to_json(unreadable.numbers(db))),
    ).fetchall()
    for *fields, number, anchor, at in due:
        new = _new(fields)
        try:
            firing = fire(new, anchor, at, now)
        except (ValueError, ImportError) as error:
            unreadable.add(number, new, error)
        else:
            _fire(db, new, number, anchor, firing, owner, now)
    _fire_waiting(db, handlers, owner, now)
    row: tuple[float | None] = db.execute(
        f"""
        SELECT min(next_due) FROM schedules
        WHERE paused = 0 AND next_due IS NOT NULL AND {_KNOWN} AND {_READABLE}""",
        (handlers, to_json(unreadable.numbers(db))),
    ).fetchone()
    return row[0]


def _fire_requested(db: sqlite3.Connection, handlers: str, owner: int, now: float) -> None:
    """Submit what other processes have asked for, which a pause does not hold up either."""
    asked = db.execute(
        f"SELECT {_NEW}, id, triggered FROM schedules WHERE triggered > 0 AND {_KNOWN} LIMIT {AT_ONCE}", (handlers,)
    ).fetchall()
    for *fields, number, times in asked:
        times = min(times, AT_ONCE)
        new = _new(fields)
        for _ in range(times):
            try:
                _submit(db, new, number, None, owner, now)
            except RunConflict:
                _skip(db, new, number)
        db.execute("UPDATE schedules SET triggered = triggered - ? WHERE id = ?", (times, number))


def _submit(
    db: sqlite3.Connection, new: NewSchedule, number: int, due: float | None, owner: int | None, now: float
) -> Submitted:
    """Submit a run for a due time, None for one that somebody has asked for; it counts among the schedule's."""
    work = new.work if due is None else starting_at(new, due, now)
    if isinstance(work, NewRun):
        submitted = Submitted(run=admit_run(db, work, owner, now).run_id)
    else:
        submitted = Submitted(job=insert_job(db, work, None, owner, now))
    table = "jobs" if submitted.run is None else "runs"
    values = (number, due, submitted.job or submitted.run)
    db.execute(f"UPDATE {table} SET schedule = ?, scheduled = ? WHERE id = ?", values)
    return submitted


def _fire(
    db: sqlite3.Connection, new: NewSchedule, number: int, anchor: float, firing: Firing, owner: int, now: float
) -> None:
    next_due = firing.next_due
    db.execute("UPDATE schedules SET missed_runs = missed_runs + ? WHERE id = ?", (firing.missed, number))
    for at in firing.runs:
        # A clock that has been ahead for a moment shows an instant twice.
        placed = not was_run(db, number, at) and _place(db, new, number, at, owner, now)
        if not placed and new.kind == "fixed_delay":
            next_due = new.pace.within(due_after(new, anchor, now))
    db.execute("UPDATE schedules SET next_due = ? WHERE id = ?", (next_due, number))


def _place(db: sqlite3.Connection, new: NewSchedule, number: int, at: float, owner: int, now: float) -> bool:
    """Submit the run for a due time, after the one that waits already; return whether it was submitted."""
    bound = new.pace.bound
    waiting = db.execute("SELECT waiting FROM schedules WHERE id = ?", (number,)).fetchone()[0]
    if waiting == at:
        return False
    unfinished = _unfinished(db, new, number)
    if waiting is not None and bound.overlap == "queue" and bound.has_room(len(unfinished)):
        _run_waiting(db, new, number, waiting, owner, now)
        waiting, unfinished = None, _unfinished(db, new, number)
    room = bound.has_room(len(unfinished))
    if room and waiting is None:
        return _run(db, new, number, at, owner, now)
    if not room:
        for oldest in bound.to_cancel(unfinished):
            (cancel if new.flow is None else cancel_run)(db, oldest, OVERTAKEN, now, None)
    _hold(db, new, number, waiting, at)
    return False


def _fire_waiting(db: sqlite3.Connection, handlers: str, owner: int, now: float) -> None:
    """Submit the runs that have waited until others had ended."""
    rows = db.execute(
        f"""
        SELECT {_NEW}, id, waiting FROM schedules
        WHERE waiting IS NOT NULL AND paused = 0 AND {_KNOWN}
            AND (max_instances IS NULL OR {_HAS_ROOM.format(table="jobs")} AND {_HAS_ROOM.format(table="runs")})
        LIMIT {AT_ONCE}""",
        (handlers,),
    ).fetchall()
    for *fields, number, at in rows:
        _run_waiting(db, _new(fields), number, at, owner, now)


def _run_waiting(db: sqlite3.Connection, new: NewSchedule, number: int, at: float, owner: int, now: float) -> None:
    db.execute("UPDATE schedules SET waiting = NULL WHERE id = ?", (number,))
    _run(db, new, number, at, owner, now)


def _run(db: sqlite3.Connection, new: NewSchedule, number: int, at: float, owner: int, now: float) -> bool:
    """Submit a run for a due time, and return whether its flow lets it begin, or wait: one of each schedule at most."""
    try:
        if _waits_already(db, new, number):
            raise RunConflict("one run of the schedule waits")
        last = _submit(db, new, number, at, owner, now)
    except RunConflict:
        _skip(db, new, number)
        return False
    db.execute(
        """
        UPDATE schedules SET last_due = ?, last_job = coalesce(?, last_job), last_run = coalesce(?, last_run),
                             runs = runs + 1 WHERE id = ?""",
        (at, last.job, last.run, number),
    )
    return True


def _waits_already(db: sqlite3.Connection, new: NewSchedule, number: int) -> bool:
    """Return whether a run of a schedule waits for others of its flow, which is not to be replaced by the next."""
    if new.flow_bound.overlap != "queue":
        return False
    held = "SELECT EXISTS (SELECT 1 FROM runs WHERE schedule = ? AND finished IS NULL AND held)"
    return bool(db.execute(held, (number,)).fetchone()[0])


def _unfinished(db: sqlite3.Connection, new: NewSchedule, number: int) -> list[tuple[int, bool]]:
    """Return what a schedule has submitted and has not ended, the oldest first, and whether it was cancelled."""
    if new.pace.max_instances is None:
        return []
    table = "jobs" if new.flow is None else "runs"
    rows = db.execute(
        f"SELECT id, cancel IS NOT NULL FROM {table} WHERE schedule = ? AND finished IS NULL ORDER BY id", (number,)
    )
    return [(one, bool(cancelled)) for one, cancelled in rows]


def _hold(db: sqlite3.Connection, new: NewSchedule, number: int, waiting: float | None, at: float) -> None:
    """Let a due time wait, or skip it, because as many runs as there may be have not ended."""
    held, skips = new.pace.held(waiting, at)
    db.execute("UPDATE schedules SET waiting = ? WHERE id = ?", (held, number))
    if skips:
        _skip(db, new, number, new.pace.bound)


def _skip(db: sqlite3.Connection, new: NewSchedule, number: int, bound: Bound | None = None) -> None:
    """Count a run that there is not, because of the schedule's own *bound*, or that of its flow."""
    bound = bound or new.flow_bound
    extra = {"schedule": new.name, "max_instances": bound.max_instances, "overlap": bound.overlap}
    logger.info("run of a schedule skipped", extra=extra)
    db.execute("UPDATE schedules SET skipped_runs = skipped_runs + 1 WHERE id = ?", (number,))


def _begin_anew(db: sqlite3.Connection, new: NewSchedule, now: float) -> None:
    values = (anchor_of(new, now), first_due(new, now), new.name)
    db.execute("UPDATE schedules SET anchor = ?, next_due = ?, waiting = NULL WHERE name = ?", values)


def work_text(work: NewJob | NewRun) -> str:
    if isinstance(work, NewRun):
        facts: dict[str, Any] = {"flow": work.flow, "source": work.source, "digest": work.digest, "params": work.params}
        if work.bound != UNBOUNDED:
            facts["bound"] = work.bound
        return to_json({**facts, "jobs": [_said_of(job) for job in work.jobs]})
    return to_json({"job": _said_of(work)})


def work_of(text: str) -> NewJob | NewRun:
    kept = json.loads(text)
    if isinstance(kept, list):  # as version 4 wrote a job
        label, kind, *settings = kept
        return _job([label, kind, [], settings[0], 0.0, *settings[1:]])
    if "job" in kept:
        return _job(kept["job"])
    bound = Bound(*kept.pop("bound", ()))
    return NewRun(**{**kept, "jobs": tuple(map(_job, kept["jobs"])), "bound": bound})


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
    name, kind, rule, timezone, missed, grace, text, handler, limit, overlap, jitter, starts, ends = row
    pace = Pace(limit, overlap or "skip", jitter or 0.0, starts, ends)
    return NewSchedule(name, kind, rule, timezone, missed, grace, work_of(text), handler, pace)
