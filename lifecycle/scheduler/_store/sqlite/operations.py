"""What can be done to the jobs in an SQLite file, each as one function to be run in one transaction.

They are plain functions of a connection, so that the store's writer thread and the command line share them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ..._ground.values import to_json
from ..messages import Notice, Report
from ..records import ALONE, Cancelling, Ending, JobStatus, NewJob, Settled
from ..terms import Terms
from .instances import is_held
from .settling import begin_delay, cancel_open_jobs, count_down, decide_outside, notify, settle

INSERT_JOB = """
    INSERT INTO jobs (run, name, kind, state, owner, priority, unmet, delay, due, retries,
                      backoff_first, backoff_longest, timeout, payload, created, queue, when_)
    VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_FINISH: Final = """
    UPDATE jobs SET state = ?, result = ?, error = ?, trace = ?, log = ?, seconds = ?, finished = ?,
                    failures = failures + ?, owner = NULL, recorded = attempt WHERE id = ?"""
_FINISH_ALONE: Final = f"""{_FINISH}
    AND attempt = ? AND state = 'running' AND run IS NULL AND schedule IS NULL AND cancel IS NULL
    AND NOT EXISTS (SELECT 1 FROM needs WHERE needed = jobs.id)"""


def insert_job(
    db: sqlite3.Connection, job: NewJob, run: int | None, owner: int | None, now: float, unmet: int = 0
) -> int:
    """Store one job and return its number; *unmet* is what it waits for beside the jobs of its run."""
    unmet += len(job.needs)
    due = now + job.delay if job.delay and not unmet else 0
    values = (run, job.name, job.kind, owner, job.priority, unmet, job.delay, due, job.retries)
    payload = None if job.payload is None else to_json(job.payload)
    when = None if job.when == "success" else job.when  # nearly every job says so
    cursor = db.execute(INSERT_JOB, (*values, *job.backoff, job.timeout, payload, now, job.queue, when))
    number = cursor.lastrowid
    assert number is not None
    if job.terms is not None:
        _set_terms(db, number, job.terms, now)
    return number


def _set_terms(db: sqlite3.Connection, number: int, terms: Terms, now: float) -> None:
    db.execute(
        "UPDATE jobs SET at = ?, due = coalesce(?, due), expires = ?, key = ?, metadata = ? WHERE id = ?",
        (
            terms.at,
            terms.at if terms.at is not None and terms.at > now else None,
            terms.expiry(now),
            terms.key,
            to_json(terms.metadata) if terms.metadata else None,
            number,
        ),
    )


def finish(
    db: sqlite3.Connection,
    job_id: int,
    attempt: int,
    ending: Ending,
    now: float,
    *,
    delay_begins: Callable[[], object] = lambda: None,
) -> Settled:
    """End a running job, if *attempt* is still its attempt, and settle what follows.

    Calls *delay_begins* when the job was, or ended, the run of a schedule, whose delay may begin now.
    """
    _report_last(db, job_id, attempt, ending)
    values = (
        ending.status.value,
        to_json(ending.result) if ending.status is JobStatus.SUCCEEDED else None,
        ending.error,
        ending.trace,
        ending.log,
        ending.seconds,
        now,
        ending.failed,
        job_id,
    )
    if db.execute(_FINISH_ALONE, (*values, attempt)).rowcount:  # most jobs are: one statement is enough
        return ALONE
    row = db.execute(
        """
        SELECT run, name, schedule, cancel, owner, EXISTS (SELECT 1 FROM needs WHERE needed = jobs.id)
        FROM jobs WHERE id = ? AND attempt = ? AND state = 'running'""",
        (job_id, attempt),
    ).fetchone()
    if row is None:
        return Settled(accepted=False)
    db.execute(_FINISH, values)
    run, name, schedule, unwanted, owner, needed = row
    if unwanted is not None:  # it has ended: there is nothing left to stop
        db.execute("DELETE FROM notices WHERE owner = ? AND job = ?", (owner, job_id))
    if schedule is not None:
        begin_delay(db, schedule, "last_job", job_id, now)
    settled = settle(db, job_id, name, run, ending.status, now, owner) if needed or run is not None else ALONE
    if schedule is not None or settled.run_finished:
        delay_begins()
    return settled


