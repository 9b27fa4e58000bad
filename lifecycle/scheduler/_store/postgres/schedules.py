"""Schedules in the database, as far as they are reckoned outside of it: when they are due, and what is said of them.

The rules of cron are not in the database. So a scheduler looks at what is due, reckons what follows, see
`firing_said`, and says so; whether that still holds, and what is submitted, the database decides: see
``sql/schedules.sql``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..._ground.errors import RunConflict
from ..pace import Pace
from ..records import NewJob, NewRun
from ..rules import anchor_of, cron_due, due_after, fire, first_due
from ..schedule_records import NewSchedule, ScheduleRecord, Submitted, record_of
from ..unreadable import Unreadable
from .said import job_said, run_said

logger = logging.getLogger("lifecycle.scheduler")

_TIMES = (5, 7, 8, 17, 18, 19, 20)
"""Where the times and durations are among the columns of what is shown."""


def schedule_said(new: NewSchedule, now: float) -> dict[str, Any]:
    """Return what is to be stored of a schedule that begins *now*, where it is new, or its timing has changed."""
    return {
        "name": new.name,
        "kind": new.kind,
        "rule": new.rule,
        "timezone": new.timezone,
        "missed": new.missed,
        "misfire_grace": new.misfire_grace,
        "handler": new.handler,
        "job": run_said(new.work) if isinstance(new.work, NewRun) else job_said(new.work),
        **new.pace._asdict(),
        "anchor": anchor_of(new, now),
        "next_due": first_due(new, now),
    }


def schedule_of(row: Sequence[Any]) -> ScheduleRecord:
    """Return a schedule as it is shown, of ``schedule_records``."""
    return record_of([_time(value) if place in _TIMES else value for place, value in enumerate(row)])


def firings_said(look: Mapping[str, Any], now: float, unreadable: Unreadable) -> list[dict[str, Any]]:
    """Return what is to be asked for, of what ``look_at_schedules`` has found; what cannot be read is noted.

    Each is for one schedule, so that one that has changed meanwhile is looked at again, and the others go on.
    """
    asked = []
    for row in look["found"]:
        try:
            asked.append(firing_said(row, now))
        except (ValueError, ImportError) as error:
            unreadable.add(row["id"], _new(row), error)
            if row["asked"] or row["has_room"]:
                asked.append(firing_said({**row, "is_due": False}, now))
    return asked


def firing_said(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what is to be run of a schedule, as ``fire`` takes it.

    Raises:
        ValueError, ImportError: its due times cannot be told here.
    """
    new, due, waiting = _new(row), _time(row["next_due"]), _time(row["waiting"])
    said: dict[str, Any] = {"seen": row["seen"]}
    starting = [] if waiting is None else [waiting]
    if row["is_due"]:
        assert due is not None
        runs, said["next_due"], said["missed"] = fire(new, float(row["anchor"]), due, now)
        said["runs"] = list(runs)
        starting += runs
    if new.pace.jitter:
        delays = [(at, min(new.pace.start_of(new.name, at) - now, new.pace.jitter)) for at in starting]
        said["later"] = [[at, seconds] for at, seconds in delays if seconds > 0]
    return {"do": "fire", "schedule": row["id"], "was_due": due if row["is_due"] else None, "firing": said}


def unreadable_said(unreadable: Unreadable) -> list[list[Any]]:
    """Return which schedules cannot be read here, as ``look_at_schedules`` takes them."""
    return [[number, *timing] for number, timing in unreadable.timings.items()]


def tell_of_skipped(name: str, answer: Mapping[str, Any] | None) -> None:
    """Log the runs of a schedule that were skipped when it was fired."""
    for max_instances, overlap in answer["skipped"] if answer else ():
        extra = {"schedule": name, "max_instances": max_instances, "overlap": overlap}
        logger.info("run of a schedule skipped", extra=extra)


def due_after_pause(row: Mapping[str, Any], now: float) -> float | None:
    """Return when a schedule is due after *now*, for `resume_schedule`, which decides whether that counts.

    Raises:
        ValueError, ImportError: that cannot be told here, and what was due has passed.
    """
    due = _time(row["next_due"])
    try:
        return due_after(_new(row), float(row["anchor"]), now)
    except (ValueError, ImportError):
        if due is not None and due <= now:
            raise
        return due


def submitted_of(said: Mapping[str, Any] | None) -> Submitted | None:
    """Return what was submitted by hand, None for nothing.

    Raises:
        RunConflict: other runs of its flow are in its way.
    """
    if said is None:
        return None
    if "conflict" in said:
        raise RunConflict(said["conflict"], run_ids=tuple(said.get("runs", ())))
    return Submitted(said.get("job"), said.get("run"))


def cron_said(row: Mapping[str, Any], now: float) -> dict[str, Any] | None:
    """Return when a cron expression is due next after the clock was set back, of ``cron_schedules``.

    None where that stays as it is, or cannot be told here: that is told of when it is due.
    """
    passed = {float(at) for at in row["was_run"]}
    pace = Pace(starts=_time(row["starts"]), ends=_time(row["ends"]))
    try:
        due = cron_due(row["rule"], row["timezone"], pace, now, passed.__contains__)
    except (ValueError, ImportError):
        return None
    if due == _time(row["next_due"]):
        return None
    return {"do": "set_due", "schedule": row["id"], "seen": row["seen"], "due": due}


def _new(row: Mapping[str, Any]) -> NewSchedule:
    """Return what says when a schedule is due; what it submits stays in the database."""
    times = {name: _time(row[name]) for name in ("starts", "ends")}
    pace = Pace(row["max_instances"], row["overlap"] or "skip", float(row["jitter"] or 0.0), **times)
    timing = (row["name"], row["kind"], row["rule"], row["timezone"], row["missed"], _time(row["misfire_grace"]))
    return NewSchedule(*timing, NewJob(row["name"], ""), "", pace)


def _time(value: float | None) -> float | None:
    """Return a time as JSON gives it, which knows no difference between 10 and 10.0: the jitter does."""
    return None if value is None else float(value)
