"""Schedules of a store as a table, for ``lifecycle schedules``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...scheduler._words import moment, next_of, overlap_of, what_of, when_of
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
