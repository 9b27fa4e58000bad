"""The reconciler: what other processes have asked of us, and what has ended there that somebody waits for here."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel

from .._ground.bridge import Bell
from .._ground.errors import StoreError
from .._store.records import JobRecord, JobStatus, Settled
from .outcome import JobOutcome, RunOutcome

if TYPE_CHECKING:
    from .._store.messages import Notice
    from .._store.protocol import Store
    from .job import Job, RunEnd
    from .runs import Runs

INTERVAL: Final = 0.25
"""Seconds between two looks."""

IDLE_INTERVAL: Final = 0.5
"""Seconds that are waited longer before the next look while there are no jobs here."""

TOLD_INTERVAL: Final = 5.0
"""Seconds between two looks at a store that says when others have changed something: in case that it could not."""

AT_ONCE: Final = 5_000
"""Jobs, and runs, that are asked about in one look; the others in the next ones."""

FORGOTTEN: Final = "the store did not keep it until its end was seen"

CLOSED: Final = "the scheduler was closed before the job ended"


class Listener(Protocol):
    """What the reconciler needs of the engine that it works for."""

    runs: Runs  #: those that are open here; in a shared store they may end elsewhere

    async def settle(self, settled: Settled) -> None:
        """See to what follows from an end."""

    def has_jobs(self) -> bool:
        """Return whether there are jobs or runs that others may have changed, or somebody waits for."""

    async def apply(self, notice: Notice) -> None:
        """Do what another process has asked."""

    def fail(self, error: Exception) -> None:
        """Stop: the store cannot be used any more."""


class Reconciler:
    """Looks at the store a few times a second, or when that says so: one question for what was asked of us, one for all
    that is waited for.

    Args:
        store: what is looked at.
        listener: what is told.
    """

    def __init__(self, store: Store, listener: Listener) -> None:
        self._store = store
        self._listener = listener
        self._arrived = Bell()
        self._noticed = Bell()
        self._expected = False
        # Weak: who has dropped a handle waits no more.
        self._jobs: weakref.WeakValueDictionary[int, Job] = weakref.WeakValueDictionary()
        self._runs: weakref.WeakValueDictionary[int, RunEnd] = weakref.WeakValueDictionary()

    @property
    def _idle_interval(self) -> float | None:
        if self._store.shared:
            return TOLD_INTERVAL
        return IDLE_INTERVAL if self._store.durable else None

    def wake(self) -> None:
        """Look often from now on: there is a job, or a run, that other processes may change."""
        if self._store.durable:  # without a file there is nobody else, and each job would cost a turn of the loop
            self._arrived.ring()

    def notice(self) -> None:
        """Look soon: the store says that others have changed something."""
        self._expected = True
        self._arrived.ring()
        self._noticed.ring()

    async def look_soon(self) -> None:
        """Look at once, when this task has given way: there are notices.

        Cancellation: it looks nevertheless.
        """
        self.notice()
        await anyio.lowlevel.checkpoint()

    def watch_job(self, job: Job) -> None:
        """Give a handle its outcome when the job has ended, in whatever process."""
        self._jobs[job.id] = job
        self._arrived.ring()

    def watch_run(self, run_id: int, flow: str, make: type[RunEnd]) -> RunEnd:
        """Return what gets the outcome of a run when it has ended, in whatever process."""
        end = self._runs.get(run_id)
        if end is None or end.done:
            end = self._runs[run_id] = make(run_id, flow)
        self._arrived.ring()
        return end

    async def run(self) -> None:
        """Look until the store fails.

        Cancellation: ends it.
        """
        while True:
            if not (self._expected or self._watches()):
                # Of a file, what has ended may wait again, and be for us.
                await self._arrived.wait(self._idle_interval)
            if not self._expected:
                if not (self._store.durable or self._watches()):
                    continue  # without a file nobody else can have done anything
                await self._noticed.wait(TOLD_INTERVAL if self._store.shared else INTERVAL)
            self._expected = False
            try:
                for notice in await self._store.notices():
                    await self._listener.apply(notice)
                await self._look_for_ends()
            except StoreError as error:
                self._listener.fail(error)
                return

    def _watches(self) -> bool:
        return bool(self._jobs or self._runs or (self._store.durable and self._listener.has_jobs()))

    async def _look_for_ends(self) -> None:
        if self._store.shared and (open_runs := list(self._listener.runs.open)):
            for number in await self._store.ended_runs(open_runs):
                await self._listener.settle(Settled(True, number, run_finished=True))
        if jobs := _next(self._jobs):
            for number, record in (await self._store.ended_jobs(jobs)).items():
                job = self._jobs.pop(number, None)
                if job is not None and not job.done:
                    job._end(outcome_of_record(record, job.name))
        if runs := _next(self._runs):
            for number in await self._store.ended_runs(runs):
                end = self._runs.pop(number, None)
                if end is not None:
                    end._end(await run_outcome(self._store, number, end.flow))


def _next(watched: weakref.WeakValueDictionary[int, Job] | weakref.WeakValueDictionary[int, RunEnd]) -> list[int]:
    """Return what is to be asked about now; of very many, those that were not asked about for the longest time."""
    # Asked for one by one: a handle may be collected at any moment.
    wanted = (number for number in list(watched) if (handle := watched.get(number)) is not None and not handle.done)
    numbers = list(itertools.islice(wanted, AT_ONCE))
    if len(watched) > AT_ONCE:
        for number in numbers:
            if (handle := watched.pop(number, None)) is not None:
                watched[number] = handle  # type: ignore[assignment]
    return numbers


def outcome_of_record(record: JobRecord | None, name: str) -> JobOutcome:
    """Return what became of a job of which there is this record."""
    if record is None:
        return JobOutcome(name, JobStatus.INTERRUPTED, error=FORGOTTEN)
    seconds = record.seconds or 0.0
    return JobOutcome(record.name, record.status, record.result, record.error, record.attempts, seconds)


async def run_outcome(store: Store, run_id: int, flow: str) -> RunOutcome:
    """Return what became of a run that has ended; *interrupted* when it was open again, or deleted, before this."""
    jobs = tuple(await store.jobs_of(run_id))
    stored = await store.run(run_id)
    status = None if stored is None else stored.status
    return RunOutcome(flow, run_id, status or JobStatus.INTERRUPTED, jobs)
