"""What a scheduler needs of a store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from .._ground.errors import StoreError
from .admission import Admitted
from .filters import JobFilter
from .limit_record import LimitRecord
from .limits import Limit, LimitKey
from .messages import Notice, Report
from .pace import Bound
from .patience import Trouble
from .records import (
    Cancelling,
    Claimed,
    Claims,
    Ending,
    JobRecord,
    LeftRuns,
    NewJob,
    NewRun,
    OpenedRun,
    Outputs,
    Settled,
    StoredRun,
)
from .revival import Revived
from .run_records import RunFilter, RunRecord
from .schedule_records import NewSchedule, ScheduleRecord, Submitted
from .upkeep import StoreUpkeep
from .waiting import LeftWork


class Store(Protocol):
    """Keeps jobs and says which is next. Every method is one transaction.

    All are awaited by the scheduler and raise StoreError when the store cannot be used any more: one and the same
    object, however many get it. Those that bring new work raise StoreBusy while it cannot be written for long. A
    cancellation of any of them ends the waiting; what was asked for may have been done.
    """

    durable: bool
    identity: str  #: which store this is, also of a copy: ten hexadecimal digits, made with its tables
    shared: bool  #: whether schedulers of other processes run the jobs that this one was given

    @property
    def failure(self) -> StoreError | None:
        """Why the store cannot be used any more, None while it can."""

    def watch(self, tell: Callable[[Trouble], object]) -> None:
        """Have *tell* called in the loop when the store waits for a fault that may pass, and when that has passed.

        Called before `open`. Meanwhile what has to be recorded waits; new work is refused with StoreBusy after a while.
        """

    def attend(self, look: Callable[[], object], stop: Callable[[int, int, str], object]) -> None:
        """Have *look* called in the loop when others have changed something that may concern us.

        And *stop* with a job, its attempt and a reason when that is to be stopped, before `notices` say so.

        Called before `open`. A store that is not told of it calls it never: who wants to know looks from time to time.
        """

    async def open(self) -> None:
        """Open the store and register as an owner of jobs."""

    async def aclose(self) -> None:
        """Mark what still runs as interrupted, give up the ownership and close. Idempotent."""

    async def add_job(self, job: NewJob) -> int:
        """Store a job by itself and return its number."""

    async def admit_job(self, job: NewJob) -> Admitted:
        """Store a job by itself unless its key is taken, or it needs what is not there; say what became of it."""

    async def adopt_jobs(self, handlers: Collection[str]) -> int:
        """Take over the jobs by themselves that a dead process has left, if their handler is known."""

    async def open_run(self, run: NewRun, *, resume: bool, fresh: bool) -> OpenedRun:
        """Store a run, or take over its unfinished one.

        Args:
            run: the run.
            resume: take over an unfinished run of the same flow and parameters.
            fresh: cancel what is left of such a run and begin a new one.

        Raises:
            RunConflict: another process works on such a run, or its flow has changed.
        """

    async def adopt_runs(self, flow: str, digest: str) -> LeftRuns:
        """Take over the unfinished runs of a flow that no process works on, those of this version of it."""

    async def run(self, run_id: int) -> StoredRun | None:
        """Return what is known of a run, None when there is none."""

    async def claim(self, limit: int, now: float) -> Claims:
        """Start an attempt of the most urgent ready jobs, at most *limit*."""

    async def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Sequence[Claimed]:
        """Wait until there is room and a job is ready, and start an attempt of the most urgent ones.

        Meanwhile schedules that are due become jobs and runs, those whose handler or flow is among the *known*, the
        names of handlers and the keys of flows. One task may wait at a time. *room* is asked whenever something has
        been written, maybe in another thread, and whenever `look_again` is called. Jobs that have expired are
        cancelled, with notices to their owners; the answer may be empty then.
        """

    def look_again(self) -> None:
        """Have `take` see that there is more room."""

    async def give_back(self, jobs: Sequence[Claimed], now: float) -> Collection[int]:
        """Make jobs that were taken and not begun pending again, as if they had not been taken.

        Returns the numbers of those that are; of one that was cancelled meanwhile, its end has to be recorded.
        """

    async def finish(self, job_id: int, attempt: int, ending: Ending, now: float) -> Settled:
        """End a job, if *attempt* is still its attempt."""

    async def retry(self, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
        """Make a job pending again from the wall-clock time *due* on; return False when it is not ours or unwanted."""

    async def report(self, reports: Sequence[Report]) -> None:
        """Keep what running attempts show of themselves, of those that still run."""

    async def revive_jobs(self, jobs: Collection[int], known: Collection[str], *, force: bool) -> Revived:
        """Let jobs wait again that have ended, and what was skipped because of them.

        What is of a handler or a flow that is not *known* is left to others.
        """

    async def revive_run(self, run_id: int, known: Collection[str]) -> Revived | None:
        """Let all jobs of a run wait again that have ended and did not succeed; None when there is no such run."""

    async def cancel(self, job_id: int, reason: str, now: float) -> Cancelling:
        """Cancel a job that does not run, or note the request for one that does."""

    async def cancel_run(self, run_id: int, reason: str, now: float) -> tuple[Settled, tuple[int, ...]]:
        """Cancel the jobs of a run that do not run; return what followed and the numbers of those that have to stop.

        Those that run ``always`` are left alone by the first request, and cancelled by the second.
        """

    async def set_priority(self, job_id: int, priority: int) -> bool:
        """Give a job that waits another priority; return whether it does."""

    async def put_ahead(self, job_id: int, of: int) -> None:
        """Make a job that does not run more urgent than another one, which waits for it, if it is not already."""

    async def outputs(self, run_id: int, names: Collection[str]) -> Outputs:
        """Return the outputs of succeeded jobs of a run, by name."""

    async def fates(self, run_id: int, names: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
        """Return the status and the error of jobs of a run, by name."""

    async def notices(self) -> Sequence[Notice]:
        """Return and forget what others have done to our jobs: other processes, and time."""

    async def jobs_of(self, run_id: int) -> Sequence[JobRecord]:
        """Return all jobs of a run, without results, logs and traces, in their order."""

    async def unfinished(self, limit: int) -> Sequence[str]:
        """Return the names of our jobs that run, are ready or are delayed, *limit* at most."""

    async def left_work(self) -> LeftWork:
        """Return the unfinished jobs and runs that no owner has, by what they wait for."""

    async def job(self, job_id: int) -> JobRecord | None:
        """Return one job with everything."""

    async def jobs(self, wanted: JobFilter) -> Sequence[JobRecord]:
        """Return the newest jobs that are wanted, the newest last, without results, logs and traces."""

    async def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        """Return those of these jobs that have ended, and None for those that there are not any more."""

    async def highest_job(self) -> int:
        """Return the highest number that a job has ever had here, 0 when there was none."""

    async def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        """Return the newest runs that are wanted, the newest last."""

    async def ended_runs(self, runs: Collection[int]) -> Collection[int]:
        """Return the numbers of those of these runs that have ended, or are not there any more."""

    async def put_schedule(self, new: NewSchedule) -> ScheduleRecord:
        """Store a schedule, or change the one of this name; its due times stay unless its timing has changed."""

    async def schedule(self, name: str) -> ScheduleRecord | None:
        """Return one schedule, None when there is none of that name."""

    async def schedules(self) -> Sequence[ScheduleRecord]:
        """Return all schedules, by name."""

    async def remove_schedule(self, name: str) -> bool:
        """Remove a schedule; its jobs stay. Return whether there was one."""

    async def pause_schedule(self, name: str) -> bool:
        """Pause a schedule until it is resumed; return whether there is one."""

    async def resume_schedule(self, name: str) -> bool:
        """End a pause; what was due meanwhile is not made up for. Return whether there is such a schedule."""

    async def bound_schedule(self, name: str, bound: Bound) -> bool:
        """Change how many of a schedule's runs go on at once; return whether there is one."""

    async def trigger_schedule(self, name: str, flows: Collection[str] = ()) -> Submitted | None:
        """Submit a run now, besides those that are due; return what was submitted.

        None when there is no such schedule, or its flow is not among those with the keys *flows*.
        """

    async def limits(self) -> Sequence[LimitRecord]:
        """Return all limits, and the queues that have jobs."""

    async def put_limit(self, new: Limit) -> None:
        """Set a limit, but for its pause, which stays as it is."""

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        """Pause what a limit is about, or resume it; return whether that changed anything."""

    def upkeep(self) -> StoreUpkeep | None:
        """Return what looks after the file of the store; None where there is no such file."""

    def forget(self, run_id: int) -> None:
        """Drop a finished run; only a store in memory has to."""
