"""Again by hand in an SQLite file: jobs that have ended wait once more, and with them what was skipped because of them.

Steps that run anyway, on failure or always, run once more after what they need has: the first time they have put in
order what is now done again.

The attempts go on counting, so that one which was lost cannot end the new one; the allowance of failures begins anew.
What an attempt left, its error and its log, stays until the next one has ended; a note of it stays for good.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ..records import JobStatus, flow_key
from ..revival import (
    DELETED,
    NEED_DELETED,
    Revived,
    note,
    refusal,
    refused_for_needs,
    refused_for_step,
    refused_for_twin,
)
from . import instances
from .entering import make_room
from .owners import adopt_run
from .settling import notify

_WAIT_AGAIN: Final = """
    UPDATE jobs SET state = 'pending', owner = ?, history = ?, cancel = NULL, due = 0, finished = NULL, failures = 0,
                    crashes = 0, expires = NULL, skipped = 0, result = NULL, progress_done = NULL,
                    progress_total = NULL, error = CASE WHEN attempt = 0 THEN NULL ELSE error END
    WHERE id = ?"""

_BADLY: Final = "jobs.state IN ('failed', 'timed_out', 'cancelled')"

_HELD_UP: Final = f"""
    needs LEFT JOIN jobs ON jobs.id = needs.needed JOIN jobs AS own ON own.id = needs.job
    WHERE needs.job = ? AND ({_BADLY} OR jobs.id IS NULL) AND NOT needs.tolerant AND own.when_ IS NULL"""
"""What a job needs to succeed, and did not; of what has been deleted only that is known any more."""


def revive_jobs(
    db: sqlite3.Connection, wanted: Iterable[int], *, force: bool, by: int | None, known: Collection[str], now: float
) -> Revived:
    """Let jobs wait again that have ended, where nothing speaks against it.

    Args:
        db: the connection, in a transaction in which no owner is dead.
        wanted: their numbers.
        force: also those that have succeeded.
        by: the owner that asks, None for nobody.
        known: the names of the handlers and the keys of the flows that it knows: it takes those itself. The others are
            told of the rest.
        now: the wall-clock time.
    """
    return _Revival(db, by, known, now).revive(wanted, force)


def revive_run(
    db: sqlite3.Connection, run: int, *, by: int | None, known: Collection[str], now: float
) -> Revived | None:
    """Let all jobs of a run wait again that have ended and did not succeed; None when there is no such run.

    An unfinished run that nobody works on is taken over as well by an owner that knows its flow.
    """
    row = db.execute("SELECT owner, flow, digest, finished FROM runs WHERE id = ?", (run,)).fetchone()
    if row is None:
        return None
    owner, flow, digest, finished = row
    if owner is None and finished is None:
        if flow_key(flow, digest) in known:
            adopt_run(db, run, by)
        else:
            left = "SELECT min(id) FROM jobs WHERE run = ? AND state IN ('pending', 'interrupted')"
            tell_all(db, by, db.execute(left, (run,)).fetchone()[0])
    jobs = db.execute(f"SELECT id FROM jobs WHERE run = ? AND {_BADLY} ORDER BY id", (run,)).fetchall()
    return revive_jobs(db, [number for (number,) in jobs], force=False, by=by, known=known, now=now)


class _Revival:
    """Goes from the jobs that are wanted down to those that need them, along each need once.

    A job waits again as soon as nothing that it needs has ended badly any more.
    """

    def __init__(self, db: sqlite3.Connection, by: int | None, known: Collection[str], now: float) -> None:
        self._db = db
        self._by, self._known, self._now = by, known, now
        self._blocks: dict[int, int] = {}  # by how many of its needs a job is held up
        self._owners: dict[int, int | None] = {}  # of the runs
        self._beside: dict[int, str | None] = {}  # why the runs are not open again, if they are not
        self._whole: dict[int, bool] = {}  # whether the runs have all their jobs
        self._owned: dict[int, int | None] = {}  # what waits again: whose it is
        self._counts: Counter[int] = Counter()  # and how many of each run

    def revive(self, wanted: Iterable[int], force: bool) -> Revived:
        """Let jobs wait again."""
        wanted = list(dict.fromkeys(wanted))
        states = {number: self._state(number) for number in wanted}
        refused = {number: why for number, row in states.items() if row and (why := self._refusal(*row, force))}
        above = self._above_running_steps()
        refused = {**{n: refused_for_step(above[n]) for n, row in states.items() if row and n in above}, **refused}
        eligible = {number for number, row in states.items() if row and number not in refused}
        if force:  # what has been deleted is not needed any more
            gone = "DELETE FROM needs WHERE job = ? AND needed NOT IN (SELECT id FROM jobs)"
            self._db.executemany(gone, [(number,) for number in eligible])
        queue = deque(number for number in wanted if number in eligible and not self._held_up(number))
        while queue:
            number = queue.popleft()
            if number in self._owned:
                continue  # it was met twice
            if twin := self._twin(number):
                refused[number] = refused_for_twin(twin)
                continue
            before = self._wait_again(number)
            for dependant, skipped, by_this, runs_anyway in self._dependants(number):
                # Because of what has succeeded nothing was skipped, and what was not needed held nobody up.
                followed = before is not JobStatus.SUCCEEDED and (skipped or dependant in eligible)
                freed = by_this if before is not JobStatus.SKIPPED else 0
                if runs_anyway or (followed and not self._held_up(dependant, freed)):
                    queue.append(dependant)
        held_up = eligible - self._owned.keys() - refused.keys()
        refused |= {number: self._needed(number) for number in held_up}
        flows = self._open_runs()
        self._count_unmet()
        for flow in flows:
            instances.let_in(self._db, flow, self._now)
        self._tell()
        return Revived(
            tuple(number for number in wanted if number in self._owned),
            len(self._owned) - len(eligible & self._owned.keys()),
            tuple(number for number, row in states.items() if row is None),
            refused,
            tuple(number for number, owner in self._owned.items() if owner == self._by is not None),
        )

    def _state(self, number: int) -> tuple[JobStatus, int | None] | None:
        row = self._db.execute("SELECT state, run FROM jobs WHERE id = ?", (number,)).fetchone()
        return None if row is None else (JobStatus(row[0]), row[1])

    def _refusal(self, status: JobStatus, run: int | None, force: bool) -> str | None:
        if why := refusal(status, force):
            return why
        if run is None:
            return None
        return self._refused_beside(run) or (None if self._is_whole(run) else DELETED)

    def _refused_beside(self, run: int) -> str | None:
        """Return why a run that has ended is not open again beside others of its flow."""
        if run not in self._beside:
            flow, ended = self._db.execute(
                "SELECT flow, finished IS NOT NULL FROM runs WHERE id = ?", (run,)
            ).fetchone()
            refused = instances.refusal(self._db, flow, instances.bound_of(self._db, flow)) if ended else None
            self._beside[run] = refused and refused[0]
        return self._beside[run]

    def _twin(self, number: int) -> int | None:
        """Return the number of a job with the same key that has not ended."""
        row = self._db.execute(
            """
            SELECT twin.id FROM jobs JOIN jobs AS twin ON twin.key = jobs.key AND twin.finished IS NULL
            WHERE jobs.id = ?""",
            (number,),
        ).fetchone()
        return None if row is None else int(row[0])

    def _is_whole(self, run: int) -> bool:
        if run not in self._whole:
            counts = "SELECT jobs = (SELECT count(*) FROM jobs WHERE run = runs.id) FROM runs WHERE id = ?"
            row = self._db.execute(counts, (run,)).fetchone()
            self._whole[run] = bool(row and row[0])
        return self._whole[run]

    def _held_up(self, number: int, freed: int = 0) -> int:
        """Return how many of a job's needs have ended badly, *freed* fewer than when it was asked before."""
        if number in self._blocks:
            self._blocks[number] -= freed
        else:
            query = f"SELECT count(*) FROM {_HELD_UP}"
            self._blocks[number] = self._db.execute(query, (number,)).fetchone()[0]
        return self._blocks[number]

    def _needed(self, number: int) -> str:
        query = f"SELECT jobs.name, jobs.state FROM {_HELD_UP} ORDER BY jobs.id LIMIT 1"
        name, state = self._db.execute(query, (number,)).fetchone()
        return NEED_DELETED if state is None else refused_for_needs(name, JobStatus(state))

    def _dependants(self, number: int) -> Sequence[tuple[int, int, int, int]]:
        """Return those that need a job: number, whether it was skipped, was held up by a failure, is to run anyway."""
        return self._db.execute(
            """
            SELECT jobs.id, jobs.skipped, NOT tolerant AND when_ IS NULL, when_ IS NOT NULL AND finished IS NOT NULL
            FROM needs JOIN jobs ON jobs.id = needs.job WHERE needed = ?""",
            (number,),
        ).fetchall()

    def _above_running_steps(self) -> dict[int, str]:
        """Return what is above steps that run anyway, and run now: the numbers, each with the name of such a step."""
        above: dict[int, str] = {}
        running = "SELECT id, name FROM jobs WHERE state = 'running' AND when_ IS NOT NULL ORDER BY id"
        for step, name in self._db.execute(running).fetchall():
            queue = [step]
            while queue:
                for (needed,) in self._db.execute("SELECT needed FROM needs WHERE job = ?", (queue.pop(),)).fetchall():
                    if needed not in above:
                        above[needed] = name
                        queue.append(needed)
        return above

    def _wait_again(self, number: int) -> JobStatus:
        """Let one job wait again, and return how it had ended."""
        state, attempt, error, history, run, handler = self._db.execute(
            "SELECT state, attempt, error, history, run, handler FROM jobs WHERE id = ?", (number,)
        ).fetchone()
        status = JobStatus(state)
        if run is None:
            owner = self._by if handler in self._known else None
        else:
            owner = self._owner_of(run)
            self._counts[run] += 1
        self._owned[number] = owner
        self._db.execute(_WAIT_AGAIN, (owner, note(history, self._now, status, attempt, error), number))
        return status

    def _owner_of(self, run: int) -> int | None:
        """Return who has a run; one that nobody has is ours if we know the flow."""
        if run not in self._owners:
            owner, flow, digest = self._db.execute(
                "SELECT owner, flow, digest FROM runs WHERE id = ?", (run,)
            ).fetchone()
            if owner is None and flow_key(flow, digest) in self._known:
                owner = self._by
                adopt_run(self._db, run, owner)
            self._owners[run] = owner
        return self._owners[run]

    def _count_unmet(self) -> None:
        """Find anew for how many of its needs a job waits, and how the others ended: what waits again, and for that.

        One that runs as well, because its needs are met: each end is counted, and it may have to wait once more itself.
        """
        waiting = {dependant for number in self._owned for dependant, *_ in self._dependants(number)}
        those = "FROM needs LEFT JOIN jobs AS above ON above.id = needs.needed WHERE needs.job = jobs.id"
        needs = f"{those} AND above.id IS NOT NULL AND above.finished"
        badly = _BADLY.replace("jobs.", "above.")
        self._db.executemany(
            f"""
            UPDATE jobs SET unmet = (SELECT count(*) {needs} IS NULL)
                    + coalesce((SELECT held FROM runs WHERE runs.id = jobs.run), 0),
                trouble = EXISTS (SELECT 1 {needs} IS NOT NULL AND (above.trouble OR {badly})
                    AND (jobs.run IS NOT NULL OR NOT tolerant)),
                blocked = (
                    SELECT 'needs ' || coalesce(char(39) || above.name || char(39), 'job ' || needed) || ', which ' ||
                        CASE above.state WHEN 'failed' THEN 'failed' WHEN 'timed_out' THEN 'timed out'
                        WHEN 'cancelled' THEN 'was cancelled' ELSE 'did not succeed' END
                    {those} AND coalesce({badly}, TRUE) AND NOT needs.tolerant LIMIT 1)
            WHERE id = ? AND finished IS NULL""",
            [(number,) for number in self._owned.keys() | waiting],
        )

    def _open_runs(self) -> set[str]:
        """Open the runs, those that had ended as if they were new; return the flows of which some may wait now."""
        # All are counted before the first makes room: it may cancel others of them, with what waits again.
        ended = [run for run in self._counts if self._has_ended(run)]
        self._db.executemany(
            "UPDATE runs SET unfinished = unfinished + ?, status = NULL, cancel = NULL, owner = ? WHERE id = ?",
            [(count, self._owners[run], run) for run, count in self._counts.items()],
        )
        flows = set()
        for run in ended:
            flow, held = self._db.execute("SELECT flow, held FROM runs WHERE id = ?", (run,)).fetchone()
            bound = instances.bound_of(self._db, flow)
            if bound.max_instances is not None:
                make_room(self._db, flow, bound, self._now)
                flows.add(flow)
                held = True
            self._db.execute("UPDATE runs SET finished = NULL, held = ? WHERE id = ?", (held, run))
        return flows

    def _has_ended(self, run: int) -> bool:
        return bool(self._db.execute("SELECT finished IS NOT NULL FROM runs WHERE id = ?", (run,)).fetchone()[0])

    def _tell(self) -> None:
        """Tell those who may take them that there are jobs; of those that nobody has, everybody."""
        one_of_each = {owner: number for number, owner in self._owned.items() if owner != self._by or owner is None}
        for owner, number in one_of_each.items():
            if owner is None:
                tell_all(self._db, self._by, number)
            else:
                notify(self._db, owner, [number])


def tell_all(db: sqlite3.Connection, by: int | None, job: int) -> None:
    """Tell every owner but the one that asks of a job that nobody has."""
    for (owner,) in db.execute("SELECT id FROM owners").fetchall():
        if owner != by:
            notify(db, owner, [job])
