"""The engine of a scheduler: it takes ready jobs from the store, runs them, and records how they ended."""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio

from .._ground.bridge import Bell, Bridge
from .._ground.errors import StoreError
from .._ground.events import Event
from .._ground.limits import LOG_CHARACTERS
from .._ground.text import one_line, shorten
from .._store.records import Cancelling, Claimed, JobStatus, Settled
from .._work.handlers import registered_handlers
from .._work.shared import Shared
from .afterwards import Afterwards
from .ahead import Ahead
from .attempt import Around, Attempt
from .carry import Carry
from .doing import run_block_of, run_handler
from .endings import Endings
from .failure import Failure
from .first_steps import FirstSteps
from .job import Job
from .leftovers import Leftovers
from .lending import Lending
from .outcome import JobOutcome, event_of
from .reconciler import CLOSED, Reconciler, outcome_of_record
from .refusals import Refusals
from .reports import Reports
from .runs import Runs

if TYPE_CHECKING:
    from lifecycle import Scope, TaskManager

    from .._store.messages import Notice
    from .._store.protocol import Store
    from .feed import Feed

logger = logging.getLogger("lifecycle.scheduler")

PATIENCE = 0.05
"""Seconds that a job which was taken ahead waits for a worker before it is given back to the store."""


class Engine:
    """Runs the jobs of one store.

    Args:
        store: where the jobs are.
        owner: owns the runs of flows, and what jobs share.
        tasks: owns the running attempts.
        feed: publishes what happens.
        workers: how many attempts run at once.
        limiter: bounds the worker threads.
        close_timeout: seconds that each release of a job may take; None for no bound.
        carry: the context variables that go with each job.
        name: the scheduler's, for logs.
    """

    def __init__(
        self,
        store: Store,
        owner: Scope,
        tasks: TaskManager,
        feed: Feed,
        *,
        workers: int,
        limiter: anyio.CapacityLimiter,
        close_timeout: float | None,
        carry: Carry,
        name: str,
    ) -> None:
        self.store = store
        self.carry = carry
        self.feed = feed
        self.workers = workers
        self.runs = Runs(store, owner, feed, self)
        self.name = name
        self.failure = Failure()
        self.counts: dict[JobStatus, int] = dict.fromkeys(JobStatus, 0)
        self.running: dict[int, Attempt] = {}  # what has been taken from the store and not ended
        # Weak: a sender that does not need to know how a job ends drops its handle, so that a million pending jobs
        # cost no memory here.
        self.jobs: weakref.WeakValueDictionary[int, Job] = weakref.WeakValueDictionary()
        self._tasks = tasks
        self._limiter = limiter
        self._busy = 0
        self.lending = Lending(self)
        self._endings = Endings(self, tasks, close_timeout)
        self.leftovers = Leftovers(store, name)
        self.refusals = Refusals()
        self._context = copy_context()  # of whoever has opened the scheduler: jobs begin in copies of it
        self._draining = self._over = False
        self._line: deque[Attempt] = deque()  # taken from the store, and waiting for a worker
        self._first_steps = FirstSteps(self._endings.note_lost)
        self._ahead = Ahead(workers)
        self._queued = Bell()
        self.reconciler = Reconciler(store, self)
        self.reports = Reports(store, self.running, self.fail)
        self.afterwards = Afterwards(name, workers)
        self.shared = Shared(owner, name, close_timeout)
        self._around = Around(self._tell, self.failure.loop_ends, Bridge(), store, self.shared, self.afterwards)
        self._changed: anyio.Event | None = None  # set at the next change that a drain has to look at

    # The loops

    async def dispatch(self) -> None:
        """Take ready jobs from the store and begin them as workers are free, until the store fails.

        Cancellation: a job that was just taken is found interrupted when the store is closed.
        """
        try:
            while self.failure.error is None:
                await self._take_work()
        except StoreError as error:
            self.fail(error)  # raised once, by its own task, wherever it was met first

    async def _take_work(self) -> None:
        """Take some jobs, once: in a function, so that no local variable keeps a job alive during the next wait."""
        found = await self.store.take(self._jobs_to_take, self._known_names)
        if not found:
            await self.reconciler.look_soon()  # there are notices of what has expired
            return
        taken = [Attempt(claimed, self._around) for claimed in found]
        self.running.update((attempt.claimed.id, attempt) for attempt in taken)
        try:
            for attempt in taken:
                run = attempt.claimed.run_id
                if run is not None:
                    await self.runs.begin(run)
        except BaseException:
            self._draining = True  # they are given back, not begun: what they belong to is not known
            raise
        finally:
            self._line.extend(taken)
        if self.store.durable:
            self._ahead.arrived()
            self.wake_reconciler()
        self._fill_workers()
        if self._line:
            self._queued.ring()

    def _jobs_to_take(self) -> int:
        """Return how many more jobs to take; the store's thread asks as well."""
        return 0 if self._draining else self.workers + self._ahead.jobs - self._busy - len(self._line)

    def _known_names(self) -> Collection[str]:
        """Return the names of the handlers and the keys of the flows that there are; the store's thread asks."""
        return () if self._draining else (*registered_handlers(), *self.runs.flows)

    async def return_unstarted(self) -> None:
        """Give jobs back to the store that were taken ahead and find no worker soon: others may be more urgent now."""
        while True:
            await self._queued.wait()
            first = self._line[0].claimed.id if self._line else None
            await anyio.sleep(PATIENCE)
            if self._line:
                if self._line[0].claimed.id == first:
                    await self.give_back()
                self._queued.ring()

    async def give_back(self) -> None:
        """Give the jobs back to the store that were taken and not begun.

        Cancellation: they may be given back or not; the store's close interrupts those that are not.
        """
        late = list(self._line)
        self._line.clear()
        self._ahead.reset()
        try:
            given = await self.store.give_back([attempt.claimed for attempt in late], time.time())
        except StoreError as error:
            self.fail(error)
            return
        for attempt in late:
            if attempt.claimed.id in given:
                self._forget(attempt)
            else:  # it was cancelled meanwhile: it ends before it begins, and is recorded
                self._begin(attempt)
        self.store.look_again()

    def _forget(self, attempt: Attempt) -> None:
        if self.running.get(attempt.claimed.id) is attempt:  # else the next one of its job is here already
            del self.running[attempt.claimed.id]

    def wake_reconciler(self) -> None:
        """Start watching for cancellations from other processes: there is a job, or a run, to watch for."""
        self.reconciler.wake()

    def fail(self, error: Exception) -> None:
        """Stop the scheduler because the ends of jobs cannot be recorded any more."""
        self.failure.note(error)
        self._note_change()

    async def find(self, job_id: int) -> Job:
        """Return a handle on a job of the store, whoever runs it.

        Raises:
            LookupError: there is no such job.
        """
        record = await self.store.job(job_id)
        if record is None:
            raise LookupError(f"there is no job {job_id} in the store")
        job = self.handle(job_id, record.name)
        if record.status.final:
            job._end(outcome_of_record(record, record.name))
        else:
            self.reconciler.watch_job(job)
        return job

    def handle(self, job_id: int, name: str) -> Job:
        """Return the handle on a job that has not ended; it gets the job's outcome for as long as it is kept."""
        if (job := self.jobs.get(job_id)) is None or job.done:
            job = self.jobs[job_id] = Job(job_id, name, self.cancel_job)
            if self.store.shared:
                self.reconciler.watch_job(job)
        if self._over:  # whoever submitted it, or looked for it, was not answered before
            self.close_jobs()
        self.wake_reconciler()
        return job

    # One attempt

    @property
    def busy(self) -> int:
        """How many attempts have begun and not ended."""
        return self._busy + self.lending.lent

    def has_free_worker(self) -> bool:
        """Return whether a job could begin."""
        return self._busy < self.workers

    def take_worker(self) -> None:
        """Count one worker as taken, whether there is a free one or not."""
        self._busy += 1

    def lend_worker(self) -> None:
        """Count one worker as free, and let a job that comes back, or the next one, have it."""
        self._free_one()
        self.store.look_again()

    def _free_one(self) -> None:
        if self._busy <= self.workers and self.lending.pass_on():
            return
        self._busy -= 1
        if self._line and not self._draining:
            # Not in what the handler that has ended, or waits, made of its context.
            self._context.copy().run(self._fill_workers)

    @property
    def ended(self) -> int:
        """How many attempts and jobs have ended, in any way."""
        return sum(self.counts.values())

    async def wait_idle(self) -> None:
        """Return when no job runs, and, as long as jobs are taken, none waits either.

        Cancellation: ends the waiting.

        Raises:
            StoreError: the store cannot be used any more.
        """
        while True:
            # Made before it is looked, so that nothing that happens meanwhile is missed.
            if self._changed is None:
                self._changed = anyio.Event()
            changed = self._changed
            self.wake_reconciler()  # others may end what is waited for
            await self._tasks.drain()
            if self.failure.error is not None:
                raise self.failure.error
            if self._draining or not (self.runs.open or await self.store.unfinished(1)):
                return
            await changed.wait()

    async def unfinished(self, limit: int) -> Sequence[str]:
        """Return the names of the jobs that `wait_idle` waits for, *limit* at most."""
        return self._names_begun()[:limit] if self._draining else await self.store.unfinished(limit)

    def _names_begun(self) -> list[str]:
        waiting = set(self._line)
        return [attempt.claimed.name for attempt in self.running.values() if attempt not in waiting]

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _fill_workers(self) -> None:
        line = self._line
        while line and self.has_free_worker():
            self._begin(line.popleft())

    def _begin(self, attempt: Attempt) -> None:
        self.take_worker()
        if self._changed is not None:
            self._note_change()
        if self.feed.heard:
            self.publish(attempt.claimed, "job_started", {})
        if self._endings.begin(attempt):
            self._first_steps.watch(attempt)

    def free_worker(self, attempt: Attempt) -> None:
        """Note that an attempt has released everything: its worker is free, and the next claim joins its record."""
        self._forget(attempt)
        self._ahead.turned += 1
        if self.lending.ended(attempt):
            self._free_one()

    def work_of(self, attempt: Attempt, scope: Scope) -> Awaitable[Any]:
        """Do what an attempt is for: a handler, or a block of a run."""
        if attempt.claimed.run_id is None:
            return run_handler(attempt, self.store.durable, scope, self._limiter)
        return self._run_block(attempt.claimed.run_id, attempt, scope)

    async def _run_block(self, run_id: int, attempt: Attempt, scope: Scope) -> Any:
        # Closed in this moment and open again, when a job of it is tried again by hand.
        run = self.runs.open.get(run_id) or await self.runs.take_up(run_id)
        if run is None:
            raise LookupError(f"run {run_id} is of a flow that this process does not know")
        return await run_block_of(run, attempt, self.store, scope, self._limiter)

    # What follows from an end

    async def settle(self, settled: Settled) -> None:
        """Publish the jobs that will not run because of an end, and end the run if that was its last job."""
        for skipped in settled.skipped:
            self._note_unrun(skipped.id, skipped.run_id, skipped.name, skipped.status, skipped.reason)
        if settled.run_finished and settled.run_id is not None:
            await self.runs.end(settled.run_id)
        self._note_change()

    async def cancel_job(self, job_id: int, reason: str) -> bool:
        """Cancel one job, queued or running; return whether it had not ended."""
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        cancelling = await self.store.cancel(job_id, reason, time.time())
        if cancelling.before is None or cancelling.before.final:
            return False
        name = self.jobs[job_id].name if job_id in self.jobs else str(job_id)
        await self.cancelled(job_id, name, reason, cancelling)
        return True

    async def cancelled(self, job_id: int, name: str, reason: str, cancelling: Cancelling) -> None:
        """See to what follows from a cancellation that is in the store: an attempt is stopped, or a job has ended."""
        if cancelling.settled is None:
            self.stop(job_id, None, reason)  # if it is not here yet, the store has left a notice for us
            return
        self._note_unrun(job_id, cancelling.settled.run_id, name, JobStatus.CANCELLED, reason)
        await self.settle(cancelling.settled)

    async def cancel_run(self, run_id: int, reason: str) -> bool:
        """Cancel all jobs of a run that have not ended; return whether there was one."""
        reason = one_line(shorten(reason, LOG_CHARACTERS))
        settled, running = await self.store.cancel_run(run_id, reason, time.time())
        for job_id in running:
            self.stop(job_id, None, reason)
        await self.settle(settled)
        return bool(running or settled.skipped)

    def stop(self, job_id: int, number: int | None, reason: str, *, lost: bool = False) -> None:
        """Ask an attempt of a job to end, if it is here: this one, or with None whichever it is; maybe it is lost."""
        attempt = self.running.get(job_id)
        if attempt is not None and number in (None, attempt.claimed.attempt):
            attempt.cancel(reason, lost=lost)
            if attempt in self._line:  # it needs no worker to end before it begins
                self._line.remove(attempt)
                self._begin(attempt)

    def has_jobs(self) -> bool:
        """Return whether there are jobs or runs that others may have changed, or somebody waits for."""
        return bool(self.running or self.runs.open or self.jobs or self._changed)

    async def apply(self, notice: Notice) -> None:
        """Do what another process has asked."""
        if notice.status is JobStatus.RUNNING:
            self.stop(notice.job_id, notice.attempt, notice.reason, lost=notice.lost)
        else:
            self._note_unrun(notice.job_id, notice.run_id, notice.name, notice.status, notice.reason)
        if notice.run_finished and notice.run_id is not None:
            await self.runs.end(notice.run_id)

    def _note_unrun(self, job_id: int, run_id: int | None, name: str, status: JobStatus, reason: str) -> None:
        self.counts[status] += 1
        data = {"status": status.value, "error": reason, "seconds": 0.0}
        self.feed.publish(Event("job_finished", job_id, name, run_id, None, data))
        if job := self.jobs.get(job_id):
            job._end(JobOutcome(name, status, error=reason))
        self._note_change()

    def close_jobs(self) -> None:
        """Give every job that is still waited for the outcome *interrupted*; nothing runs any more."""
        self._over = True
        for job in list(self.jobs.values()):
            job._end(JobOutcome(job.name, JobStatus.INTERRUPTED, error=CLOSED))

    # Publishing

    def stop_taking(self) -> None:
        """Take no more jobs and fire no schedule, although what was asked of the store's thread still stands."""
        self._draining = True
        self._queued.ring()  # what was taken ahead is given back
        self._note_change()

    async def drain(self) -> None:
        """Begin nothing more, give back what has not begun, and publish which jobs still run.

        Cancellation: what has not been given back is interrupted when the store is closed.
        """
        self.stop_taking()
        if self._line:
            await self.give_back()
        if names := self._names_begun():
            self.feed.publish(Event("draining", data={"running": names[:20], "count": len(names)}))

    def _tell(self, claimed: Claimed, kind: str, data: Mapping[str, Any]) -> None:
        """Tell what a running job shows of itself: at once, and a little later in the store."""
        self.reports.note(claimed.id)
        if self.feed.heard:
            self.publish(claimed, kind, data)

    def publish(self, claimed: Claimed, kind: str, data: Mapping[str, Any]) -> None:
        """Tell what has happened to an attempt."""
        self.feed.publish(event_of(claimed, kind, data))
