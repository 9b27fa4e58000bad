"""Schedules whose due times this process cannot tell: they are left to others, and hold up nothing else.

A store may be shared with another machine, whose time zones, or whose libraries, this one does not have.
"""

from __future__ import annotations

import logging
from typing import TypeAlias

from .schedule_records import NewSchedule

logger = logging.getLogger("lifecycle.scheduler")

Timing: TypeAlias = "tuple[str, str, str | None]"


class Unreadable:
    """Which they are; used by one thread, or one task, alone.

    Attributes:
        timings: by number, what could not be read of each.
    """

    def __init__(self) -> None:
        self.timings: dict[int, Timing] = {}

    def add(self, number: int, new: NewSchedule, error: Exception) -> None:
        """Leave a schedule alone until it is changed."""
        self.timings[number] = new.timing
        advice = "make it again, or run a scheduler that can read it; the other schedules go on"
        extra = {"schedule": new.name, "rule": new.rule, "error": str(error), "advice": advice}
        logger.error("schedule cannot be read here", extra=extra)
