"""Schedules whose due times this process cannot tell: they are left to others, and hold up nothing else.

A file may come from another machine, whose time zones, or whose libraries, this one does not have.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TypeAlias

from ..._ground.values import to_json
from ..schedule_records import NewSchedule

logger = logging.getLogger("lifecycle.scheduler")

_Timing: TypeAlias = "tuple[str, str, str | None]"


class Unreadable:
    """The numbers of such schedules; used by the writer's thread alone."""

    def __init__(self) -> None:
        self._timings: dict[int, _Timing] = {}

    def add(self, number: int, new: NewSchedule, error: Exception) -> None:
        """Leave a schedule alone until it is changed."""
        self._timings[number] = new.timing
        advice = "make it again, or run a scheduler that can read it; the other schedules go on"
        extra = {"schedule": new.name, "rule": new.rule, "error": str(error), "advice": advice}
        logger.error("schedule cannot be read here", extra=extra)

    def numbers(self, db: sqlite3.Connection) -> list[int]:
        """Return which they are, without those that have been changed or removed."""
        if self._timings:
            rows = db.execute(
                "SELECT id, kind, rule, timezone FROM schedules WHERE id IN (SELECT value FROM json_each(?))",
                (to_json([*self._timings]),),
            )
            same = {number: timing for number, *timing in rows}
            self._timings = {number: old for number, old in self._timings.items() if same.get(number) == [*old]}
        return [*self._timings]
