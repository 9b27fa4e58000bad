"""What a job that does not run yet waits for, in words; and the work in a file that no living scheduler takes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from .._ground.text import plural, quote
from .claiming import look_at_limits
from .limits import Openings
from .records import JobStatus

NAMED: Final = 5
"""Jobs that are named among those that one waits for."""

COLUMNS: Final = "jobs.unmet, jobs.owner, jobs.handler, jobs.queue"
"""What of a job's row says what it waits for."""

FREE_WORKER: Final = "a free worker"


class LeftWork(NamedTuple):
    """Unfinished work that no scheduler has taken.

    Attributes:
        handlers: how many jobs wait for each handler.
        flows: how many runs there are of each flow.
    """

    handlers: Mapping[str, int] = {}
    flows: Mapping[str, int] = {}


class Others(NamedTuple):
    """Who and what a job may wait for: the owners of a store, and its limits.

    Attributes:
        any_alive: whether a scheduler works on it.
        dead: the numbers of the owners whose process has ended.
        openings: what the limits let in.
    """

    any_alive: bool
    dead: Collection[int]
    openings: Openings


def owners_of(db: sqlite3.Connection, dead: Collection[int] = ()) -> Others:
    """Return the owners of the store, of whom some are known to be dead, and its limits."""
    alive = any(number not in dead for (number,) in db.execute("SELECT id FROM owners"))
    return Others(alive, dead, look_at_limits(db, time.time()))


def waits_for(status: JobStatus, flow: str | None, due: float | None, row: Sequence[Any], others: Others) -> str | None:
    """Return what a job waits for, None when it runs or has ended.

    Args:
        status: its status.
        flow: its flow's name, None for a job by itself.
        due: the wall-clock time before which it does not start, if any.
        row: the values of `COLUMNS`: how many needs have not ended, its owner, its handler, its queue.
        others: the owners of the store, and its limits.
    """
    if status not in (JobStatus.PENDING, JobStatus.INTERRUPTED):
        return None
    unmet, owner, handler, queue = row
    if owner is None or owner in others.dead:
        return nobody_takes(flow, handler, others.any_alive)
    return needs_of(unmet) if unmet else until(due) if due else worker_or_limit(others.openings, queue, handler)


def worker_or_limit(openings: Openings, queue: str, handler: str | None) -> str:
    """Return what a job waits for that could begin: the limit that keeps it out, or a worker."""
    barrier = openings.barrier(queue, handler)
    if barrier is None:
        return FREE_WORKER
    limit, opens = barrier
    what = str(limit.key) if limit.key.name else "the whole store"
    if limit.paused:
        return f"{what} to be resumed"
    if opens is not None:
        return f"the rate of {what}, which lets in the next one at {_shown(opens)}"
    return f"a place of {what}: {openings.running(limit.key):,} of {limit.at_once:,} are taken"


def nobody_takes(flow: str | None, handler: str | None, any_alive: bool) -> str:
    """Return what a job waits for that no scheduler has taken."""
    what = f"flow {quote(flow)}" if flow is not None else f"handler {quote(handler, 100)}"
    lacks = "that serves its" if flow is not None else "that has its"
    return f"a scheduler {lacks} {what}" + ("; none of those that live does" if any_alive else "; none lives")


def needs_of(unmet: int, names: Sequence[str] = ()) -> str:
    """Return the jobs that a job waits for, *unmet* of them, some by their names."""
    if not names:
        return f"{plural(unmet, 'job')} that it needs"
    more = f" and {unmet - len(names):,} more" if unmet > len(names) else ""
    return f"{', '.join(quote(name, 100) for name in names)}{more}, which it needs"


def until(due: float) -> str:
    """Return a time that a job waits for, with its zone."""
    return f"its time, {_shown(due)}"


def _shown(instant: float) -> str:
    return datetime.fromtimestamp(instant).astimezone().isoformat(timespec="seconds")


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