def retry(db: sqlite3.Connection, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
    """Make a running job pending again from *due* on, one failure older, unless it was cancelled."""
    _report_last(db, job_id, attempt, ending)
    cursor = db.execute(
        """
        UPDATE jobs SET state = 'pending', due = ?, failures = failures + 1, error = ?, trace = ?, log = ?, seconds = ?,
                        recorded = attempt
        WHERE id = ? AND attempt = ? AND state = 'running' AND cancel IS NULL""",
        (due, ending.error, ending.trace, ending.log, ending.seconds, job_id, attempt),
    )
    return cursor.rowcount == 1


def _report_last(db: sqlite3.Connection, job_id: int, attempt: int, ending: Ending) -> None:
    """Keep how far an attempt came, which most say nothing of: those cost nothing."""
    if ending.logged or ending.progress:
        report(db, [Report(job_id, attempt, ending.log or "", ending.logged, ending.progress)])


def cancel(db: sqlite3.Connection, job_id: int, reason: str, now: float, by: int | None) -> Cancelling:
    """Cancel a job that does not run, or note the request; notify its owner when that is not *by*."""
    row = db.execute("SELECT state, owner, run, name, schedule FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        return Cancelling(found=False)
    before, owner, run, name = JobStatus(row[0]), row[1], row[2], row[3]
    if before.final:
        return Cancelling(True, before)
    if before is JobStatus.RUNNING:
        db.execute("UPDATE jobs SET cancel = coalesce(cancel, ?) WHERE id = ?", (reason, job_id))
        notify(db, owner, [job_id])  # its own owner too: it may just be about to start the job
        return Cancelling(True, before)
    settled = end_unrun(db, job_id, name, run, row[4], JobStatus.CANCELLED, reason, now, owner, by)
    return Cancelling(True, before, settled)


def end_unrun(
    db: sqlite3.Connection,
    job_id: int,
    name: str,
    run: int | None,
    schedule: int | None,
    status: JobStatus,
    reason: str,
    now: float,
    owner: int | None,
    by: int | None,
) -> Settled:
    """End a job that does not run, and settle what follows; the owners of all that are notified, but for *by*."""
    db.execute(
        """
        UPDATE jobs SET state = :state, error = :reason, finished = :now, owner = NULL,
                        cancel = CASE WHEN :state = 'cancelled' THEN :reason ELSE cancel END WHERE id = :id""",
        {"state": status.value, "reason": reason, "now": now, "id": job_id},
    )
    if run is None:
        _give_key_back(db, job_id)
    if owner != by:
        notify(db, owner, [job_id])
    if schedule is not None:
        begin_delay(db, schedule, "last_job", job_id, now)
    return settle(db, job_id, name, run, status, now, by, held=is_held(db, run))


def _give_key_back(db: sqlite3.Connection, job_id: int) -> None:
    """Let the job have its key again that still runs, and that this one was to replace: none is to run beside it."""
    db.execute(
        """
        UPDATE jobs SET key = ended.key FROM jobs AS ended JOIN needs ON needs.job = ended.id
        WHERE ended.id = ? AND ended.key IS NOT NULL AND tolerant AND jobs.id = needed AND jobs.finished IS NULL""",
        (job_id,),
    )


def cancel_run(
    db: sqlite3.Connection, run: int, reason: str, now: float, by: int | None, *, everything: bool = False
) -> tuple[Settled, tuple[int, ...]]:
    """Cancel the jobs of a run that do not run; return what followed and the numbers of those that are to stop.

    Those that run ``always`` are cancelled by a second request, or when *everything* is meant.
    """
    row = db.execute("SELECT owner FROM runs WHERE id = ?", (run,)).fetchone()
    if row is None:
        return Settled(False), ()
    running, ended = cancel_open_jobs(db, run, reason, now, everything=everything)
    owner = row[0]
    finished = count_down(db, run, len(ended), now) if ended else False
    notify(db, owner, running)
    if owner != by:
        notify(db, owner, [skip.id for skip in ended])
    skipped = [*ended, *decide_outside(db, run, ended, now, by)]
    return Settled(True, run, tuple(skipped), finished), tuple(running)


def set_priority(db: sqlite3.Connection, job_id: int, priority: int) -> bool:
    """Give a job that waits another priority; return whether it does."""
    cursor = db.execute(
        "UPDATE jobs SET priority = ? WHERE id = ? AND state IN ('pending', 'interrupted')", (priority, job_id)
    )
    return cursor.rowcount == 1


def put_ahead(db: sqlite3.Connection, job_id: int, of: int) -> None:
    """Make a job that does not run more urgent than another one, if it is not already."""
    db.execute(
        """
        UPDATE jobs SET priority = 1 + (SELECT priority FROM jobs WHERE id = :of)
        WHERE id = :job AND state = 'pending' AND priority <= (SELECT priority FROM jobs WHERE id = :of)""",
        {"job": job_id, "of": of},
    )


def fates(db: sqlite3.Connection, run: int, names: Collection[str]) -> dict[str, tuple[str, str | None]]:
    """Return the status and the error of jobs of a run, by name."""
    rows = [
        db.execute("SELECT name, state, error FROM jobs WHERE run = ? AND name = ?", (run, name)).fetchone()
        for name in names
    ]
    return {row[0]: (row[1], row[2]) for row in rows if row is not None}


def outputs(db: sqlite3.Connection, run: int, names: Collection[str]) -> dict[str, str | None]:
    """Return the results of succeeded jobs of a run as JSON texts, by name."""
    found = {}
    for name in names:
        row = db.execute(
            "SELECT result FROM jobs WHERE run = ? AND name = ? AND state = 'succeeded'", (run, name)
        ).fetchone()
        if row is not None:
            found[name] = row[0]
    return found


def notices(db: sqlite3.Connection, owner: int | None) -> Sequence[Notice]:
    """Return what other processes have asked of an owner's jobs: one query, nearly always empty."""
    rows = db.execute(
        """
        SELECT notices.id, jobs.id, jobs.run, jobs.name, coalesce(jobs.cancel, jobs.error, 'cancelled'), jobs.state,
               coalesce(runs.unfinished = 0, 0)
        FROM notices JOIN jobs ON jobs.id = notices.job LEFT JOIN runs ON runs.id = jobs.run
        WHERE notices.owner = ? ORDER BY notices.id""",
        (owner,),
    ).fetchall()
    return [
        Notice(number, job, run, name, reason, JobStatus(state), bool(finished))
        for number, job, run, name, reason, state, finished in rows
    ]


def forget_notices(db: sqlite3.Connection, owner: int | None, last: int) -> None:
    """Delete the notices up to *last*."""
    db.execute("DELETE FROM notices WHERE owner = ? AND id <= ?", (owner, last))


def report(db: sqlite3.Connection, reports: Sequence[Report]) -> None:
    """Keep what running attempts show of themselves, of those that still run."""
    db.executemany(
        """
        UPDATE jobs SET log = ?, logged = ?, progress_done = ?, progress_total = ?
        WHERE id = ? AND attempt = ? AND state = 'running'""",
        [
            (report.log or None, report.logged, *(report.progress or (None, None)), report.id, report.attempt)
            for report in reports
        ],
    )
