"""Schedules of a store as tables, for ``lifecycle schedules``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...scheduler._words import duration, moment, next_of, overlap_of, what_of, when_of
from ._jobs import say_facts
from ._lines import say_json, say_table

if TYPE_CHECKING:
    from ...scheduler._store.schedule_records import ScheduleRecord


def print_schedules(schedules: Sequence[ScheduleRecord], *, as_json: bool) -> None:
    """Print schedules, one line each."""
    if as_json:
        for schedule in schedules:
            say_json(schedule.to_dict())
        return
    head = ("schedule", "runs", "when", "missed", "next", "last", "times", "dropped", "overlap")
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
            overlap_of(schedule),
        )
        for schedule in schedules
    ]
    say_table(head, rows, right=(6, 7))


def print_schedule(schedule: ScheduleRecord, *, as_json: bool) -> None:
    """Print everything of one schedule."""
    if as_json:
        say_json(schedule.to_dict())
        return
    last = (
        f"run {schedule.last_run}" if schedule.last_run else f"job {schedule.last_job}" if schedule.last_job else None
    )
    grace = None if schedule.misfire_grace is None else f", after {duration(schedule.misfire_grace)} for good"
    say_facts(
        [
            ("schedule", schedule.name),
            ("runs", what_of(schedule)),
            ("when", when_of(schedule)),
            ("jitter", f"up to {duration(schedule.jitter)}" if schedule.jitter else None),
            ("starts", moment(schedule.starts)),
            ("ends", moment(schedule.ends)),
            ("missed", f"{schedule.missed}{grace or ''}"),
            ("overlap", overlap_of(schedule)),
            ("next", next_of(schedule)),
            ("waiting", moment(schedule.waiting)),
            ("last", ", ".join(filter(None, (moment(schedule.last_due), last)))),
            ("times", f"{schedule.runs:,}, {schedule.missed_runs:,} dropped, {schedule.skipped_runs:,} skipped"),
        ]
    )
