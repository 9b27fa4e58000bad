"""What a job in a PostgreSQL database waits for that does not run yet, and the work that no living scheduler knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..limits import Openings
from ..records import JobStatus
from ..store_facts import StoreOwner
from ..waiting import NAMED, LeftWork, ends_of, needs_of, nobody_takes, until, worker_or_limit
from .connections import Connection
from .limits import limit_of

COLUMNS: Final = "jobs.unmet, jobs.doer, jobs.handler, jobs.queue, runs.held"
"""What of a job's row says what it waits for."""


class Others(NamedTuple):
    """Who and what a job may wait for: the schedulers of a store, and its limits.

    Attributes:
        any_alive: whether a scheduler works on it.
        dead: the numbers of the schedulers that have not been heard of for too long.
        known: what those that live can do: names of handlers, keys of flows.
        openings: what the limits let in.
        going: the runs of each flow with runs that wait, which they wait for, and whether a scheduler works on each.
    """

    any_alive: bool
    dead: Collection[int]
    known: Collection[str]
    openings: Openings
    going: Mapping[str, Sequence[tuple[int, bool]]]

    def ends(self, flow: str) -> str:
        """Return the ends of runs that a run of a flow waits for, in words."""
        runs = self.going.get(flow, ())
        return ends_of([run for run, _ in runs], [run for run, owned in runs if not owned])


NOBODY: Final = Others(False, (), frozenset(), Openings(()), {})


async def living(db: Connection) -> list[StoreOwner]:
    """Return the schedulers that live, in the order of their coming."""
    rows = await db.fetch(
        """
        SELECT name, pid, started, host FROM lifecycle.owners
        WHERE lifecycle.lives(seen, lease) ORDER BY started, id"""
    )
    return [StoreOwner(*row) for row in rows]


async def others_of(db: Connection) -> Others:
    """Return the schedulers of the store, and its limits."""
    owners = await db.fetch("SELECT id, known, lifecycle.lives(seen, lease) AS alive FROM lifecycle.owners")
    alive = [row for row in owners if row["alive"]]
    known = frozenset(name for row in alive for name in row["known"])
    going: dict[str, list[tuple[int, bool]]] = {}
    for row in await db.fetch(
        """
        SELECT flow, id, doer = ANY($1) AS served FROM lifecycle.runs
        WHERE finished IS NULL AND NOT held
            AND flow IN (SELECT flow FROM lifecycle.runs WHERE finished IS NULL AND held) ORDER BY id""",
        list(known),
    ):
        going.setdefault(row["flow"], []).append((row["id"], row["served"]))
    dead = [row["id"] for row in owners if not row["alive"]]
    return Others(bool(alive), dead, known, await openings_of(db), going)


async def openings_of(db: Connection) -> Openings:
    """Return what the limits of the store let in now."""
    rows = await db.fetch(
        "SELECT kind, name, paused, at_once, number, per, burst, weight, whole_at FROM lifecycle.limits"
    )
    limits = [limit_of(tuple(row)) for row in rows]
    if not limits:
        return Openings(())
    running = await db.fetch(
        "SELECT queue, handler, count(*) FROM lifecycle.jobs WHERE state = 'running' GROUP BY queue, handler"
    )
    return Openings(limits, [tuple(row) for row in running], await db.fetchval("SELECT lifecycle.clock()"))


def waits_for(status: JobStatus, flow: str | None, due: float | None, row: Sequence[Any], others: Others) -> str | None:
    """Return what a job waits for, None when it runs or has ended.

    Args:
        status: its status.
        flow: its flow's name, None for a job by itself.
        due: the time before which it does not start, if any.
        row: the values of `COLUMNS`.
        others: the schedulers of the store, and its limits.
    """
    if status not in (JobStatus.PENDING, JobStatus.INTERRUPTED):
        return None
    unmet, doer, handler, queue, held = row
    if doer not in others.known:
        return nobody_takes(flow, handler, others.any_alive)
    if held and flow is not None:
        return others.ends(flow)
    return needs_of(unmet) if unmet else until(due) if due else worker_or_limit(others.openings, queue, handler)


async def unended_needs(db: Connection, job: int) -> Sequence[str]:
    """Return the names of some jobs that a job needs and that have not ended."""
    rows = await db.fetch(
        """
        SELECT jobs.name FROM lifecycle.needs JOIN lifecycle.jobs ON jobs.id = needs.needed
        WHERE needs.job = $1 AND jobs.finished IS NULL ORDER BY jobs.id LIMIT $2""",
        job,
        NAMED,
    )
    return [row[0] for row in rows]


async def left_work(db: Connection) -> LeftWork:
    """Return what no living scheduler knows how to do, by what it waits for."""
    known = """
        SELECT unnest(known) FROM lifecycle.owners WHERE lifecycle.lives(seen, lease)"""
    handlers = await db.fetch(
        f"""
        SELECT handler, count(*) FROM lifecycle.jobs
        WHERE finished IS NULL AND run IS NULL AND doer NOT IN ({known}) GROUP BY handler"""
    )
    flows = await db.fetch(
        f"SELECT flow, count(*) FROM lifecycle.runs WHERE finished IS NULL AND doer NOT IN ({known}) GROUP BY flow"
    )
    return LeftWork(dict(map(tuple, handlers)), dict(map(tuple, flows)))
