"""Settling, in an SQLite file: what follows from the end of a job for the jobs that need it, and for its run.

A job is decided when all that it needs has ended, and not before: what would clean up after a job that was skipped must
not begin while another one goes on that the skipped job needed as well. Then

* one that runs on ``success`` is skipped (*cancelled*) if a need did not succeed that may not fail,
* one that runs on ``failure`` is skipped (*skipped*) if everything above it has succeeded; to those that need it that
  is as good as a success, because it had nothing to do,
* one that runs ``always`` runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from ..records import ALONE, JobStatus, Settled, Skipped
from ..skipping import NOT_NEEDED, skip_reason
from .instances import let_in

MAY_FAIL: Final = """(
    jobs.run IS NOT NULL AND EXISTS (SELECT 1 FROM needs WHERE needed = jobs.id AND tolerant) AND NOT EXISTS (
        SELECT 1 FROM needs JOIN jobs AS below ON below.id = job
        WHERE needed = jobs.id AND NOT tolerant AND below.when_ IS NULL AND below.run = jobs.run))"""
"""Whether the failure of a job is allowed: some job of its run says so, and none needs it to succeed."""

RUN_STATUS: Final = f"""
    CASE WHEN NOT EXISTS (
        SELECT 1 FROM jobs WHERE run = runs.id
        AND (state = 'cancelled' OR (state IN ('failed', 'timed_out') AND NOT {MAY_FAIL}))) THEN 'succeeded'
    WHEN cancel IS NOT NULL THEN 'cancelled' ELSE 'failed' END"""
"""How a run has ended all of whose jobs have, as `run_records.run_status` has it."""


def settle(
    db: sqlite3.Connection,
    job_id: int,
    name: str,
    run: int | None,
    status: JobStatus,
    now: float,
    by: int | None,
    *,
    held: bool = False,
) -> Settled:
    """Let the dependants of a job go on, or skip them, and count it in its run, which may be *held*.

    Of those that are not of its run the owners are notified, but for *by*, which is told by what is returned.
    """
    if not status.final:
        return Settled(accepted=True, run_id=run)
    skipped = _decide_dependants(db, job_id, skip_reason(name, status), now, by, held=run if held else None)
    if run is None:
        return Settled(True, None, skipped) if skipped else ALONE
    ended = 1 + sum(skip.run_id == run for skip in skipped)
    return Settled(True, run, skipped, count_down(db, run, ended, now))


def decide_outside(
    db: sqlite3.Connection, run: int, ended: Sequence[Skipped], now: float, by: int | None
) -> list[Skipped]:
    """Skip what is not of a run and needs jobs of it that were cancelled; return what was skipped."""
    awaited = db.execute(
        """
        SELECT DISTINCT mine.id
        FROM jobs AS mine JOIN needs ON needs.needed = mine.id JOIN jobs AS outside ON outside.id = needs.job
        WHERE mine.run = ? AND mine.state = 'cancelled' AND outside.run IS NULL AND outside.finished IS NULL""",
        (run,),
    ).fetchall()
    numbers = {number for (number,) in awaited}
    skipped: list[Skipped] = []
    for job in ended if numbers else ():
        if job.id in numbers:
            reason = skip_reason(job.name, JobStatus.CANCELLED)
            skipped += _decide_dependants(db, job.id, reason, now, by, "AND jobs.run IS NULL")
    return skipped


def _decide_dependants(
    db: sqlite3.Connection,
    job_id: int,
    reason: str | None,
    now: float,
    by: int | None,
    of: str = "",
    held: int | None = None,
) -> tuple[Skipped, ...]:
    """Tell those that need a job that it has ended, and skip those that are not to run, and so on.

    Those of the run *held*, which waits for other runs, are decided nevertheless.
    """
    ended = [(job_id, reason)]
    skipped: list[Skipped] = []
    while ended:
        number, reason = ended.pop()
        values = {"ended": number, "reason": reason, "now": now, "held": held or -1}
        db.execute(
            f"""
            UPDATE jobs SET unmet = unmet - 1, due = CASE WHEN unmet = 1 AND delay > 0 THEN :now + delay ELSE due END,
                trouble = trouble OR (:reason IS NOT NULL OR (SELECT trouble FROM jobs WHERE id = :ended)) AND NOT (
                    run IS NULL AND (SELECT tolerant FROM needs WHERE needed = :ended AND job = jobs.id)),
                blocked = coalesce(blocked, CASE WHEN NOT (
                    SELECT tolerant FROM needs WHERE needed = :ended AND job = jobs.id) THEN :reason END)
            WHERE id IN (SELECT job FROM needs WHERE needed = :ended) AND finished IS NULL {of}""",
            values,
        )
        rows = db.execute(
            f"""
            SELECT jobs.id, jobs.name, blocked, run, owner FROM needs JOIN jobs ON jobs.id = needs.job
            WHERE needed = :ended AND unmet = (run IS :held) AND state IN ('pending', 'interrupted') {of}
                AND CASE coalesce(when_, 'success')
                WHEN 'success' THEN blocked IS NOT NULL WHEN 'failure' THEN NOT trouble END""",
            values,
        ).fetchall()
        for dependant, name, blocked, run, owner in rows:
            status = JobStatus.CANCELLED if blocked else JobStatus.SKIPPED
            skip = Skipped(dependant, name, blocked or NOT_NEEDED, status, run)
            if owner != by:
                notify(db, owner, [dependant])
            db.execute(
                """
                UPDATE jobs SET state = ?, cancel = ?, error = ?, finished = ?, owner = NULL, skipped = 1
                WHERE id = ?""",
                (status.value, skip.reason, skip.reason, now, dependant),
            )
            skipped.append(skip)
            ended.append((dependant, blocked))
    return tuple(sorted(skipped, key=lambda skip: skip.id))


def cancel_open_jobs(
    db: sqlite3.Connection, run: int, reason: str, now: float, *, everything: bool
) -> tuple[list[int], list[Skipped]]:
    """Cancel the jobs of a run that do not run, and note the request for those that do.

    Those that run ``always`` are left alone, unless *everything* is meant, or the run was cancelled before, or has done
    nothing yet, since it waits for other runs.

    Returns:
        The numbers of those that run, and what was cancelled.
    """
    cancelled, held = db.execute("SELECT cancel IS NOT NULL, held FROM runs WHERE id = ?", (run,)).fetchone()
    wanted = "1" if everything or cancelled or held else "coalesce(when_, 'success') <> 'always'"
    db.execute("UPDATE runs SET cancel = coalesce(cancel, ?) WHERE id = ?", (reason, run))
    running = db.execute(
        f"UPDATE jobs SET cancel = coalesce(cancel, ?) WHERE run = ? AND state = 'running' AND {wanted} RETURNING id",
        (reason, run),
    ).fetchall()
    ended = db.execute(
        f"""
        UPDATE jobs SET state = 'cancelled', cancel = ?, error = ?, finished = ?, owner = NULL
        WHERE run = ? AND state IN ('pending', 'interrupted') AND {wanted} RETURNING id, name""",
        (reason, reason, now, run),
    ).fetchall()
    left = """(
        SELECT count(*) FROM needs JOIN jobs AS above ON above.id = needed
        WHERE job = jobs.id AND above.finished IS NULL)"""
    db.execute(
        f"""
        UPDATE jobs SET trouble = 1, unmet = {left},
                        due = CASE WHEN delay > 0 AND {left} = 0 THEN ? + delay ELSE due END
        WHERE run = ? AND when_ = 'always' AND unmet > 0 AND finished IS NULL""",
        (now, run),
    )
    return [number for (number,) in running], [
        Skipped(number, name, reason, run_id=run) for number, name in sorted(ended)
    ]


def notify(db: sqlite3.Connection, owner: int | None, jobs: Sequence[int]) -> None:
    """Tell an owner of jobs that another process has changed."""
    if owner is not None:
        db.executemany("INSERT INTO notices (owner, job) VALUES (?, ?)", [(owner, job) for job in jobs])


def count_down(db: sqlite3.Connection, run: int, ended: int, now: float) -> bool:
    """Note that so many jobs of a run have ended; return whether these were the last."""
    row = db.execute(
        """
        UPDATE runs SET unfinished = unfinished - ?, finished = CASE WHEN unfinished = ? THEN ? ELSE finished END,
                        owner = CASE WHEN unfinished = ? THEN NULL ELSE owner END
        WHERE id = ? RETURNING unfinished, schedule, flow""",
        (ended, ended, now, ended, run),
    ).fetchone()
    finished = bool(row and row[0] == 0)
    if finished:
        db.execute(f"UPDATE runs SET status = {RUN_STATUS} WHERE id = ?", (run,))
        let_in(db, row[2], now)
    if finished and row[1] is not None:
        begin_delay(db, row[1], "last_run", run, now)
    return finished


def begin_delay(db: sqlite3.Connection, schedule: int, last: str, number: int, now: float) -> None:
    """Let the delay of a schedule begin, if that is what it goes by: its last run has ended."""
    db.execute(
        f"""
        UPDATE schedules SET next_due = ? + CAST(rule AS REAL)
        WHERE id = ? AND {last} = ? AND kind = 'fixed_delay' AND next_due IS NULL""",
        (now, schedule, number),
    )
