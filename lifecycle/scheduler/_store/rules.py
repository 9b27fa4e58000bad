"""When schedules are due, and what is run of what passed: arithmetic on the wall clock, without a store or a wait.

The core's rules name the instants of a cron expression and of a fixed rate. They do not depend on who looks, or when:
so what passed while no scheduler looked can be counted, and made up for as the schedule says. A fixed delay has no
such instants: its next run is due a delay after the end of the last one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from lifecycle.types import CronRule, RateRule

from .pace import Pace
from .records import NewJob, NewRun
from .schedule_records import NewSchedule

BURST: Final = 100
"""Missed runs that are made up for in one transaction; the others in the next ones."""

MISSED: Final = ("coalesce", "drop", "burst")
"""What may become of due times that passed while no scheduler looked."""

SHORTEST: Final = 0.01
"""Seconds: shorter periods are for ``lifecycle.fixed_rate``, which writes nothing."""

SET_BACK: Final = 60.0
"""Seconds by which the clock may be set back before a fixed rate begins again."""


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
    """Return when a schedule that begins *now* is due for the first time; where it starts at a time, then."""
    starts = new.pace.starts
    if starts is None or starts <= now:
        return new.pace.within(due_after(new, anchor_of(new, now), now))
    if new.kind == "cron":
        return new.pace.within(_rule(new, starts).after(starts - 0.001))
    return new.pace.within(starts)


def anchor_of(new: NewSchedule, now: float) -> float:
    """Return the time from which a fixed rate counts, of a schedule that begins *now*."""
    return now if new.pace.starts is None else new.pace.starts


def due_after(new: NewSchedule, anchor: float, instant: float) -> float | None:
    """Return the first due time later than *instant* of a schedule that began at *anchor*."""
    if new.kind == "fixed_delay":
        return instant + float(new.rule)
    return _rule(new, anchor).after(max(instant, anchor))  # a schedule is not due when it begins


def after_pause(new: NewSchedule, anchor: float, due: float | None, now: float) -> float | None:
    """Return when a schedule is due whose pause ends *now*: what passed meanwhile is not made up for."""
    return due_after(new, anchor, now) if due is not None and due <= now else due


def fire(new: NewSchedule, anchor: float, due: float, now: float) -> Firing:
    """Return what to run of a schedule that was due at *due*, which has passed."""
    if new.pace.within(due) is None:
        return Firing((), None, 0)
    now = now if new.pace.ends is None else min(now, new.pace.ends)
    firing = _fire(new, anchor, due, now)
    return firing._replace(next_due=new.pace.within(firing.next_due))


def _fire(new: NewSchedule, anchor: float, due: float, now: float) -> Firing:
    grace = math.inf if new.misfire_grace is None else new.misfire_grace
    if new.kind == "fixed_delay":
        return Firing((due,), None, 0) if now - due <= grace else Firing((), due_after(new, anchor, now), 1)
    if new.missed == "burst":
        passed, following = _passed(new, anchor, due, now)
        runs = tuple(at for at in passed if now - at <= grace)
        return Firing(runs, following, len(passed) - len(runs))
    rule = _rule(new, anchor)
    newest, later = max(due, rule.newest(now)), rule.count(due, now)
    dropped = now - newest > grace or (new.missed == "drop" and later > 0)
    runs = () if dropped else (newest,)
    return Firing(runs, rule.after(newest), 1 + later - len(runs))


def due_after_set_back(kind: str, rule: str, due: float, now: float, starts: float | None = None) -> float | None:
    """Return when a schedule begins again that is due further away than it can be, since the clock was set back.

    None for one that goes on as it is: one that has not started yet; a cron expression, see `cron_due`; and a fixed
    rate keeps its phase while that takes no longer than a minute.
    """
    if kind == "cron" or due == starts or due <= now + float(rule) + (SET_BACK if kind == "fixed_rate" else 0.0):
        return None
    return now + float(rule)


def cron_due(rule: str, timezone: str | None, pace: Pace, now: float, was_run: Callable[[float], bool]) -> float | None:
    """Return when a cron expression is due next, after the clock was set: at the first instant that it was not run for.

    It names instants, each of which is run once, however often the clock shows it. But it does not wait for the years
    by which the clock has been wrong for a moment, and goes by the time zone as that is known now.

    Raises:
        ValueError, ImportError: it cannot be read here.
    """
    cron = _cron(rule, timezone or "UTC")
    due = cron.after(now if pace.starts is None else max(now, pace.starts - 0.001))
    while due is not None and was_run(due):
        due = cron.after(due)
    return pace.within(due)


def check(new: NewSchedule) -> None:
    """Check that a schedule can ever be due.

    Raises:
        ValueError: its cron expression cannot be read, or its time zone is not known.
        ImportError: cron needs ``cronsim``, which is not installed.
    """
    if new.kind == "cron":
        _rule(new, 0.0)


def _rule(new: NewSchedule, anchor: float) -> CronRule | RateRule:
    return _cron(new.rule, new.timezone or "UTC") if new.kind == "cron" else RateRule(anchor, float(new.rule))


@functools.lru_cache(maxsize=256)
def _cron(expression: str, timezone: str) -> CronRule:
    return CronRule(expression, timezone)


def _passed(new: NewSchedule, anchor: float, due: float, now: float) -> tuple[tuple[float, ...], float | None]:
    """Return the due times from *due* to *now*, `BURST` of them at most, and the one that follows."""
    rule = _rule(new, anchor)
    passed = [due]
    following = rule.after(due)
    while following is not None and following <= now and len(passed) < BURST:
        passed.append(following)
        following = rule.after(following)
    return tuple(passed), following


def starting_at(new: NewSchedule, due: float, now: float) -> NewJob | NewRun:
    """Return what to submit for a due time: with a jitter it starts a little later.

    After a delay, not at a time of day: when the clock is set back, it does not wait until that shows the time again.
    """
    seconds = min(new.pace.start_of(new.name, due) - now, new.pace.jitter)
    if seconds <= 0:
        return new.work
    if isinstance(new.work, NewJob):
        return _delayed(new.work, seconds)
    return replace(new.work, jobs=tuple(job if job.needs else _delayed(job, seconds) for job in new.work.jobs))


def _delayed(job: NewJob, seconds: float) -> NewJob:
    return job._replace(delay=job.delay + seconds)
