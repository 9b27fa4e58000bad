"""The engine of a scheduler: it takes ready jobs from the store, runs them, and records how they ended."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from ._attempt import Attempt
from ._backoff import pause_before
from ._errors import StoreError
from ._events import Event
from ._limits import LOG_CHARACTERS
from ._outcome import Outcome, RunOutcome, run_status
from ._text import one_line, shorten
from ._work import run_block_of, run_handler
from .store._records import Claimed, Ending, JobRecord, JobStatus, Settled

if TYPE_CHECKING:
    from lifecycle import Scope, TaskManager

    from ._context import JobContext
    from ._feed import Feed
    from ._job import FlowRun, Job
    from .store._protocol import Store

logger = logging.getLogger("lifecycle.scheduler")

RECONCILE_INTERVAL = 0.25
"""Seconds between two looks at what other processes have asked of our jobs."""

LONGEST_WAIT = 30.0
"""Seconds after which a waiting dispatcher looks at the wall clock again: it may have been set."""


class Engine:
    """Runs the jobs of one store.

    Args:
        store: where the jobs are.
        tasks: owns the running attempts.
        feed: is told what happens.
        workers: how many attempts run at once.
        limiter: bounds the worker threads.
        close_timeout: seconds that each release of a job may take.
    """

    def __init__(
        self,
        store: Store,
        tasks: TaskManager,
        feed: Feed,
        *,
        workers: int,
        limiter: anyio.CapacityLimiter,
        close_timeout: float,
    ) -> None:
        self.store = store
        self.workers = workers
        self.failure: Exception | None = None
        self.counts: dict[JobStatus, int] = dict.fromkeys(JobStatus, 0)
        # Entries of these two are taken out by the Scope of the job and of the run.
        self.running: dict[int, Attempt] = {}
        self.runs: dict[int, FlowRun] = {}
        # Weak: who does not care how a job ends drops its handle, and a million pending jobs cost no memory here.
        self.jobs: weakref.WeakValueDictionary[int, Job] = weakref.WeakValueDictionary()
        self._tasks = tasks
        self._feed = feed
        self._limiter = limiter
        self._close_timeout = close_timeout
        self._work_to_do = anyio.Event()
        self._somebody_cares = anyio.Event()

    # The two loops

    async def dispatch(self) -> None:
        """Take ready jobs from the store whenever a worker is free, for ever.

        Cancellation: a job that was just taken is found interrupted when the store is closed.

        Raises:
            StoreError: the store cannot be used any more.
        """
        while True:
            self._work_to_do = anyio.Event()
            wait = await self._take_work()
            if self.failure is not None:
                raise self.failure
            with anyio.move_on_after(wait):
                await self._work_to_do.wait()

    async def _take_work(self) -> float:
        """Start what is ready, as far as there are workers; return for how long there is nothing more to start.

        A function of its own, so that no local variable of the waiting dispatcher holds on to a job.
        """
        free = self.workers - len(self.running)
        if free <= 0:
            return LONGEST_WAIT
        claims = await self.store.claim(free, time.time())
        for claimed in claims.jobs:
            self._launch(claimed)
        if claims.next_due is None:
            return LONGEST_WAIT
        return min(LONGEST_WAIT, max(0.0, claims.next_due - time.time()))

    async def reconcile(self) -> None:
        """Look at what other processes have asked of our jobs: one query for all, none while there are no jobs."""
        while True:
            if not (self.running or self.runs or self.jobs):
                self._somebody_cares = anyio.Event()
                await self._somebody_cares.wait()
            await anyio.sleep(RECONCILE_INTERVAL)
            try:
                for notice in await self.store.notices():
                    await self._heed(notice.job_id, notice.run_id, notice.name, notice.reason, notice.running)
                    if notice.run_finished and notice.run_id is not None:
                        await self._end_run(notice.run_id)
            except StoreError as error:
                self.fail(error)
                return

    def wake(self) -> None:
        """Have the dispatcher look for work."""
        self._work_to_do.set()
        self._somebody_cares.set()

    def fail(self, error: Exception) -> None:
        """Stop the scheduler because the ends of jobs cannot be recorded any more."""
        if self.failure is None:
            self.failure = error
        self.wake()

    # One attempt

    def _launch(self, claimed: Claimed) -> None:
        attempt = Attempt(claimed, partial(self._tell, claimed))
        self.running[claimed.id] = attempt
        self._tell(claimed, "job_started", {})
        self._tasks.start_soon(self._perform, attempt, name=f"job {claimed.name}")

    async def _perform(self, attempt: Attempt) -> None:
        claimed = attempt.claimed
        try:
            ending = await attempt.run(
                self._work, close_timeout=self._close_timeout, on_exit=partial(self.running.pop, claimed.id, None)
            )
        except BaseException:
            self.counts[JobStatus.INTERRUPTED] += 1
            data = {"status": "interrupted", "seconds": round(attempt.seconds, 6)}
            self._tell(claimed, "job_finished", data)
            raise
        # The worker is free from here on; the next claim joins the same commit as the record of this end.
        self.wake()
        try:
            await self._record(attempt, ending)
        except Exception as error:  # whatever it is: a job whose end is not recorded would never end
            self.fail(error)

    async def _work(self, attempt: Attempt, scope: Scope, context: JobContext) -> Any:
        claimed = attempt.claimed
        if claimed.run_id is None:
            return await run_handler(claimed, self.store.durable, scope, context, self._limiter)
        run = self.runs[claimed.run_id]
        return await run_block_of(run, claimed, self.store, scope, context, self._limiter)

    async def _record(self, attempt: Attempt, ending: Ending) -> None:
        claimed = attempt.claimed
        if attempt.may_retry(ending):
            pause = pause_before(claimed.failures + 1, claimed.backoff)
            if await self.store.retry(claimed.id, claimed.attempt, ending, time.time() + pause):
                self._tell(claimed, "job_retrying", {"error": ending.error, "delay": round(pause, 3)})
            self.wake()
            return
        settled = await self.store.finish(claimed.id, claimed.attempt, ending, time.time())
        self.wake()
        if not settled.accepted:
            logger.warning("result of a lost attempt dropped", extra={"job": claimed.name, "attempt": claimed.attempt})
            return
        self.counts[ending.status] += 1
        self._tell(claimed, "job_finished", _told(ending))
        job = self.jobs.get(claimed.id)
        if job is not None:
            job._end(_outcome(claimed, ending, attempt.exception))
        await self.settle(settled)

    # What follows from an end

    async def settle(self, settled: Settled) -> None:
        """Tell of the jobs that will not run because of an end, and end the run if that was its last job."""
        for skipped in settled.skipped:
            self.counts[JobStatus.CANCELLED] += 1
            self._tell_cancelled(skipped.id, skipped.name, settled.run_id, skipped.reason)
        if settled.run_finished and settled.run_id is not None:
            await self._end_run(settled.run_id)

    async def cancel_job(self, job_id: int, reason: str) -> bool:
        """Cancel one job, queued or running; return whether it had not ended."""
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        cancelling = await self.store.cancel(job_id, reason, time.time())
        if cancelling.before is None or cancelling.before.final:
            return False
        if cancelling.settled is None:
            if attempt := self.running.get(job_id):
                attempt.cancel(reason)  # if it is not here yet, the store has left a notice for us
            return True
        job = self.jobs.get(job_id)
        name = job.name if job is not None else str(job_id)
        await self._heed(job_id, cancelling.settled.run_id, name, reason, running=False)
        await self.settle(cancelling.settled)
        return True

    async def cancel_run(self, run_id: int, reason: str) -> bool:
        """Cancel all jobs of a run that have not ended; return whether there was one."""
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        settled, running = await self.store.cancel_run(run_id, reason, time.time())
        for job_id in running:
            if attempt := self.running.get(job_id):
                attempt.cancel(reason)
        await self.settle(settled)
        return bool(running or settled.skipped)

    async def _heed(self, job_id: int, run_id: int | None, name: str, reason: str, running: bool) -> None:
        if running:
            if attempt := self.running.get(job_id):
                attempt.cancel(reason)
            return
        self.counts[JobStatus.CANCELLED] += 1
        self._tell_cancelled(job_id, name, run_id, reason)
        if job := self.jobs.get(job_id):
            job._end(Outcome(name, JobStatus.CANCELLED, error=reason))

    async def _end_run(self, run_id: int) -> None:
        run = self.runs.get(run_id)
        if run is not None:
            await run._scope.aclose()  # runs close_run
            self.store.forget(run_id)

    async def close_run(self, run: FlowRun) -> None:
        """Give a run its outcome; the release of the run's scope. Jobs that are left make it *interrupted*."""
        try:
            jobs = tuple(_interrupted(job) for job in await self.store.jobs_of(run.id))
        except StoreError as error:
            self.fail(error)
            jobs = ()
        status = run_status(jobs, cancelled=run.cancelled) if jobs else JobStatus.INTERRUPTED
        outcome = RunOutcome(run.flow.name, run.id, status, jobs)
        data = {"flow": run.flow.name, "status": status.value, "jobs": dict(outcome.counts())}
        self._feed.tell(Event("run_finished", run_id=run.id, data=data))
        run._end(outcome)

    def close_jobs(self) -> None:
        """Give everybody who still waits for a job the outcome *interrupted*; nothing runs any more."""
        for job in list(self.jobs.values()):
            if not job.done:
                reason = "the scheduler was closed before the job ended"
                job._end(Outcome(job.name, JobStatus.INTERRUPTED, error=reason))

    # Telling

    def tell_draining(self) -> None:
        """Tell which jobs still run."""
        names = [attempt.claimed.name for attempt in self.running.values()]
        if names:
            self._feed.tell(Event("draining", data={"running": names[:20], "count": len(names)}))

    def _tell(self, claimed: Claimed, kind: str, data: Mapping[str, Any]) -> None:
        self._feed.tell(Event(kind, claimed.id, claimed.name, claimed.run_id, claimed.attempt, data))

    def _tell_cancelled(self, job_id: int, name: str, run_id: int | None, reason: str) -> None:
        data = {"status": "cancelled", "error": reason, "seconds": 0.0}
        self._feed.tell(Event("job_finished", job_id, name, run_id, None, data))


def _told(ending: Ending) -> dict[str, Any]:
    told: dict[str, Any] = {"status": ending.status.value, "seconds": round(ending.seconds, 6)}
    return told if ending.error is None else {**told, "error": ending.error}


def _outcome(claimed: Claimed, ending: Ending, exception: BaseException | None) -> Outcome:
    return Outcome(claimed.name, ending.status, ending.result, ending.error, claimed.attempt, ending.seconds, exception)


def _interrupted(job: JobRecord) -> JobRecord:
    return replace(job, status=JobStatus.INTERRUPTED) if job.status is JobStatus.RUNNING else job
