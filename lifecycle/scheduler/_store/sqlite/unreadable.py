"""Schedules of an SQLite file whose due times this process cannot tell."""

from __future__ import annotations

import sqlite3

from ..._ground.values import to_json
from .. import unreadable


class Unreadable(unreadable.Unreadable):
    """The numbers of such schedules; used by the writer's thread alone."""

    def numbers(self, db: sqlite3.Connection) -> list[int]:
        """Return which they are, without those that have been changed or removed."""
        if self.timings:
            rows = db.execute(
                "SELECT id, kind, rule, timezone FROM schedules WHERE id IN (SELECT value FROM json_each(?))",
                (to_json([*self.timings]),),
            )
            same = {number: timing for number, *timing in rows}
            self.timings = {number: old for number, old in self.timings.items() if same.get(number) == [*old]}
        return [*self.timings]
