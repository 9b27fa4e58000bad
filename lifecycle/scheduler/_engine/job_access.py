"""Jobs by their numbers: what a scheduler can tell of any job in its store, and do with it, whoever submitted it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .._store.filters import job_filter
from .._store.records import JobRecord, JobStatus

if TYPE_CHECKING:
    from .life import Life


class JobAccess:
    """The part of a `Scheduler` that is about single jobs, by their numbers in the store."""

    _life: Life

    async def cancel(self, job_id: int, reason: str | None = None) -> bool:
        """Ask the job with this number to end, queued or running; return False when there is none or it had ended.

        Cancellation: the request may have been noted.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._life.entered().cancel_job(job_id, reason or "cancelled")

    async def job(self, job_id: int) -> JobRecord | None:
        """Return what the store knows of the job with this number, None when there is no such job.

        A store in memory forgets a job that has ended, with its run.

        Cancellation: nothing has happened.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
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
