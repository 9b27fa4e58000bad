"""Schedules of a store as a table, for ``lifecycle schedules``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._display import Lines
from ._plain import aligned
from ._words import moment

if TYPE_CHECKING:
    from ..store._records import ScheduleRecord


def print_schedules(schedules: Sequence[ScheduleRecord], *, as_json: bool) -> None:
    """Print schedules, one line each."""
    lines = Lines()
    if as_json:
        for schedule in schedules:
            lines.write(json.dumps(schedule.to_dict()))
        return
    head = ("schedule", "runs", "when", "missed", "next", "last", "times", "dropped")
    rows = [
        (
            schedule.name,
            what_of(schedule),
            when_of(schedule),
            schedule.missed,
            next_of(schedule),
            moment(schedule.last_due) or "-",
            str(schedule.runs),
            str(schedule.missed_runs),
        )
        for schedule in schedules
    ]
    for line in aligned(head, rows, right=(6, 7)):
        lines.write(line)


def what_of(schedule: ScheduleRecord) -> str:
    """Return what a schedule runs."""
    return f"flow {schedule.flow}" if schedule.flow else f"handler {schedule.handler}"


def when_of(schedule: ScheduleRecord) -> str:
    """Return when a schedule is due, in words."""
    if schedule.kind == "cron":
        return f"cron {schedule.rule} ({schedule.timezone})"
    seconds = f"{float(schedule.rule):g} s"
    return f"every {seconds}" if schedule.kind == "fixed_rate" else f"{seconds} after each run"


def next_of(schedule: ScheduleRecord) -> str:
    """Return when a schedule is due next, or why that is not known."""
    if schedule.paused:
        return "paused"
    if schedule.next_due is None:
        return "after this run" if schedule.kind == "fixed_delay" else "never"
    return moment(schedule.next_due) or ""
