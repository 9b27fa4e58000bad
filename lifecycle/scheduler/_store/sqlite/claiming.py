"""Claiming in an SQLite file: which ready jobs of an owner start now, and the limits that hold others back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from lifecycle import Rate

from ..lanes import Head, Shares, choose
from ..limit_record import LimitRecord, records_of
from ..limits import Limit, LimitKey, Openings, given_back
from ..records import Claimed, Claims
from .agenda import LOOK_INTERVAL

COUNTED: Final = 10_000
"""Ready jobs that are counted one by one, to be shown."""

_READY: Final = "owner IS :owner AND state = 'pending' AND unmet = 0 AND due = 0"
_COLUMNS: Final = (
    "id, run, name, kind, attempt + 1, failures, retries, backoff_first, backoff_longest, timeout, payload, "
    "expires, metadata, recorded + 1, created, priority"
)
_BY_HANDLER: Final = "jobs_ready_by_handler"
_HANDLER: Final = "coalesce(handler, '')"
NEXT_IN_QUEUE: Final = f"""
    SELECT {_COLUMNS} FROM jobs WHERE {_READY} AND queue = :queue ORDER BY priority DESC, id"""
NEXT_OF_HANDLER: Final = f"""
    SELECT {_COLUMNS} FROM jobs WHERE {_READY} AND queue = :queue AND {_HANDLER} = :handler
    ORDER BY priority DESC, id"""


def claim(
    db: sqlite3.Connection,
    owner: int | None,
    limit: int,
    now: float,
    shares: Shares | None = None,
    held: Collection[int] = (),
) -> Claims:
    """Start an attempt of the owner's jobs that are next: by shares between queues, by priority in each.

    Those with the numbers *held* are passed over.
    """
    db.execute(
        "UPDATE jobs SET due = 0 WHERE owner = ? AND state = 'pending' AND unmet = 0 AND due > 0 AND due <= ?",
        (owner, now),
    )
    openings = look_at_limits(db, now)
    queues = _open_queues(db, owner, openings)
    if openings.by_handler:
        lanes = [
            _Lane(db, owner, held, queue, handler)
            for queue in queues
            for handler in _distinct(db, _HANDLER, owner, queue)
        ]
    else:
        lanes = [_Lane(db, owner, held, queue) for queue in queues]
    rows = choose(lanes, limit, openings, shares or Shares())
    for lane in lanes:
        lane.close()
    # Two statements, because UPDATE ... RETURNING costs three times as much.
    db.executemany(
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, started = ? WHERE id = ?",
        [(now, row[0]) for row in rows],
    )
    db.executemany(
        "UPDATE jobs SET logged = 0, progress_done = NULL, progress_total = NULL WHERE id = ? AND attempt > 1",
        [(row[0],) for row in rows if row[4] > 1],
    )
    _keep(db, openings.used.values())
    next_due = db.execute(
        "SELECT min(due) FROM jobs WHERE owner = ? AND state = 'pending' AND unmet = 0 AND due > 0", (owner,)
    ).fetchone()[0]
    # What other schedulers end or resume is not told: look again.
    again = now + LOOK_INTERVAL if openings.held_back else None
    looks = [at for at in (next_due, openings.next_at, again) if at is not None]
    return Claims(tuple(map(_claimed, rows)), min(looks, default=None))


def give_back(db: sqlite3.Connection, attempts: Sequence[tuple[int, int]], now: float) -> Collection[int]:
    """Make jobs of these attempts pending again; return the numbers of those that were not cancelled meanwhile."""
    given = []
    for job_id, attempt in attempts:
        cursor = db.execute(
            """
            UPDATE jobs SET state = 'pending', attempt = attempt - 1
            WHERE id = ? AND attempt = ? AND state = 'running' AND cancel IS NULL""",
            (job_id, attempt),
        )
        if cursor.rowcount:
            given.append(job_id)
    _return_starts(db, given, now)
    return given


def look_at_limits(db: sqlite3.Connection, now: float) -> Openings:
    """Return what the limits of the store let in now."""
    limits = read_limits(db)
    return Openings(limits, _running(db), now) if limits else Openings(())


def read_limits(db: sqlite3.Connection) -> list[Limit]:
    """Return all limits of the store."""
    return [_limit(row) for row in db.execute(f"SELECT {_LIMIT} FROM limits")]


def put_limit(db: sqlite3.Connection, new: Limit) -> None:
    """Set a limit, but for its pause and what has been used of its rate, which stay as they are."""
    _set(db, new.in_place_of(_known(db, new.key)))


def pause(db: sqlite3.Connection, key: LimitKey, *, paused: bool) -> bool:
    """Pause what a limit is about, or resume it; return whether that changed anything."""
    old = _known(db, key)
    _set(db, replace(old, paused=paused))
    return old.paused != paused


def limit_records(db: sqlite3.Connection) -> list[LimitRecord]:
    """Return all limits, and the queues that have jobs, for people."""
    known = {limit.key: limit for limit in read_limits(db)}
    in_use = {LimitKey("queue", queue) for queue, _, _ in _running(db)}
    owners = [*(owner for (owner,) in db.execute("SELECT id FROM owners")), None]
    for owner in owners:
        in_use |= {LimitKey("queue", queue) for queue in _distinct(db, "queue", owner)}
    limits = [known.get(key) or Limit(key) for key in sorted({*known, *in_use})]
    return records_of(limits, _running(db), lambda key: _count_ready(db, key, owners))


def _return_starts(db: sqlite3.Connection, jobs: Sequence[int], now: float) -> None:
    """Give the limits back what jobs have used that have not started after all."""
    limits = {limit.key: limit for limit in read_limits(db) if limit.rate is not None}
    if limits and jobs:
        marks = ", ".join("?" * len(jobs))
        started = db.execute(f"SELECT queue, handler, started FROM jobs WHERE id IN ({marks})", list(jobs)).fetchall()
        _keep(db, given_back(limits, started, now).values())


class _Lane:
    """The ready jobs of a queue, or of one handler in it, read from the file one by one."""

    def __init__(
        self,
        db: sqlite3.Connection,
        owner: int | None,
        held: Collection[int],
        queue: str,
        handler: str | None = None,
    ) -> None:
        self.queue = queue
        self.handler = handler or None
        wanted = {"owner": owner, "queue": queue, "handler": handler}
        self._held = held
        self._rows = db.execute(NEXT_IN_QUEUE if handler is None else NEXT_OF_HANDLER, wanted)
        self._first = self._next()

    def _next(self) -> Sequence[Any] | None:
        row: Sequence[Any] | None = self._rows.fetchone()
        while row is not None and row[0] in self._held:
            row = self._rows.fetchone()
        return row

    def head(self) -> Head | None:
        return None if self._first is None else (-self._first[-1], self._first[0])

    def pop(self) -> Sequence[Any]:
        first, self._first = self._first, self._next()
        assert first is not None
        return first

    def close(self) -> None:
        """Let go of the statement: what it reads must not change under it."""
        self._rows.close()


def _open_queues(db: sqlite3.Connection, owner: int | None, openings: Openings) -> list[str]:
    """Return the queues with ready jobs of which some may start; when none may at all, only the first is looked for."""
    found: list[str] = []
    for queue in _distinct(db, "queue", owner):
        if not openings.opens():
            break
        if openings.opens(queue):
            found.append(queue)
    return found


def _distinct(db: sqlite3.Connection, column: str, owner: int | None, queue: str | None = None) -> Iterator[str]:
    """Return the different values of a column among the ready jobs: one step in the index for each."""
    place = _READY if queue is None else f"{_READY} AND queue = :queue"
    wanted: dict[str, Any] = {"owner": owner, "queue": queue}
    value = db.execute(f"SELECT min({column}) FROM jobs WHERE {place}", wanted).fetchone()[0]
    while value is not None:
        yield value
        wanted["last"] = value
        value = db.execute(f"SELECT min({column}) FROM jobs WHERE {place} AND {column} > :last", wanted).fetchone()[0]


def _claimed(row: Sequence[Any]) -> Claimed:
    number, run, name, kind, attempt, failures, retries, pause, longest, timeout, todo, *rest = row
    expires, more, first, created, _ = rest
    todo, more = todo and json.loads(todo), more and json.loads(more)
    backoff = (pause, longest)
    return Claimed(
        number, run, name, kind, attempt, failures, retries, backoff, timeout, todo, expires, more, first, created
    )


_LIMIT: Final = "kind, name, paused, at_once, number, per, burst, weight, whole_at"


def _limit(row: Sequence[Any]) -> Limit:
    kind, name, paused, at_once, number, per, burst, weight, whole_at = row
    rate = None if number is None else Rate(number, per=per, burst=burst)
    return Limit(LimitKey(kind, name), bool(paused), at_once, rate, weight, whole_at)


def _known(db: sqlite3.Connection, key: LimitKey) -> Limit:
    """Return the limit of a queue, a handler or all; one that holds nothing back where there is none."""
    row = db.execute(f"SELECT {_LIMIT} FROM limits WHERE kind = ? AND name = ?", key).fetchone()
    return _limit(row) if row is not None else Limit(key)


def _set(db: sqlite3.Connection, limit: Limit) -> None:
    rate = (limit.rate.number, limit.rate.per, limit.rate.burst) if limit.rate is not None else (None, None, None)
    values = (*limit.key, limit.paused, limit.at_once, *rate, limit.weight, limit.whole_at)
    db.execute(f"INSERT OR REPLACE INTO limits ({_LIMIT}) VALUES ({', '.join('?' * len(values))})", values)
    neutral = "NOT paused AND at_once IS NULL AND number IS NULL AND weight = 1.0"
    db.execute(f"DELETE FROM limits WHERE kind = ? AND name = ? AND {neutral}", limit.key)
    _index_handlers(db)


def _index_handlers(db: sqlite3.Connection) -> None:
    """Have the index that limits by handler need, as long as there is one: every job would pay for it."""
    if db.execute("SELECT 1 FROM limits WHERE kind = 'handler' LIMIT 1").fetchone():
        db.execute(
            f"""
            CREATE INDEX IF NOT EXISTS {_BY_HANDLER} ON jobs (owner, queue, {_HANDLER}, priority DESC, id)
            WHERE state = 'pending' AND unmet = 0 AND due = 0"""
        )
    else:
        db.execute(f"DROP INDEX IF EXISTS {_BY_HANDLER}")


def _keep(db: sqlite3.Connection, used: Any) -> None:
    db.executemany(
        "UPDATE limits SET whole_at = ? WHERE kind = ? AND name = ?",
        [(limit.whole_at, *limit.key) for limit in used],
    )


def _running(db: sqlite3.Connection) -> list[tuple[str, str | None, int]]:
    return db.execute(
        "SELECT queue, handler, count(*) FROM jobs WHERE state = 'running' GROUP BY queue, handler"
    ).fetchall()


def _count_ready(db: sqlite3.Connection, key: LimitKey, owners: Sequence[int | None]) -> int:
    """Count what could begin, by the index, and no further than people can tell apart."""
    found = 0
    for owner in owners:
        for queue in _distinct(db, "queue", owner):
            if key.kind == "queue" and queue != key.name:
                continue
            of_handler = f"AND {_HANDLER} = :name" if key.kind == "handler" else ""
            found += db.execute(
                f"""
                SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {_READY} AND queue = :queue {of_handler} LIMIT {COUNTED})
                """,
                {"owner": owner, "queue": queue, "name": key.name},
            ).fetchone()[0]
    return min(found, COUNTED)
