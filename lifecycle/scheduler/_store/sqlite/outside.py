"""Looking at a store and changing it from outside, as the command line does: no scheduler, one connection."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence

from ..._ground.limits import LOG_CHARACTERS
from ..._ground.text import one_line, shorten
from ..admission import Admitted
from ..filters import JobFilter
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..outside import Retried, number_in, retried
from ..pace import Bound
from ..records import Cancelling, JobRecord, NewJob
from ..revival import Revived
from ..run_records import RunFilter, RunRecord
from ..schedule_records import ScheduleRecord
from . import again, claiming, operations, owners, schedules, views, waiting
from .admission import admit
from .listing import list_jobs, list_runs
from .locks import Doubts
from .place import Place
from .visit import reading, writing


class StoreFile:
    """An SQLite store that schedulers of other processes may be working on.

    Every method opens the file, does one transaction and closes it.

    Args:
        path: the file, which must be there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._place = Place(path)

    def close(self) -> None:
        """Do nothing: nothing is open between two calls."""

    def jobs(self, wanted: JobFilter | None = None) -> Sequence[JobRecord]:
        """Return the newest jobs that are wanted, the newest last; what a process that has ended ran is interrupted.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return list_jobs(db, wanted or JobFilter(), self._dead(db))

    def show(self, job: str) -> JobRecord | None:
        """Return one job with everything, by its number or as the newest of its name.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            number = number_in(job)
            number = views.newest_of(db, job) if number is None else number
            return views.job(db, number, self._dead(db)) if number is not None else None

    def cancel(self, job: str, reason: str) -> tuple[int, Cancelling] | None:
        """Cancel one job, by its number or as the newest of its name that has not ended.

        One that runs is stopped by its scheduler, within a fraction of a second.

        Returns:
            Its number and what the request met, None when there is no such job.

        Raises:
            StoreError: the store cannot be changed.
        """
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        with writing(self._place) as db:
            owners.retire_dead_owners(db, self._place.path)
            number = number_in(job)
            if number is None:
                number = views.newest_of(db, job, unended=True) or views.newest_of(db, job)
            if number is None:
                return None
            cancelling = operations.cancel(db, number, reason, time.time(), None)
            return (number, cancelling) if cancelling.found else None

    def cancel_run(self, run: int, reason: str) -> tuple[int, int] | None:
        """Cancel all jobs of a run that have not ended.

        Returns:
            How many were cancelled at once and how many run and are being stopped, None when there is no such run.

        Raises:
            StoreError: the store cannot be changed.
        """
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        with writing(self._place) as db:
            owners.retire_dead_owners(db, self._place.path)
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone() is None:
                return None
            settled, running = operations.cancel_run(db, run, reason, time.time(), None)
            return len(settled.skipped), len(running)

    def retry(self, jobs: Sequence[str], *, force: bool) -> Sequence[Retried]:
        """Let jobs wait again that have ended, each by its number or as the newest of its name.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            owners.retire_dead_owners(db, self._place.path)
            numbers = {job: views.newest_of(db, job) if number_in(job) is None else number_in(job) for job in jobs}
            asked = [number for number in numbers.values() if number is not None]
            revived = again.revive_jobs(db, asked, force=force, by=None, known=(), now=time.time())
            return [retried(job, number, revived) for job, number in numbers.items()]

    def submit(self, new: NewJob) -> Admitted:
        """Store a job for whichever scheduler knows its handler, and tell those that work on the store.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            admitted = admit(db, new, None, time.time())
            if admitted.job is not None:
                again.tell_all(db, None, admitted.job)
            return admitted

    def set_priority(self, job: str, priority: int) -> tuple[int, bool] | None:
        """Give a job that waits another priority, by its number or as the newest of its name that has not ended.

        Returns:
            Its number and whether it waits, None when there is no such job.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            number = number_in(job)
            if number is None:
                number = views.newest_of(db, job, unended=True) or views.newest_of(db, job)
            if number is None or not views.exists(db, number):
                return None
            return number, operations.set_priority(db, number, priority)

    def retry_run(self, run: int) -> Revived | None:
        """Let all jobs of a run wait again that have ended and did not succeed; None when there is no such run.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            owners.retire_dead_owners(db, self._place.path)
            return again.revive_run(db, run, by=None, known=(), now=time.time())

    def untaken(self, jobs: Collection[int]) -> dict[int, str]:
        """Return what those of these jobs wait for that no scheduler has taken, by number.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            dead = self._dead(db)
            alone = views.unowned(db, jobs, dead)
            records = {number: views.job(db, number, dead) for number in alone}
            return {number: record.waits_for for number, record in records.items() if record and record.waits_for}

    def unfinished_jobs(self, run: int) -> Sequence[int]:
        """Return the numbers of the jobs of a run that have not ended.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return [job.id for job in views.jobs_of(db, run) if not job.status.final]

    def alive(self) -> bool:
        """Return whether a scheduler works on it.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return waiting.owners_of(db, self._dead(db)).any_alive

    def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        """Return those of these jobs that have ended, and None for those that there are not any more.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return views.ended_jobs(db, jobs)

    def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        """Return the newest runs that are wanted, the newest last; what a process that has ended had is interrupted.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return list_runs(db, wanted, self._dead(db))

    def run(self, run: int) -> RunRecord | None:
        """Return one run, None when there is no such run.

        Raises:
            StoreError: the store cannot be read.
        """
        return next(iter(self.runs(RunFilter(run=run, limit=1))), None)

    def ended_runs(self, runs: Collection[int]) -> Mapping[int, RunRecord | None]:
        """Return those of these runs that have ended, and None for those that there are not any more.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            ended = views.ended_runs(db, runs)
            return {run: next(iter(list_runs(db, RunFilter(run=run, limit=1))), None) for run in ended}

    def schedules(self) -> Sequence[ScheduleRecord]:
        """Return all schedules, by name.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return schedules.records(db)

    def pause_schedule(self, name: str) -> bool:
        """Pause a schedule until it is resumed; return whether there is one.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return schedules.pause(db, name)

    def resume_schedule(self, name: str) -> bool:
        """End a pause; what was due meanwhile is not made up for. Return whether there is such a schedule.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return schedules.resume(db, name, time.time())

    def remove_schedule(self, name: str) -> bool:
        """Remove a schedule; what it has submitted goes on. Return whether there was one.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return schedules.remove(db, name)

    def bound_schedule(self, name: str, bound: Bound) -> bool:
        """Change how many of a schedule's runs go on at once; return whether there is one.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return schedules.set_bound(db, name, bound)

    def trigger_schedule(self, name: str) -> bool:
        """Ask a scheduler that knows what to run for a run; return whether there is such a schedule.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return schedules.request_run(db, name)

    def limits(self) -> Sequence[LimitRecord]:
        """Return all limits, and the queues that have jobs.

        Raises:
            StoreError: the store cannot be read.
        """
        with reading(self._place) as db:
            return claiming.limit_records(db)

    def put_limit(self, new: Limit) -> None:
        """Set a limit, but for its pause, which stays as it is.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            claiming.put_limit(db, new)

    def pause(self, key: LimitKey, *, paused: bool) -> bool:
        """Pause what a limit is about, or resume it; return whether that changed anything.

        Raises:
            StoreError: the store cannot be changed.
        """
        with writing(self._place) as db:
            return claiming.pause(db, key, paused=paused)

    def _dead(self, db: sqlite3.Connection) -> list[int]:
        return [owner for owner, _ in owners.dead_owners(db, self._place.path, Doubts())]
