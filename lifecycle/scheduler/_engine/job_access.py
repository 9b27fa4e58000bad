"""Jobs by their numbers: what a scheduler can tell of any job in its store, and do with it, whoever submitted it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from .._ground.checks import check_flag, check_integer, check_name, check_number
from .._ground.errors import JobConflict
from .._store.filters import job_filter
from .._store.records import JobRecord, JobStatus
from .._work.handlers import registered_handlers
from .job import Job
from .life import Life


class JobAccess:
    """The part of a `Scheduler` that is about single jobs, by their numbers in the store."""

    _life: Life

    async def cancel(self, job_id: int, reason: str | None = None) -> bool:
        """Ask the job with this number to end, queued or running; return False when there is none or it had ended.

        Cancellation: the request may have been noted.

        Raises:
            TypeError: the number is no integer, or the reason no string.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_number(job_id, "job_id")
        check_name(reason, "reason")
        return await self._life.entered().cancel_job(job_id, reason or "cancelled")

    async def retry(self, job_id: int, *, force: bool = False) -> Job:
        """Let a job wait again that has ended and did not succeed, and what was skipped because of it; return a handle.

        Its attempts go on counting, its allowance of ``retries`` begins anew, and it waits for no delay. Its run is
        open again. A scheduler that knows the handler, or that version of the flow, runs it: this one at once, another
        within a second. Until its next attempt has ended, the store shows the error of the last one; a note of
        it stays in the job's log.

        Cancellation: it may wait again.

        Args:
            job_id: its number.
            force: also when it has succeeded, or needs a job that did not and has been deleted; what needs it and has
                run is not run again.

        Raises:
            LookupError: there is no such job. A store in memory forgets one that has ended, with its run.
            JobConflict: it has not ended, has succeeded, or needs a job that did not succeed.
            TypeError, ValueError: an argument is not right.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_number(job_id, "job_id")
        check_flag(force, "force")
        engine = self._life.accepting()
        known = (*registered_handlers(), *engine.runs.flows)
        revived = await engine.store.revive_jobs([job_id], known, force=force)
        if revived.missing:
            raise LookupError(f"there is no job {job_id} in the store")
        if why := revived.refused.get(job_id):
            raise JobConflict(f"job {job_id} cannot be tried again: {why}", job_id)
        engine.store.look_again()
        return await engine.find(job_id)

    async def set_priority(self, job_id: int, priority: int) -> bool:
        """Give a job that waits another priority; return False when there is none that waits.

        Cancellation: it may have been changed.

        Args:
            job_id: its number.
            priority: higher is first, as for `submit`.

        Raises:
            TypeError, ValueError: the number or the priority is no integer, or out of its range.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_number(job_id, "job_id")
        check_integer(priority, "priority", -(10**6), 10**6)
        return await self._life.entered().store.set_priority(job_id, priority)

    async def find(self, job_id: int) -> Job:
        """Return a handle on the job with this number, whichever process submitted it or runs it, to wait for it.

        Of a job that another process runs, its `wait` learns within a second that it has ended: one question to the
        store for all that is waited for.

        Cancellation: nothing has happened.

        Raises:
            LookupError: there is no such job. A store in memory forgets one that has ended, with its run.
            TypeError: the number is no integer.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_number(job_id, "job_id")
        return await self._life.entered().find(job_id)

    async def job(self, job_id: int) -> JobRecord | None:
        """Return what the store knows of the job with this number, None when there is no such job.

        A store in memory forgets a job that has ended, with its run.

        Cancellation: nothing has happened.

        Raises:
            TypeError: the number is no integer.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_number(job_id, "job_id")
        return await self._life.entered().store.job(job_id)

    async def jobs(
        self,
        *,
        status: JobStatus | Collection[JobStatus] | None = None,
        run: int | None = None,
        flow: str | None = None,
        name: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        limit: int = 1_000,
    ) -> Sequence[JobRecord]:
        """Return the newest jobs that the store knows, the newest last, without results, logs and traces.

        Cancellation: nothing has happened.

        Args:
            status: only those in this state, or in one of these.
            run: only those of the run with this number.
            flow: only those of runs of the flow of this name.
            name: only those of this name.
            since, until: only those that were submitted at or after the one and before the other: datetimes with a
                time zone, or seconds since 1970.
            limit: how many at most, 1 or more.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
            TypeError, ValueError: an argument is not right.
        """
        wanted = job_filter(status=status, run=run, flow=flow, name=name, since=since, until=until, limit=limit)
        return await self._life.entered().store.jobs(wanted)
