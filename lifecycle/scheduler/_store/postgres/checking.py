"""What the rows of a store in a PostgreSQL database must say of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .connections import Connection

PROBLEMS: Final = 20
"""Problems of one kind that are listed."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What rows must say of each other: a query for those that do not, and the line about one of them."""

    query: str
    line: str


async def problems(db: Connection) -> tuple[str, ...]:
    """Return what is wrong, one line each."""
    found = []
    for rule in _RULES:
        rows = await db.fetch(f"{rule.query} LIMIT {PROBLEMS}")
        found += [rule.line.format(*row) for row in rows]
    return tuple(found)


_RULES: Final = (
    _Rule(
        """
        SELECT * FROM (
            SELECT id, unfinished, (
                SELECT count(*) FROM lifecycle.jobs WHERE run = runs.id AND finished IS NULL) AS real
            FROM lifecycle.runs) AS counted
        WHERE unfinished <> real""",
        "run {0} says that {1} of its jobs have not ended, and {2} have not",
    ),
    _Rule(
        "SELECT id, unfinished FROM lifecycle.runs WHERE (unfinished = 0) <> (finished IS NOT NULL)",
        "run {0} has {1} jobs to end, and its own end says otherwise",
    ),
    _Rule(
        "SELECT id, run FROM lifecycle.jobs WHERE run IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM lifecycle.runs WHERE runs.id = jobs.run)",
        "job {0} is of run {1}, which is not there",
    ),
    _Rule(
        """
        SELECT * FROM (
            SELECT id, unmet, (
                SELECT count(*) FROM lifecycle.needs JOIN lifecycle.jobs AS above ON above.id = needs.needed
                WHERE needs.job = jobs.id AND above.finished IS NULL)
                + coalesce((SELECT held::integer FROM lifecycle.runs WHERE runs.id = jobs.run), 0) AS real
            FROM lifecycle.jobs WHERE finished IS NULL) AS counted
        WHERE unmet <> real""",
        "job {0} says that it waits for {1} others, and it does for {2}",
    ),
    _Rule(
        "SELECT id, name FROM lifecycle.jobs WHERE state = 'running' AND owner IS NULL",
        "job {0} ({1}) runs, and nobody runs it",
    ),
    _Rule(
        "SELECT id, state FROM lifecycle.jobs WHERE (finished IS NOT NULL)"
        " <> (state IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'skipped'))",
        "job {0} is {1}, and its own end says otherwise",
    ),
    _Rule(
        "SELECT id, state, owner FROM lifecycle.jobs WHERE owner IS NOT NULL AND state <> 'running'",
        "job {0} is {1}, and scheduler {2} runs it",
    ),
    _Rule(
        "SELECT id, owner FROM lifecycle.jobs WHERE owner IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM lifecycle.owners WHERE owners.id = jobs.owner)",
        "job {0} belongs to scheduler {1}, which is not there",
    ),
)
