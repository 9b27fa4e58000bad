"""Owners in an SQLite file: registering, leaving, and taking over what one that has ended left."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection
from glob import escape
from pathlib import Path

from .._ground.errors import RunConflict
from . import operations
from .locks import OwnerLock, is_alive, lock_path, remove_lock
from .records import LeftRuns, NewRun, OpenedRun, flow_key


def register(db: sqlite3.Connection, token: str, pid: int, name: str, now: float) -> int:
    """Store a new owner and return its number."""
    values = (token, pid, name, now)
    cursor = db.execute("INSERT INTO owners (token, pid, name, started) VALUES (?, ?, ?, ?)", values)
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def retire(db: sqlite3.Connection, owner: int) -> int:
    """Remove an owner: what it ran is interrupted, what it had waits for another. Return how many it ran.

    What was cancelled is not left to the next owner, which would run it: it has ended with this one.
    """
    unwanted = db.execute(
        "SELECT id, cancel FROM jobs WHERE owner = ? AND state = 'running' AND cancel IS NOT NULL", (owner,)
    ).fetchall()
    interrupted = db.execute(
        "UPDATE jobs SET state = 'interrupted', owner = NULL WHERE owner = ? AND state = 'running'", (owner,)
    ).rowcount
    db.execute("UPDATE jobs SET owner = NULL WHERE owner = ? AND state = 'pending'", (owner,))
    db.execute("UPDATE runs SET owner = NULL WHERE owner = ? AND finished IS NULL", (owner,))
    for job, reason in unwanted:
        operations.cancel(db, job, reason, time.time(), None)
    db.execute("DELETE FROM notices WHERE owner = ?", (owner,))
    db.execute("DELETE FROM owners WHERE id = ?", (owner,))
    return interrupted


def dead_owners(db: sqlite3.Connection, database: Path) -> list[tuple[int, str]]:
    """Return number and token of every owner whose process has ended."""
    rows = db.execute("SELECT id, token FROM owners").fetchall()
    return [(owner, token) for owner, token in rows if not is_alive(database, token)]


def retire_dead_owners(db: sqlite3.Connection, database: Path, *, alive: int | None = None) -> int:
    """Remove every owner whose process has ended; return how many attempts they left.

    Not the one that asks, which is *alive*: its lock file may have been removed.
    """
    left = 0
    for owner, token in dead_owners(db, database):
        if owner != alive:
            left += retire(db, owner)
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
        if token not in registered and not is_alive(database, token):
            remove_lock(database, token)


def enter(db: sqlite3.Connection, database: Path, lock: OwnerLock, pid: int, name: str, now: float) -> int | None:
    """Remove owners that have ended and store a new one; return its number, None when its lock file is gone."""
    retire_dead_owners(db, database)
    if not lock.path.exists():
        return None
    return register(db, lock.token, pid, name, now)


def adopt_jobs(db: sqlite3.Connection, owner: int | None, handlers: Collection[str]) -> int:
    """Take over the jobs by themselves (of no run) that have no owner and whose handler is known; return how many."""
    orphans = db.execute(
        "SELECT id, payload FROM jobs WHERE run IS NULL AND owner IS NULL AND state IN ('pending', 'interrupted')"
    ).fetchall()
    known = [(owner, id) for id, payload in orphans if json.loads(payload or "{}").get("handler") in handlers]  # noqa: A001
    db.executemany("UPDATE jobs SET state = 'pending', owner = ?, cancel = NULL WHERE id = ?", known)
    return len(known)


def adopt_runs(db: sqlite3.Connection, owner: int | None, flow: str, digest: str) -> LeftRuns:
    """Take over the unfinished runs of a flow that have no owner; those of another version of it are left alone."""
    orphans = db.execute(
        "SELECT id, digest FROM runs WHERE flow = ? AND finished IS NULL AND owner IS NULL ORDER BY id", (flow,)
    ).fetchall()
    ours = tuple(run for run, version in orphans if version == digest)
    for run in ours:
        adopt_run(db, run, owner)
    return LeftRuns(ours, tuple(run for run, version in orphans if version != digest))


def adopt_served_runs(db: sqlite3.Connection, owner: int, served: Collection[str]) -> int:
    """Take over the unfinished runs that have no owner, of the flows with these keys; return how many."""
    orphans = db.execute("SELECT id, flow, digest FROM runs WHERE finished IS NULL AND owner IS NULL").fetchall()
    ours = [run for run, flow, digest in orphans if flow_key(flow, digest) in served]
    for run in ours:
        adopt_run(db, run, owner)
    return len(ours)


def open_run(
    db: sqlite3.Connection, database: Path, run: NewRun, owner: int | None, now: float, *, resume: bool, fresh: bool
) -> OpenedRun:
    """Take over the unfinished run of the same flow and parameters, or store a new one."""
    retire_dead_owners(db, database, alive=owner)
    old = _unfinished(db, run) if resume or fresh else None
    if old is not None:
        old_id, old_owner, old_digest = old
        if old_owner is not None:
            raise RunConflict(_being_run(db, run, old_id, old_owner))
        if fresh:
            operations.cancel_run(db, old_id, "a fresh run was begun", now, owner)
        elif old_digest != run.digest:
            raise RunConflict(_changed(run, old_id), flow_changed=True)
        else:
            return adopt_run(db, old_id, owner)
    return insert_run(db, run, owner, now)


def _unfinished(db: sqlite3.Connection, run: NewRun) -> tuple[int, int | None, str] | None:
    row: tuple[int, int | None, str] | None = db.execute(
        """
        SELECT id, owner, digest FROM runs WHERE flow = ? AND params = ? AND finished IS NULL
        ORDER BY id DESC LIMIT 1""",
        (run.flow, run.params),
    ).fetchone()
    return row


def _being_run(db: sqlite3.Connection, run: NewRun, run_id: int, owner: int) -> str:
    row = db.execute("SELECT pid FROM owners WHERE id = ?", (owner,)).fetchone()
    who = f"process {row[0]}" if row else "another process"
    what = f"run {run_id} of {run.flow!r} with these parameters"
    return f"{run.source}: {what} is being run by {who}; wait for it or stop it"


def _changed(run: NewRun, run_id: int) -> str:
    return (
        f"{run.source}: the flow has changed since its unfinished run {run_id} began; "
        "finish that run with the flow as it was, or submit with fresh=True, which cancels what is left of it"
    )


def adopt_run(db: sqlite3.Connection, run_id: int, owner: int | None) -> OpenedRun:
    """Give a run, and what has not ended of it, to an owner."""
    db.execute(
        """
        UPDATE jobs SET state = 'pending', owner = ?, cancel = NULL
        WHERE run = ? AND state IN ('pending', 'interrupted')""",
        (owner, run_id),
    )
    row = db.execute("UPDATE runs SET owner = ? WHERE id = ? RETURNING jobs, unfinished", (owner, run_id)).fetchone()
    return OpenedRun(run_id, True, row[0], row[1])


def insert_run(db: sqlite3.Connection, run: NewRun, owner: int | None, now: float) -> OpenedRun:
    """Store a new run with all its jobs."""
    cursor = db.execute(
        """
        INSERT INTO runs (flow, source, digest, params, owner, jobs, unfinished, created)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (run.flow, run.source, run.digest, run.params, owner, len(run.jobs), len(run.jobs), now),
    )
    run_id = cursor.lastrowid
    assert run_id is not None
    ids = {job.name: operations.insert_job(db, job, run_id, owner, now) for job in run.jobs}
    edges = [(ids[needed], ids[job.name]) for job in run.jobs for needed in job.needs]
    db.executemany("INSERT INTO needs (needed, job) VALUES (?, ?)", edges)
    return OpenedRun(run_id, False, len(run.jobs), len(run.jobs))


def canonical(params: object) -> str:
    """Return parameters as the text by which a run is found again."""
    return json.dumps(params, sort_keys=True, separators=(",", ":"))
