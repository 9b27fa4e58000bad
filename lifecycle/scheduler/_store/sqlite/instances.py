"""The runs of one flow in an SQLite file: which go on, which wait for them, and who is let in when one has ended.

A run counts from when it was let in until its last job has ended, its cleaning steps included; also while it is
interrupted, because it will go on. One that waits does not count. The word of the newest run of the flow is what holds.
"""

from __future__ import annotations

import sqlite3

from ..pace import Bound
from ..waiting import refused_beside


def bound_of(db: sqlite3.Connection, flow: str) -> Bound:
    """Return how many runs of a flow go on at once, as its newest run says."""
    row = db.execute(
        "SELECT max_instances, overlap FROM runs WHERE flow = ? ORDER BY id DESC LIMIT 1", (flow,)
    ).fetchone()
    return Bound() if row is None or row[0] is None else Bound(*row)


def going(db: sqlite3.Connection, flow: str) -> list[tuple[int, bool]]:
    """Return the runs of a flow that count, the oldest first, and whether each has been cancelled."""
    rows = db.execute(
        "SELECT id, cancel IS NOT NULL FROM runs WHERE flow = ? AND held = 0 AND finished IS NULL ORDER BY id", (flow,)
    )
    return [(number, bool(cancelled)) for number, cancelled in rows]


def waiting(db: sqlite3.Connection, flow: str) -> list[int]:
    """Return the runs of a flow that wait, the oldest first."""
    rows = db.execute("SELECT id FROM runs WHERE flow = ? AND held = 1 AND finished IS NULL ORDER BY id", (flow,))
    return [number for (number,) in rows]


def is_held(db: sqlite3.Connection, run: int | None) -> bool:
    """Return whether a run waits."""
    row = None if run is None else db.execute("SELECT held FROM runs WHERE id = ?", (run,)).fetchone()
    return bool(row and row[0])


def let_in(db: sqlite3.Connection, flow: str, now: float) -> None:
    """Let the oldest runs of a flow begin that wait and for which there is room, and tell their owners.

    Not those that nobody has: they would take the place of others and do nothing. Whoever takes one over asks again.
    """
    waiting = "SELECT id FROM runs WHERE flow = ? AND held = 1 AND finished IS NULL AND owner IS NOT NULL"
    if db.execute(f"{waiting} LIMIT 1", (flow,)).fetchone() is None:
        return
    most = bound_of(db, flow).max_instances
    room = -1 if most is None else max(0, most - len(going(db, flow)))  # -1: without a bound
    for (number,) in db.execute(f"{waiting} ORDER BY id LIMIT ?", (flow, room)).fetchall():
        _release(db, number, now)


def _release(db: sqlite3.Connection, run: int, now: float) -> None:
    db.execute("UPDATE runs SET held = 0 WHERE id = ?", (run,))
    db.execute(
        """
        UPDATE jobs SET unmet = unmet - 1, due = CASE WHEN unmet = 1 AND delay > 0 THEN ? + delay ELSE due END
        WHERE run = ? AND finished IS NULL""",
        (now, run),
    )
    db.execute(
        """
        INSERT INTO notices (owner, job)
        SELECT owner, id FROM jobs WHERE run = ? AND finished IS NULL AND owner IS NOT NULL ORDER BY id LIMIT 1""",
        (run,),
    )


def refusal(db: sqlite3.Connection, flow: str, bound: Bound) -> tuple[str, tuple[int, ...]] | None:
    """Return why one more run of a flow is not begun, and which are in its way; None when it begins, or waits."""
    others = tuple(number for number, _ in going(db, flow))
    if bound.overlap != "skip" or bound.has_room(len(others)):
        return None
    return refused_beside(flow, others, bound), others
