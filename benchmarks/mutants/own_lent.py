"""Mutants of pools whose servers are down or silent, and of steps that call back."""

from __future__ import annotations

from .own_table import OwnMutant

PAUSE = ("pool_asks",)

LENT = [
    OwnMutant(
        "a pool is never ready",
        "Upkeep._is_ready",
        "there >= self._goal()",
        "there > self._goal()",
        ("pool_ready",),
    ),
    OwnMutant("a pause never ends", "Admission._open", "self._resume()", "self.failed_rounds += 0", PAUSE),
    OwnMutant(
        "a creation that hangs keeps its place",
        "Counter._work_is_late",
        "self._count_on_no_more(slot)",
        "self._places_taken()",
        ("pool_does_not_wait_for_a_creation",),
    ),
    OwnMutant(
        "a check has as long as an end",
        "Workshop.check",
        "self.check_timeout",
        "60.0",
        ("pool_does_not_wait_for_a_check",),
    ),
    OwnMutant(
        "what is due is never done", "Together.__exit__", "self._due.popleft()()", "self._due.popleft()", ("pool",)
    ),
    OwnMutant(
        "late work is still counted as late when it is over",
        "Stock._move",
        "self._count_overdue(slot.state, -1)",
        "self._places_taken()",
        ("pool_does_not_wait_for_a_check",),
    ),
]
