"""Scheduler: jobs by priority on a number of workers, from a store, with everything of a job owned by its Scope."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self

import anyio

from lifecycle import DrainReport

from .._blocks.flow import Flow
from .._ground.checks import check_flag, check_integer, check_name, check_seconds, check_synchronous
from .._ground.events import Event
from .._ground.text import quote
from .._store.choice import make_store
from .._store.crashes import MAX_CRASHES
from .._store.lease import LEASE, check_lease
from .._store.protocol import Store
from .._store.records import JobStatus
from .._store.retention import Retention
from .._store.schedule_records import ScheduleRecord
from .._work.shared import hosts_of
from ..remote._sweeping import swept_by
from .carry import Carry
from .feed import BUFFER, Feed
from .job_access import JobAccess
from .life import Life
from .limits import Limits
from .run_access import RunAccess
from .schedules import Schedule
from .statistics import SchedulerStatistics
from .submitting import Submitting
from .upkeep import Upkeep

NAMED: Final = 1_000
"""Jobs that the report of a drain names at most."""


class Scheduler(Submitting, JobAccess):
    """Runs jobs: the most urgent first, a bounded number at once, with retries, timeouts and cancellation.

    Everything that a job starts or opens is owned by a Scope of its own and gone when the job has ended. What is
    in memory is what is in flight; the rest is in the store.

    Leaving the block closes it, see `aclose`: nothing more begins, what runs may end within ``drain_timeout``, the rest
    is stopped and *interrupted*. With a durable store it goes on at the next start, and no retry is used up.

    Do not use it for work that belongs to one function call: a ``Scope`` or a ``TaskGroup`` is enough.

    Example::

        async with Scheduler(workers=4) as scheduler:
            job = await scheduler.submit(fetch, url, retries=3, timeout=10.0)
            outcome = await job.wait()

    Args:
        store: None keeps jobs in memory; a path keeps them in that SQLite file; an address such as
            ``postgresql://user@host/database`` in a database that any number of schedulers share, each of which takes
            the jobs whose handlers it has registered, and the steps of flows that it serves.
        name: for logs and statistics.
        workers: how many jobs run at once, at least 1.
        drain_timeout: seconds that running jobs have to end when it is closed; None for no bound.
        cancel_timeout: seconds that stopped jobs have to end before they are abandoned and named; None for no bound.
        close_timeout: seconds that each single release of a job may take; None for no bound.
        threads: how many sync handlers run at once, by default the workers and one for each core.
        on_event: called in the loop with every `Event`; it must be quick.
        adopt: with a durable store, take over jobs that were submitted by themselves, were left by a process that has
            ended, and whose handler is registered; at the start, and as long as this one lives.
        stall_threshold: seconds for which the loop may stand still while jobs run, before the job that blocks it is
            named, in the log and as an event ``loop_blocked``; None does not watch for that.
        keep_for: seconds that a durable store keeps an ended job, with its result and log; None for ever.
        keep_jobs: how many of the newest jobs a durable store keeps, whatever their age; older ones go when they have
            ended; None for no bound.
        store_patience: seconds for which a durable store that cannot be written is waited for, because another process
            has locked it or its disk is full, before the scheduler ends with a StoreError; None for ever. Meanwhile
            the ends of jobs wait to be recorded, and after ten seconds new work is refused with StoreBusy.
        max_crashes: how often the process may have died while a job of a durable store ran, before that job has failed
            instead of being taken over once more; at least 1, None for no bound.
        lease: with a PostgreSQL database, seconds for which this scheduler is taken for alive when nothing is heard of
            it; then what it ran is run by another. At least 1.
        carry: context variables whose values, plain data, travel with each job from whoever submits it, in its metadata
            under these names, and are set while it runs.
        hosts: where work of jobs runs that outlives this process, by name: opened and closed with the scheduler. The
            one called ``kubernetes`` runs the blocks of that kind; handlers get each by ``context.host(name)``.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range. Nothing has happened.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | None = None,
        *,
        name: str | None = None,
        workers: int = 8,
        drain_timeout: float | None = 10.0,
        cancel_timeout: float | None = 5.0,
        close_timeout: float | None = 30.0,
        threads: int | None = None,
        on_event: Callable[[Event], object] | None = None,
        adopt: bool = True,
        stall_threshold: float | None = 1.0,
        keep_for: float | None = 7 * 86400.0,
        keep_jobs: int | None = 100_000,
        store_patience: float | None = 300.0,
        max_crashes: int | None = MAX_CRASHES,
        lease: float = LEASE,
        carry: Mapping[str, ContextVar[Any]] | None = None,
        hosts: Mapping[str, AbstractAsyncContextManager[Any]] | None = None,
    ) -> None:
        for what, seconds in [("drain", drain_timeout), ("cancel", cancel_timeout), ("close", close_timeout)]:
            check_seconds(seconds, f"{what}_timeout")
        check_seconds(stall_threshold, "stall_threshold", positive=True)
        check_seconds(store_patience, "store_patience")
        if max_crashes is not None:
            check_integer(max_crashes, "max_crashes", 1)
        check_lease(lease)
        if on_event is not None:
            check_synchronous(on_event, "on_event")
        check_name(name)
        check_flag(adopt, "adopt")
        check_integer(workers, "workers", 1)
        threads = workers + (os.cpu_count() or 1) if threads is None else threads
        check_integer(threads, "threads", 1)
        self.name: str = name or "scheduler"
        self.workers: int = workers
        retention = Retention(keep_for, keep_jobs)
        self._store = make_store(store, self.name, retention, store_patience, max_crashes, lease)
        self._feed = Feed(on_event, self.name)
        self._life = Life(
            self.name,
            self._store,
            self._feed,
            workers=workers,
            threads=threads,
            drain_timeout=drain_timeout,
            cancel_timeout=cancel_timeout,
            close_timeout=close_timeout,
            adopt=adopt,
            stall_threshold=stall_threshold,
            carry=Carry(carry),
            hosts=_checked_hosts(hosts),
        )

    async def __aenter__(self) -> Self:
        """Open the store and start working.

        Cancellation: what had been opened is closed again.

        Raises:
            OwnerClosed: it has been entered before, or is closed.
            StoreError: the store cannot be opened.
        """
        await self._life.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close it, see `aclose`.

        Cancellation: ends the draining; the jobs that still run are stopped and interrupted, and everything is released
        before the cancellation goes on.

        Raises:
            StoreError: the store could not be used any more.
            ReleaseTimeout: jobs ignored their cancellation and were abandoned; it names them.
        """
        return await self._life.leave(exc_type, error, traceback)

    def close(self) -> None:
        """Refuse new work and begin nothing more: what waits stays in the store, and no schedule is due. Idempotent.

        What runs goes on, and can be looked at and cancelled; `drain` waits for it.
        """
        self._life.close()

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until every job has ended, those included that are submitted meanwhile, and retries.

        After `close` only for those that run: the others do not begin any more. It stays as open as it was. Not from
        inside of a job, which would wait for itself.

        Cancellation: ends the waiting; no job is touched.

        Args:
            timeout: seconds to wait at most; None for as long as it takes. What has not ended then is named in the
                report's ``running``, the first 1,000, and goes on.

        Returns:
            How many have ended meanwhile, and what has not.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        check_seconds(timeout, "timeout")
        engine = self._life.entered()
        before = engine.ended
        with anyio.move_on_after(timeout) as patience:
            await engine.wait_idle()
        left = await engine.unfinished(NAMED) if patience.cancelled_caught else ()
        return DrainReport(finished=engine.ended - before, running=tuple(left))

    async def aclose(self) -> DrainReport:
        """Begin nothing more, let what runs end within ``drain_timeout``, stop the rest, close the store. Idempotent.

        Until the last job has ended, jobs can be looked at and cancelled, here and from other processes. What is
        stopped is *interrupted*. A second caller waits for the first. Not from inside of a job, which would wait for
        itself.

        Cancellation: ends the draining; the jobs that still run are stopped and interrupted, and everything is released
        before the cancellation is raised.

        Returns:
            What became of the jobs that ran: how many ended by themselves, and which were stopped.

        Raises:
            StoreError: the store could not be used any more.
            ReleaseTimeout: jobs ignored their cancellation and were abandoned; it names them.
            WrongLoop: it was opened in another event loop, or thread.
        """
        return await self._life.aclose()

    async def wait(self) -> None:
        """Wait until it is closed, which somewhere else does: by `aclose`, or at the end of its block.

        Cancellation: ends the waiting, and changes nothing.
        """
        await self._life.wait()

    @property
    def closed(self) -> bool:
        """Whether it has been closed, and everything is released."""
        return self._life.closed

    # Schedules

    async def serve_flow(self, flow: Flow) -> None:
        """Let schedules start runs of a flow here, and continue those that a process has left unfinished.

        A run that was begun with another version of the flow is left alone, with a warning in the log.

        Cancellation: the runs may have been taken over.

        Raises:
            TypeError: it is no flow.
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        if not isinstance(flow, Flow):
            raise TypeError(f"expected a flow, as load_flow returns it, got {flow!r}")
        await self._life.accepting().runs.serve(flow)

    async def schedules(self) -> Sequence[ScheduleRecord]:
        """Return all schedules of the store, by name.

        Cancellation: nothing has happened.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._life.entered().store.schedules()

    def schedule_named(self, name: str) -> Schedule:
        """Return a handle on the schedule of this name, whichever process made it; its methods say if there is none.

        Raises:
            OwnerClosed: the scheduler is not open.
        """
        self._life.accepting()
        return Schedule(name, self._life.accepting)

    # Looking

    def events(self, buffer: int = BUFFER) -> AsyncIterator[Event]:
        """Return an iterator over what happens from now on, until the scheduler is closed.

        A reader that falls more than *buffer* events behind loses the oldest and gets one ``events_lost``. A step that
        is cancelled loses nothing, and the iterator goes on: it ends with its ``aclose()``, or when it is let go of.

        Raises:
            TypeError, ValueError: *buffer* is not an integer of at least 1.
        """
        check_integer(buffer, "buffer", 1)
        return self._feed.read(buffer)

    def statistics(self) -> SchedulerStatistics:
        """Return what the scheduler does at this moment, and what it has done."""
        engine = self._life.engine
        ended = {status.value: engine.counts[status] if engine else 0 for status in JobStatus}
        del ended["pending"], ended["running"]
        if engine is None:
            return SchedulerStatistics(self.name, self.workers, 0, 0, 0, ended, {}, 0)
        running, waiting, runs = engine.busy, engine.lending.lent, len(engine.runs.open)
        left = dict(engine.leftovers.counts)
        refused, lost = engine.refusals.count, self._life.store_watch.waiting
        elsewhere = hosts_of(engine.shared), swept_by(engine.shared)
        return SchedulerStatistics(
            self.name, self.workers, running, waiting, runs, ended, left, refused, lost, *elsewhere
        )

    @property
    def limits(self) -> Limits:
        """What holds jobs back: limits and rates of queues and handlers, shares of queues, pauses."""
        return Limits(self._life.entered)

    @property
    def runs(self) -> RunAccess:
        """The runs of flows in the store, whoever began them: lists, cancels, tries again, waits."""
        return RunAccess(self._life.entered)

    @property
    def upkeep(self) -> Upkeep:
        """What looks after the file of a durable store: checks, copies, deletes what has ended."""
        return Upkeep(lambda: self._life.entered().store)

    def __repr__(self) -> str:
        return f"<Scheduler {self.name!r}>"


def _checked_hosts(
    hosts: Mapping[str, AbstractAsyncContextManager[Any]] | None,
) -> Mapping[str, AbstractAsyncContextManager[Any]]:
    for name, host in (hosts or {}).items():
        check_name(name)
        if not isinstance(host, AbstractAsyncContextManager):
            raise TypeError(f"hosts[{name!r}] must be an async context manager, got {quote(host)}")
    return hosts or {}
