"""Looking at a store and changing it from outside, as the command line does: no scheduler works in this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from .admission import Admitted
from .filters import JobFilter
from .limit_record import LimitRecord
from .limits import Limit, LimitKey
from .pace import Bound
from .records import Cancelling, JobRecord, NewJob
from .revival import Revived
from .run_records import RunFilter, RunRecord
from .schedule_records import ScheduleRecord


class Retried(NamedTuple):
    """What became of one request to try a job again.

    Attributes:
        job: as it was asked for.
        number: its number, None when there is no such job.
        refused: why it does not wait again, None when it does.
    """

    job: str
    number: int | None
    refused: str | None = None

    @property
    def effect(self) -> str:
        """What it comes to, in a word."""
        return "missing" if self.number is None else "refused" if self.refused else "waits"


def retried(job: str, number: int | None, revived: Revived) -> Retried:
    """Return what became of one request, of what became of all."""
    if number is None or number in revived.missing:
        return Retried(job, None)
    return Retried(job, number, revived.refused.get(number))


def number_in(job: str) -> int | None:
    """Return the number that *job* is, None for a name."""
    return int(job) if job.isascii() and job.isdigit() and len(job) < 19 else None


class OutsideStore(Protocol):
    """A store that schedulers of other processes may be working on.

    Every method blocks, and is one transaction; all raise StoreError when the store cannot be used.
    """

    def close(self) -> None:
        """Close what is open between two calls. Idempotent."""

    def jobs(self, wanted: JobFilter | None = None) -> Sequence[JobRecord]:
        """Return the newest jobs that are wanted, the newest last; what a process that has ended ran is interrupted."""

    def show(self, job: str) -> JobRecord | None:
        """Return one job with everything, by its number or as the newest of its name."""

    def cancel(self, job: str, reason: str) -> tuple[int, Cancelling] | None:
        """Cancel one job, by its number or as the newest of its name that has not ended.

        One that runs is stopped by its scheduler, within a fraction of a second.

        Returns:
            Its number and what the request met, None when there is no such job.
        """

    def cancel_run(self, run: int, reason: str) -> tuple[int, int] | None:
        """Cancel all jobs of a run that have not ended.

        Returns:
            How many were cancelled at once and how many run and are being stopped, None when there is no such run.
        """

    def retry(self, jobs: Sequence[str], *, force: bool) -> Sequence[Retried]:
        """Let jobs wait again that have ended, each by its number or as the newest of its name."""

    def submit(self, new: NewJob) -> Admitted:
        """Store a job for whichever scheduler knows its handler, and tell those that work on the store."""

    def set_priority(self, job: str, priority: int) -> tuple[int, bool] | None:
        """Give a job that waits another priority, by its number or as the newest of its name that has not ended.

        Returns:
            Its number and whether it waits, None when there is no such job.
        """

    def retry_run(self, run: int) -> Revived | None:
        """Let all jobs of a run wait again that have ended and did not succeed; None when there is no such run."""

    def untaken(self, jobs: Collection[int]) -> dict[int, str]:
        """Return what those of these jobs wait for that no scheduler has taken, by number."""

    def unfinished_jobs(self, run: int) -> Sequence[int]:
        """Return the numbers of the jobs of a run that have not ended."""

    def alive(self) -> bool:
        """Return whether a scheduler works on it."""

    def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        """Return those of these jobs that have ended, and None for those that there are not any more."""

    def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        """Return the newest runs that are wanted, the newest last; what a process that has ended had is interrupted."""

    def run(self, run: int) -> RunRecord | None:
        """Return one run, None when there is no such run."""

    def ended_runs(self, runs: Collection[int]) -> Mapping[int, RunRecord | None]:
        """Return those of these runs that have ended, and None for those that there are not any more."""

    def schedules(self) -> Sequence[ScheduleRecord]:
        """Return all schedules, by name."""

    def pause_schedule(self, name: str) -> bool:
        """Pause a schedule until it is resumed; return whether there is one."""

    def resume_schedule(self, name: str) -> bool:
        """End a pause; what was due meanwhile is not made up for. Return whether there is such a schedule."""

    def remove_schedule(self, name: str) -> bool:
        """Remove a schedule; what it has submitted goes on. Return whether there was one."""

    def bound_schedule(self, name: str, bound: Bound) -> bool:
        """Change how many of a schedule's runs go on at once; return whether there is one."""

    def trigger_schedule(self, name: str) -> bool:
        """Ask a scheduler that knows what to run for a run; return whether there is such a schedule."""

    def limits(self) -> Sequence[LimitRecord]:
        """Return all limits, and the queues that have jobs."""

    def put_limit(self, new: Limit) -> None:
        """Set a limit, but for its pause, which stays as it is."""

    def pause(self, key: LimitKey, *, paused: bool) -> bool:
        """Pause what a limit is about, or resume it; return whether that changed anything."""
