"""How a job that is submitted on terms gets into an SQLite file: its key, and the jobs that it needs."""

from __future__ import annotations

import sqlite3

from ..._ground.limits import LONGEST_WAIT
from ..admission import AT_ONCE, Admitted, Found, first_lost
from ..records import JobStatus, NewJob, Skipped
from ..skipping import unrun
from ..terms import NO_TERMS, REPLACED, expiry_reason
from .operations import cancel, end_unrun, insert_job

LOOK_INTERVAL = 1.0
"""Seconds after which is looked whether what our jobs wait for has ended in another process."""


def admit(db: sqlite3.Connection, job: NewJob, owner: int | None, now: float) -> Admitted:
    """Store a job unless another has its key, or it needs what is not there; all of it in one transaction."""
    terms = job.terms or NO_TERMS
    twin = _with_key(db, terms.key)
    ahead = None if twin is None else _predecessor(db, twin.id)
    if twin is not None and (terms.on_twin != "replace" or not {twin.id, ahead}.isdisjoint(terms.needs)):
        return Admitted(twin=twin)
    numbers = list(dict.fromkeys(terms.needs))
    if unknown := tuple(number for number in numbers if _found(db, number) is None):
        return Admitted(unknown=unknown)
    replaced = None
    if twin is not None:
        replaced = cancel(db, twin.id, REPLACED, now, owner)
        if replaced.settled is None:
            ahead = twin.id
        if ahead is not None:  # it runs: the key is handed on, and what has it begins when that has ended
            db.execute("UPDATE jobs SET key = NULL WHERE id = ?", (ahead,))
    # Only now: what it needs may have needed the twin.
    needed = [found for number in numbers if (found := _found(db, number)) is not None]
    lost = terms.lost or first_lost(needed)
    waits = [one.id for one in needed if not one.status.final]
    if ahead is not None:
        waits.append(ahead)
    number = insert_job(db, job, None, owner, now, len(waits))
    # Those that have ended as well: they decide whether it may be tried again by hand.
    ended = [one for one, why in terms.ended if why is not None or _found(db, one) is not None]
    db.executemany(
        "INSERT INTO needs (needed, job, tolerant) VALUES (?, ?, ?)",
        [(one, number, one == ahead) for one in dict.fromkeys([*numbers, *ended, *waits])],
    )
    trouble = lost is not None or any(one.trouble for one in needed)
    if trouble:
        db.execute("UPDATE jobs SET blocked = ?, trouble = 1 WHERE id = ?", (lost, number))
    ending = None if waits else unrun(job.when, lost, trouble)  # else it is decided when the others have ended, too
    if ending is None:
        return Admitted(number, twin, (), replaced)
    end_unrun(db, number, job.name, None, None, *ending, now, owner, owner)
    db.execute("UPDATE jobs SET skipped = 1 WHERE id = ?", (number,))
    status, reason = ending
    return Admitted(number, twin, (), replaced, Skipped(number, job.name, reason, status))


def _predecessor(db: sqlite3.Connection, twin: int) -> int | None:
    """Return the job that still runs although the twin has its key; None when there is none."""
    row = db.execute(
        """
        SELECT needed FROM needs JOIN jobs ON jobs.id = needs.needed
        WHERE needs.job = ? AND needs.tolerant AND jobs.finished IS NULL""",
        (twin,),
    ).fetchone()
    return None if row is None else int(row[0])


def _with_key(db: sqlite3.Connection, key: str | None) -> Found | None:
    if key is None:
        return None
    return _one(db.execute("SELECT id, name, state, trouble FROM jobs WHERE key = ? AND finished IS NULL", (key,)))


def _found(db: sqlite3.Connection, number: int) -> Found | None:
    return _one(db.execute("SELECT id, name, state, trouble FROM jobs WHERE id = ?", (number,)))


def _one(rows: sqlite3.Cursor) -> Found | None:
    row = rows.fetchone()
    return None if row is None else Found(row[0], row[1], JobStatus(row[2]), bool(row[3]))


def look(db: sqlite3.Connection, owner: int, now: float) -> tuple[int, float]:
    """Cancel what has expired; return how many those were, and in how many seconds to look again."""
    expired = expire(db, now)
    return expired, 0.0 if expired else next_look_in(db, owner, now)


def expire(db: sqlite3.Connection, now: float) -> int:
    """Cancel the jobs that wait and have expired, whoever owns them, `AT_ONCE` at most; return how many.

    Their owners are notified, this one too, as of what somebody else has cancelled.
    """
    rows = db.execute(
        f"""
        SELECT id, attempt FROM jobs
        WHERE expires IS NOT NULL AND state = 'pending' AND expires <= ? ORDER BY expires LIMIT {AT_ONCE}""",
        (now,),
    ).fetchall()
    for number, attempts in rows:
        cancel(db, number, expiry_reason(attempts), now, None)
    return len(rows)


def next_look_in(db: sqlite3.Connection, owner: int, now: float) -> float:
    """Return the seconds until a job expires, or one of this owner may begin because another process's has ended."""
    expiry, awaits = db.execute(
        """
        SELECT (SELECT min(expires) FROM jobs WHERE expires IS NOT NULL AND state = 'pending'),
               EXISTS (SELECT 1 FROM jobs WHERE owner = ? AND run IS NULL AND state = 'pending' AND unmet > 0)""",
        (owner,),
    ).fetchone()
    longest = LOOK_INTERVAL if awaits else LONGEST_WAIT
    return longest if expiry is None else min(longest, max(0.0, expiry - now))
