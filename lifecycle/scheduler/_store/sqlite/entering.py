"""How a run gets into an SQLite file: beside others of its flow, after them, in their place, or not at all.

Or as the unfinished one that it continues.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from ..._ground.errors import RunConflict
from ..pace import REPLACED, Bound
from ..records import NewRun, OpenedRun
from . import instances, operations
from .locks import Doubts
from .owners import adopt_run, retire_dead_owners


def open_run(
    db: sqlite3.Connection,
    database: Path,
    run: NewRun,
    owner: int | None,
    now: float,
    *,
    resume: bool,
    fresh: bool,
    doubts: Doubts | None = None,
    max_crashes: int | None = None,
) -> OpenedRun:
    """Take over the unfinished run of the same flow and parameters, or store a new one."""
    retire_dead_owners(db, database, doubts, alive=owner)
    old = _unfinished(db, run) if resume or fresh else None
    if old is not None:
        old_id, old_owner, old_digest = old
        if old_owner is not None:
            if run.bound.max_instances is None:
                raise RunConflict(_being_run(db, run, old_id, old_owner))
        elif fresh:
            operations.cancel_run(db, old_id, "a fresh run was begun", now, owner, everything=True)
        elif old_digest != run.digest:
            raise RunConflict(_changed(run, old_id), flow_changed=True)
        else:
            return adopt_run(db, old_id, owner, max_crashes)
    return admit_run(db, run, owner, now)


def _unfinished(db: sqlite3.Connection, run: NewRun) -> tuple[int, int | None, str] | None:
    row: tuple[int, int | None, str] | None = db.execute(
        """
        SELECT id, owner, digest FROM runs WHERE flow = ? AND params = ? AND finished IS NULL
        ORDER BY owner IS NOT NULL, id DESC LIMIT 1""",
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


def admit_run(db: sqlite3.Connection, run: NewRun, owner: int | None, now: float) -> OpenedRun:
    """Store a new run, unless as many of its flow go on as may; it may wait for those, or take the place of the oldest.

    Raises:
        RunConflict: it is not begun beside the others; nothing was written.
    """
    if run.bound.max_instances is None:
        opened = insert_run(db, run, owner, now)
        instances.let_in(db, run.flow, now)  # those that have waited, when there was a bound
        return opened
    if refused := instances.refusal(db, run.flow, run.bound):
        raise RunConflict(f"{run.source}: {refused[0]}", run_ids=refused[1])
    make_room(db, run.flow, run.bound, now)
    opened = insert_run(db, run, owner, now, held=True)
    instances.let_in(db, run.flow, now)  # in their turn: there may be more room than there was
    return replace(opened, waits=instances.is_held(db, opened.run_id))


def make_room(db: sqlite3.Connection, flow: str, bound: Bound, now: float) -> None:
    """Cancel what one more run of a flow replaces: those that wait, and so many of the oldest as have to end for it."""
    if bound.overlap == "cancel_running":
        for number in (*instances.waiting(db, flow), *bound.to_cancel(instances.going(db, flow))):
            operations.cancel_run(db, number, REPLACED, now, None)


def insert_run(db: sqlite3.Connection, run: NewRun, owner: int | None, now: float, *, held: bool = False) -> OpenedRun:
    """Store a new run with all its jobs; one that is *held* waits until it is let in."""
    cursor = db.execute(
        """
        INSERT INTO runs (flow, source, digest, params, owner, jobs, unfinished, created, max_instances, overlap, held)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (run.flow, run.source, run.digest, run.params, owner, len(run.jobs), len(run.jobs), now, *run.bound, held),
    )
    run_id = cursor.lastrowid
    assert run_id is not None
    ids = {job.name: operations.insert_job(db, job, run_id, owner, now, int(held)) for job in run.jobs}
    edges = [(ids[needed], ids[job.name], needed in job.tolerates) for job in run.jobs for needed in job.needs]
    db.executemany("INSERT INTO needs (needed, job, tolerant) VALUES (?, ?, ?)", edges)
    return OpenedRun(run_id, False, len(run.jobs), len(run.jobs))
