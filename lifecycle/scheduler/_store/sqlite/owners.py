"""Owners in an SQLite file: registering, leaving, and taking over what one that has ended left."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Collection
from glob import escape
from pathlib import Path

from ..records import LeftRuns, OpenedRun, flow_key
from . import crashes, instances, operations
from .locks import HAS_LEFT, Doubts, OwnerLock, is_alive, lock_path, remove_lock

logger = logging.getLogger("lifecycle.scheduler")

AT_ONCE = 2_000
"""Jobs of one handler that are taken over in one transaction; the others in the next ones."""

_WAITING = ("unmet = 0 AND due = 0", "unmet = 0 AND due > 0", "unmet > 0")
"""The kinds of waiting jobs of an owner, each in the words of its index."""


def register(db: sqlite3.Connection, token: str, pid: int, name: str, now: float) -> int:
    """Store a new owner and return its number."""
    values = (token, pid, name, now)
    cursor = db.execute("INSERT INTO owners (token, pid, name, started) VALUES (?, ?, ?, ?)", values)
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def still_registered(db: sqlite3.Connection, owner: int, token: str, name: str, now: float) -> int:
    """Return the number of a living owner: another one, when it was taken for dead and buried.

    Somebody deletes lock files faster than they are made. What it runs is not its own any more, so that its results are
    dropped; what it had waits for whoever takes it over.
    """
    if db.execute("SELECT 1 FROM owners WHERE id = ? AND token = ?", (owner, token)).fetchone():
        return owner
    logger.warning("taken for dead by another scheduler", extra={"owner": name})
    number = register(db, token, os.getpid(), name, now)
    for kind in _WAITING:  # what was put in meanwhile
        db.execute(f"UPDATE jobs SET owner = ? WHERE owner = ? AND state = 'pending' AND {kind}", (number, owner))
    return number


def retire(db: sqlite3.Connection, owner: int, *, crashed: bool = False, most: int = AT_ONCE) -> int:
    """Remove an owner: what it ran is interrupted, what it had waits for another. Return how many it ran.

    Of the jobs that wait for it, about *most* are let go. Where there are more it stays, as one that has left, and the
    next call goes on: nobody has to wait until a million jobs have been touched. With *crashed* its process has died,
    and that counts for each job that it ran. What was cancelled is not left to the next owner, which would run it: it
    has ended with this one.
    """
    unwanted = db.execute(
        "SELECT id, cancel FROM jobs WHERE owner = ? AND state = 'running' AND cancel IS NOT NULL", (owner,)
    ).fetchall()
    interrupted = db.execute(
        """
        UPDATE jobs SET state = 'interrupted', owner = NULL, crashes = crashes + ?
        WHERE owner = ? AND state = 'running'""",
        (crashed, owner),
    ).rowcount
    db.execute("UPDATE runs SET owner = NULL WHERE owner = ? AND finished IS NULL", (owner,))
    for job, reason in unwanted:
        operations.cancel(db, job, reason, time.time(), None)
    db.execute("DELETE FROM notices WHERE owner = ?", (owner,))
    if _let_go(db, owner, most):
        db.execute("UPDATE owners SET token = ? WHERE id = ?", (HAS_LEFT, owner))
    else:
        db.execute("DELETE FROM owners WHERE id = ?", (owner,))
    return interrupted


def _let_go(db: sqlite3.Connection, owner: int, most: int) -> bool:
    """Let some of the jobs go that wait for an owner; return whether there may be more."""
    some = [
        db.execute(
            f"""
            UPDATE jobs SET owner = NULL
            WHERE id IN (SELECT id FROM jobs WHERE owner = ? AND state = 'pending' AND {kind} LIMIT ?)""",
            (owner, most),
        ).rowcount
        for kind in _WAITING
    ]
    return max(some) == most


def dead_owners(db: sqlite3.Connection, database: Path, doubts: Doubts) -> list[tuple[int, str]]:
    """Return number and token of every owner whose process has ended."""
    rows = db.execute("SELECT id, token FROM owners").fetchall()
    doubts.forget_others({token for _, token in rows})
    return [(owner, token) for owner, token in rows if doubts.is_dead(database, token)]


def retire_dead_owners(
    db: sqlite3.Connection, database: Path, doubts: Doubts | None = None, *, alive: int | None = None
) -> int:
    """Remove every owner whose process has ended; return how many attempts they left.

    Not the one that asks, which is *alive*: its lock file may have been removed.
    """
    left = 0
    for owner, token in dead_owners(db, database, Doubts() if doubts is None else doubts):
        if owner != alive:
            left += retire(db, owner, crashed=True)
            remove_lock(database, token)
    _sweep_locks(db, database)
    return left


def _sweep_locks(db: sqlite3.Connection, database: Path) -> None:
    """Remove the lock files of processes that were killed before they had registered.

    One that is about to register, and has not locked its file yet, notices it: see `enter`.
    """
    registered = {token for (token,) in db.execute("SELECT token FROM owners")}
    prefix = lock_path(database, "").name
    for path in database.parent.glob(f"{escape(prefix)}*"):
        token = path.name.removeprefix(prefix)
        if token not in registered and is_alive(database, token) is False:
            remove_lock(database, token)


def enter(
    db: sqlite3.Connection,
    database: Path,
    lock: OwnerLock,
    pid: int,
    name: str,
    now: float,
    doubts: Doubts | None = None,
) -> int | None:
    """Remove owners that have ended and store a new one; return its number.

    None when it has to try again: its lock file is gone, or it is not known yet which owners live.
    """
    retire_dead_owners(db, database, doubts)
    if doubts or not lock.path.exists():
        return None
    return register(db, lock.token, pid, name, now)


def adopt_jobs(
    db: sqlite3.Connection, owner: int | None, handlers: Collection[str], max_crashes: int | None, most: int = AT_ONCE
) -> int:
    """Take over jobs by themselves (of no run) that have no owner and whose handler is known, the most urgent first.

    Returns how many there were, those included that have failed instead; of each handler *most* are taken.
    """
    found = 0
    for handler in handlers:
        found += crashes.end_crashed(db, owner, max_crashes, time.time(), "run IS NULL AND handler = ?", (handler,))
        found += db.execute(
            """
            UPDATE jobs SET state = 'pending', owner = ?, cancel = NULL WHERE id IN (
                SELECT id FROM jobs WHERE run IS NULL AND owner IS NULL AND finished IS NULL AND handler = ?
                ORDER BY priority DESC, id LIMIT ?)""",
            (owner, handler, most),
        ).rowcount
    return found


def adopt_runs(db: sqlite3.Connection, owner: int | None, flow: str, digest: str, max_crashes: int | None) -> LeftRuns:
    """Take over the unfinished runs of a flow that have no owner; those of another version of it are left alone."""
    orphans = db.execute(
        "SELECT id, digest FROM runs WHERE flow = ? AND finished IS NULL AND owner IS NULL ORDER BY id", (flow,)
    ).fetchall()
    ours = tuple(run for run, version in orphans if version == digest)
    for run in ours:
        adopt_run(db, run, owner, max_crashes)
    return LeftRuns(ours, tuple(run for run, version in orphans if version != digest))


def adopt_served_runs(db: sqlite3.Connection, owner: int, served: Collection[str], max_crashes: int | None) -> int:
    """Take over the unfinished runs that have no owner, of the flows with these keys; return how many."""
    orphans = db.execute("SELECT id, flow, digest FROM runs WHERE finished IS NULL AND owner IS NULL").fetchall()
    ours = [run for run, flow, digest in orphans if flow_key(flow, digest) in served]
    for run in ours:
        adopt_run(db, run, owner, max_crashes)
    return len(ours)


def adopt_run(db: sqlite3.Connection, run_id: int, owner: int | None, max_crashes: int | None = None) -> OpenedRun:
    """Give a run, and what has not ended of it, to an owner; what has crashed its process too often fails instead."""
    crashes.end_crashed(db, owner, max_crashes, time.time(), "run = ?", (run_id,))
    db.execute(
        """
        UPDATE jobs SET state = 'pending', owner = ?, cancel = NULL
        WHERE run = ? AND state IN ('pending', 'interrupted')""",
        (owner, run_id),
    )
    row = db.execute(
        """
        UPDATE runs SET owner = CASE WHEN finished IS NULL THEN ? END
        WHERE id = ? RETURNING jobs, unfinished, held, flow""",
        (owner, run_id),
    ).fetchone()
    jobs, unfinished, held, flow = row
    if held:
        instances.let_in(db, flow, time.time())
    return OpenedRun(run_id, True, jobs, unfinished, instances.is_held(db, run_id))
