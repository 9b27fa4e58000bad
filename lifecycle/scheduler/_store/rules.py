"""When schedules are due: arithmetic on the wall clock, without a store and without waiting.

The instants of a cron expression and of a fixed rate are a grid: which of them have passed is known whoever looks,
whenever they look. So what was missed while nobody looked can be told, and made up for as the schedule says. A fixed
delay has no grid: its next run is due so long after the end of the last one.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

from lifecycle.types import CronRule

from .records import NewSchedule

BURST: Final = 100
"""So many missed runs are made up for in one transaction; the others in the next ones."""

COUNTED: Final = 10_000
"""So many missed runs are counted; of more it is only known that there were so many."""


MISSED: Final = ("coalesce", "skip", "burst")
"""What may become of due times that passed while nobody looked."""

SHORTEST: Final = 0.01
"""Seconds: shorter periods are for ``lifecycle.fixed_rate``, which writes nothing."""


SET_BACK: Final = 60.0
"""Seconds by which the clock may be set back before a fixed rate begins anew."""


class Firing(NamedTuple):
    """What is to be run at one look at a schedule.

    Attributes:
        runs: the due times to run, the oldest first.
        next_due: when it is due next; None when that is not known yet, or never.
        missed: how many due times are dropped.
    """

    runs: tuple[float, ...]
    next_due: float | None
    missed: int


def first_due(new: NewSchedule, now: float) -> float | None:
    """Return when a schedule that begins *now* is due for the first time."""
    return now + float(new.rule) if new.kind == "fixed_delay" else due_after(new, now, now)


def due_after(new: NewSchedule, anchor: float, instant: float) -> float | None:
    """Return the first due time later than *instant* of a schedule that began at *anchor*."""
    if new.kind == "cron":
        return _cron(new.rule, new.timezone or "UTC").after(instant)
    period = float(new.rule)
    number = max(1, math.floor((instant - anchor) / period))
    while anchor + number * period <= instant:
        number += 1
    return anchor + number * period


def fire(new: NewSchedule, anchor: float, due: float, now: float) -> Firing:
    """Return what to run of a schedule that was due at *due*, which has passed."""
    grace = math.inf if new.misfire_grace is None else new.misfire_grace
    if new.kind == "fixed_delay":
        if now - due <= grace:
            return Firing((due,), None, 0)
        return Firing((), now + float(new.rule), 1)
    passed, following = _passed(new, anchor, due, now, BURST if new.missed == "burst" else COUNTED)
    if new.missed == "burst":
        runs = tuple(at for at in passed if now - at <= grace)
    else:
        newest = _newest(new, anchor, now) if following is not None and following <= now else passed[-1]
        following = due_after(new, anchor, newest)
        dropped = now - newest > grace or (new.missed == "skip" and len(passed) > 1)
        runs = () if dropped else (newest,)
    return Firing(runs, following, len(passed) - len(runs))


def nearer(kind: str, rule: str, due: float, now: float) -> float | None:
    """Return when a schedule begins anew, that is due further away than it can be, since the clock was set back.

    None for one that goes on as it is: a cron expression names instants, each of which is run once, however often the
    clock shows it; and a fixed rate keeps its phase while that takes no longer than a minute.
    """
    if kind == "cron" or due <= now + float(rule) + (SET_BACK if kind == "fixed_rate" else 0.0):
        return None
    return now + float(rule)


def _passed(
    new: NewSchedule, anchor: float, due: float, now: float, limit: int
) -> tuple[tuple[float, ...], float | None]:
    """Return the due times from *due* to *now*, so many at most, and the one that follows."""
    passed = [due]
    following = due_after(new, anchor, due)
    while following is not None and following <= now and len(passed) < limit:
        passed.append(following)
        following = due_after(new, anchor, following)
    return tuple(passed), following


def _newest(new: NewSchedule, anchor: float, now: float) -> float:
    """Return the last due time that is not later than *now*: look from ever further back."""
    back = 1.0
    while (found := due_after(new, anchor, now - back)) is None or found > now:
        back *= 2
    while (later := due_after(new, anchor, found)) is not None and later <= now:
        found = later
    return found


@functools.lru_cache(maxsize=256)
def _cron(expression: str, timezone: str) -> CronRule:
    return CronRule(expression, timezone)


def check(new: NewSchedule) -> None:
    """Check that a schedule can ever be due.

    Raises:
        ValueError: its cron expression cannot be read, or its time zone is not known.
        ImportError: cron needs ``cronsim``, which is not installed.
    """
    if new.kind == "cron":
        _cron(new.rule, new.timezone or "UTC")
