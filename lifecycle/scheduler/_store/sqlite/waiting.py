"""What a job in an SQLite file waits for that does not run yet, and the work that no living scheduler takes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple

from ..limits import Openings
from ..records import JobStatus
from ..waiting import NAMED, LeftWork, ends_of, needs_of, nobody_takes, until, worker_or_limit
from .claiming import look_at_limits

COLUMNS: Final = "jobs.unmet, jobs.owner, jobs.handler, jobs.queue, runs.held"
"""What of a job's row says what it waits for."""


class Others(NamedTuple):
    """Who and what a job may wait for: the owners of a store, and its limits.

    Attributes:
        any_alive: whether a scheduler works on it.
        dead: the numbers of the owners whose process has ended.
        openings: what the limits let in.
        ends: of a flow: the ends of runs that a run of it waits for, in words.
    """

    any_alive: bool
    dead: Collection[int]
    openings: Openings
    ends: Callable[[str], str]


def owners_of(db: sqlite3.Connection, dead: Collection[int] = ()) -> Others:
    """Return the owners of the store, of whom some are known to be dead, and its limits."""
    alive = any(number not in dead for (number,) in db.execute("SELECT id FROM owners"))
    return Others(alive, dead, look_at_limits(db, time.time()), cache(partial(_ends, db, dead)))


def _ends(db: sqlite3.Connection, dead: Collection[int], flow: str) -> str:
    rows = db.execute(
        "SELECT id, owner FROM runs WHERE flow = ? AND held = 0 AND finished IS NULL ORDER BY id", (flow,)
    ).fetchall()
    return ends_of([run for run, _ in rows], [run for run, owner in rows if owner is None or owner in dead])


def waits_for(status: JobStatus, flow: str | None, due: float | None, row: Sequence[Any], others: Others) -> str | None:
    """Return what a job waits for, None when it runs or has ended.

    Args:
        status: its status.
        flow: its flow's name, None for a job by itself.
        due: the wall-clock time before which it does not start, if any.
        row: the values of `COLUMNS`: how many needs have not ended, its owner, its handler, its queue, and whether
            its run waits for others.
        others: the owners of the store, and its limits.
    """
    if status not in (JobStatus.PENDING, JobStatus.INTERRUPTED):
        return None
    unmet, owner, handler, queue, held = row
    if owner is None or owner in others.dead:
        return nobody_takes(flow, handler, others.any_alive)
    if held and flow is not None:
        return others.ends(flow)
    return needs_of(unmet) if unmet else until(due) if due else worker_or_limit(others.openings, queue, handler)


def unended_needs(db: sqlite3.Connection, job: int) -> Sequence[str]:
    """Return the names of some jobs that a job needs and that have not ended."""
    rows = db.execute(
        """
        SELECT jobs.name FROM needs JOIN jobs ON jobs.id = needs.needed
        WHERE needs.job = ? AND jobs.finished IS NULL ORDER BY jobs.id LIMIT ?""",
        (job, NAMED),
    )
    return [name for (name,) in rows]


def left_work(db: sqlite3.Connection) -> LeftWork:
    """Return what no owner has taken, by what it waits for."""
    handlers = db.execute(
        """
        SELECT handler, count(*) FROM jobs
        WHERE run IS NULL AND owner IS NULL AND finished IS NULL GROUP BY handler"""
    )
    flows = db.execute("SELECT flow, count(*) FROM runs WHERE finished IS NULL AND owner IS NULL GROUP BY flow")
    return LeftWork(dict(handlers.fetchall()), dict(flows.fetchall()))
