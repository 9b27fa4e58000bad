"""Scheduler: jobs by priority on so many workers, from a store, with everything of a job owned by its Scope."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, overload

import anyio

from lifecycle import OwnerClosed, Scope, TaskHandle, TaskManager

from .._blocks.flow import Flow
from .._ground.bridge import cancel_again
from .._ground.events import Event
from .._ground.opening import enter_and_open
from .._store.protocol import Store
from .._store.records import JobRecord, JobStatus, ScheduleRecord
from .._work.handlers import registered_handlers
from .engine import Engine
from .feed import BUFFER, Feed
from .intake import submit_call, submit_flow
from .job import FlowRun, Job
from .schedules import Schedule, new_schedule
from .settings import checked_count, checked_retention, make_store
from .stalls import StallWatch
from .statistics import SchedulerStatistics


class Scheduler:
    """Runs jobs: the most urgent first, so many at once, with retries, timeouts and cancellation.

    Everything that a job starts or opens is owned by a Scope of its own and gone when the job has ended. What is
    in memory is what is in flight; the rest is in the store.

    Leaving the block drains: nothing new is started, what runs may end within ``drain_timeout``, the rest is stopped
    and *interrupted*. With a durable store it goes on at the next start, and no retry is used up.

    Do not use it for work that belongs to one function call: a ``Scope`` or a ``TaskGroup`` is enough.

    Example::

        async with Scheduler(workers=4) as scheduler:
            job = await scheduler.submit(fetch, url, retries=3, timeout=10.0)
            outcome = await job.wait()

    Args:
        store: None keeps jobs in memory; a path keeps them in that SQLite file.
        workers: how many jobs run at once, at least 1.
        name: for logs and statistics.
        drain_timeout: seconds that running jobs have to end when the block is left.
        cancel_timeout: seconds that stopped jobs have to end before they are left behind and named.
        close_timeout: seconds that each single release of a job may take.
        threads: how many sync handlers run at once, by default the workers and one for each core.
        on_event: called in the loop with every `Event`; it must be quick.
        adopt: with a durable store, take over jobs that were submitted by themselves, were left by a process that has
            ended, and whose handler is registered; at the start, and as long as this one lives.
        stall_threshold: seconds for which the loop may stand still while jobs run, before the job that blocks it is
            named, in the log and as an event ``loop_blocked``; None looks for no such thing.
        keep_for: seconds that a durable store keeps an ended job, with its result and log; None for ever.
        keep_jobs: so many of the newest jobs a durable store keeps, whatever their age; older ones go when they have
            ended; None for no bound.

    Raises:
        ValueError: ``workers`` or ``threads`` is no integer of at least 1; ``keep_for`` or ``keep_jobs`` is negative.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store | None = None,
        *,
        workers: int = 8,
        name: str | None = None,
        drain_timeout: float = 10.0,
        cancel_timeout: float = 5.0,
        close_timeout: float = 30.0,
        threads: int | None = None,
        on_event: Callable[[Event], object] | None = None,
        adopt: bool = True,
        stall_threshold: float | None = 1.0,
        keep_for: float | None = 7 * 86400.0,
        keep_jobs: int | None = 100_000,
    ) -> None:
        self.name: str = name or "scheduler"
        self.workers: int = checked_count(workers, "workers")
        self._threads = checked_count(threads or workers + (os.cpu_count() or 1), "threads")
        self._store = make_store(store, self.name, checked_retention(keep_for, keep_jobs))
        self._adopt = adopt
        self._stall_threshold = stall_threshold
        self._close_timeout = close_timeout
        self._feed = Feed(on_event)
        self._scope = Scope(self.name, close_timeout=close_timeout)
        self._tasks = TaskManager(f"jobs of {self.name}", drain_timeout=drain_timeout, cancel_timeout=cancel_timeout)
        self._engine: Engine | None = None
        self._dispatcher: TaskHandle[None] | None = None
        self._left = False

    async def __aenter__(self) -> Self:
        """Open the store and start working.

        Cancellation: what had been opened is closed again.

        Raises:
            StoreError: the store cannot be opened.
        """
        await enter_and_open(self._scope, self._open)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Drain, stop what is left, close the store.

        Cancellation: ends the draining; the jobs that still run are stopped and interrupted, and everything is released
        before the cancellation goes on.

        Raises:
            StoreError: the store could not be used any more.
            ReleaseTimeout: jobs ignored their cancellation and were left behind; it names them.
        """
        held: BaseException | None = None
        try:
            await self._drain()
        except BaseException as raised:
            held = raised
        own = held if error is None else None
        if own is not None:
            exc_type, error, traceback = type(own), own, own.__traceback__
            held = None
        self._left = True
        suppressed = await self._scope.__aexit__(exc_type, error, traceback)
        if own is not None and not suppressed:
            raise own  # nobody else has it: the body came to its end without an error
        if isinstance(held, anyio.get_cancelled_exc_class()):
            cancel_again()
        return suppressed

    async def drain(self) -> None:
        """Start nothing more, and return when nothing runs any more; what does not end in time is interrupted.

        Leaving the block does the same. Until it is left, jobs can be looked at and cancelled, here and from other
        processes; nothing can be put in. Idempotent.

        Cancellation: ends the draining; what still runs is stopped and interrupted when the block is left.

        Raises:
            OwnerClosed: the scheduler is not open.
            ReleaseTimeout: jobs ignored their cancellation and were left behind; it names them.
        """
        self._reached()
        await self._drain()

    # Work

    @overload
    async def submit(
        self,
        work: Flow,
        *,
        params: Mapping[str, Any] | None = None,
        resume: bool = False,
        fresh: bool = False,
    ) -> FlowRun: ...

    @overload
    async def submit(
        self,
        work: Callable[..., Any] | str,
        *args: Any,
        priority: int = 0,
        delay: float = 0.0,
        retries: int = 0,
        backoff: tuple[float, float] = (0.1, 10.0),
        timeout: float | None = None,
        name: str | None = None,
    ) -> Job: ...

    async def submit(self, work: Flow | Callable[..., Any] | str, *args: Any, **settings: Any) -> Job | FlowRun:
        """Put in a function, a handler by its name, or a flow, and return a handle on it.

        With a durable store it is on disk when this returns. There a function must be marked with ``@handler``, and its
        arguments and result must be plain data.

        Cancellation: the work may or may not have been put in.

        Args:
            work: an async function (it runs in the loop), a plain one (it runs in a worker thread), a handler's name,
                or a flow from `load_flow`.
            args: the function's arguments; for keyword arguments use ``functools.partial``.
            priority: higher is first among those that are ready; equal ones in the order of their coming.
            delay: seconds to wait before it may start.
            retries: how often it is tried again after a failure or a timeout.
            backoff: the first and the longest pause before a retry, in seconds; it doubles between them.
            timeout: seconds for one attempt, None for no bound.
            name: for people; by default the handler's.
            params: values of the flow's parameters.
            resume: go on with the unfinished run of the same flow and parameters, if the store has one.
            fresh: cancel what is left of such a run, and begin a new one.

        Raises:
            OwnerClosed: the scheduler is not open.
            FlowError: a parameter is missing or wrong; nothing was written.
            RunConflict: the unfinished run is being run by somebody else, or the flow has changed since.
            StoreError: the store cannot be used any more.
            TypeError, ValueError, LookupError: the function, an argument or a setting is not right.
        """
        engine = self._opened()
        if isinstance(work, Flow):
            return await submit_flow(engine, work, *args, **settings)
        return await submit_call(engine, work, args, settings)

    async def cancel(self, job_id: int, reason: str | None = None) -> bool:
        """Ask the job with this number to end, queued or running; return False when there is none or it had ended.

        Cancellation: the wish may have been noted.
        """
        return await self._reached().cancel_job(job_id, reason or "cancelled")

    async def job(self, job_id: int) -> JobRecord | None:
        """Return what the store knows of the job with this number, None when there is none.

        A store in memory forgets a job that has ended, with its run.

        Cancellation: nothing has happened.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._reached().store.job(job_id)

    async def jobs(
        self, *, status: JobStatus | None = None, run: int | None = None, limit: int = 1_000
    ) -> Sequence[JobRecord]:
        """Return the newest jobs that the store knows, the newest last, without results, logs and traces.

        Cancellation: nothing has happened.

        Args:
            status: only those in this state.
            run: only those of this run.
            limit: how many at most.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._reached().store.jobs(status=status, run=run, limit=limit)

    # Schedules

    async def schedule(
        self,
        name: str,
        work: Flow | Callable[..., Any] | str,
        *args: Any,
        cron: str | None = None,
        timezone: str = "UTC",
        fixed_rate: float | None = None,
        fixed_delay: float | None = None,
        missed: Literal["coalesce", "drop", "burst"] = "coalesce",
        misfire_grace: float | None = None,
        **settings: Any,
    ) -> Schedule:
        """Have a call, or a run of a flow, put in again and again when it is due; return a handle on the schedule.

        The schedule is in the store, under its name. With a durable store it goes on after a restart, with exactly one
        job or run for each due time, however the process ended and however many schedulers share the store. Scheduling
        the same name again changes it; its due times stay as they are unless its timing has changed.

        Due times are wall-clock times. A run that is still waiting or running does not hold the next one up, except
        with ``fixed_delay``, whose next run is due so long after the end of the last one.

        Do not use it for what belongs to one process or comes several times a second: ``lifecycle.fixed_rate`` and its
        kin write nothing.

        Cancellation: the schedule may have been put in.

        Args:
            name: its name, unique in the store.
            work: as for `submit`; a flow is served from then on, see `serve_flow`.
            args: what it is called with.
            cron: a cron expression of five fields, or of six with seconds in front; needs the extra ``scheduler``.
            timezone: the time zone of ``cron``.
            fixed_rate: seconds from one due time to the next, at least 0.01.
            fixed_delay: seconds from the end of a run to the next.
            missed: what becomes of due times that passed while no scheduler looked. ``coalesce``: the newest is run;
                ``drop``: when more than one has passed, none is; ``burst``: all are.
            misfire_grace: seconds after which a due time is missed for good; None for never.
            settings: ``priority``, ``retries``, ``backoff``, ``timeout`` as for `submit`, for each of its jobs; for a
                flow ``params``, and ``priority``, which is added to that of each job.

        Raises:
            OwnerClosed: the scheduler is not open.
            FlowError: a parameter of the flow is missing or wrong.
            StoreError: the store cannot be used any more.
            TypeError, ValueError, LookupError: the function, an argument or a setting is not right.
            ImportError: cron needs ``cronsim``.
        """
        engine = self._opened()
        new = new_schedule(
            name,
            work,
            args,
            durable=engine.store.durable,
            cron=cron,
            timezone=timezone,
            fixed_rate=fixed_rate,
            fixed_delay=fixed_delay,
            missed=missed,
            misfire_grace=misfire_grace,
            settings=settings,
        )
        if isinstance(work, Flow):
            await engine.runs.serve(work)
        await engine.store.put_schedule(new)
        return Schedule(new.name, self._opened)

    async def serve_flow(self, flow: Flow) -> None:
        """Let schedules put in runs of a flow here, and go on with those that a process has left unfinished.

        A run that was begun with another version of the flow is left alone, with a warning in the log.

        Cancellation: the runs may have been taken over.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        await self._opened().runs.serve(flow)

    async def schedules(self) -> Sequence[ScheduleRecord]:
        """Return all schedules of the store, by name.

        Cancellation: nothing has happened.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._reached().store.schedules()

    def schedule_named(self, name: str) -> Schedule:
        """Return a handle on the schedule of this name, made here or anywhere else; its methods say if there is none.

        Raises:
            OwnerClosed: the scheduler is not open.
        """
        self._opened()
        return Schedule(name, self._opened)

    # Looking

    def events(self, buffer: int = BUFFER) -> AsyncIterator[Event]:
        """Return an iterator over what happens from its first step on, until the scheduler is closed.

        A reader that falls more than *buffer* events behind loses the oldest and gets one ``events_lost``.
        """
        return self._feed.read(buffer)

    def statistics(self) -> SchedulerStatistics:
        """Return what the scheduler does at this moment, and what it has done."""
        engine = self._engine
        ended = {status.value: engine.counts[status] if engine else 0 for status in JobStatus}
        running, runs = (engine.busy, len(engine.runs.open)) if engine else (0, 0)
        del ended["pending"], ended["running"]
        return SchedulerStatistics(self.name, self.workers, running, runs, ended)

    # Opening and closing

    async def _open(self) -> None:
        store = self._store
        # Registered before it is opened: a half-opened store is closed as well.
        self._scope.push_async_callback(self._close_store)
        await store.open()
        engine = self._engine = Engine(
            store,
            self._scope,
            self._tasks,
            self._feed,
            workers=self.workers,
            limiter=anyio.CapacityLimiter(self._threads),
            close_timeout=self._close_timeout,
        )
        self._scope.callback(self._feed.close)
        if self._stall_threshold is not None:
            make = partial(StallWatch, self._stall_threshold, lambda: bool(engine.running), self._tell_stall)
            await self._scope.acquire(make, release=StallWatch.close, name="stall watch")
        self._scope.callback(engine.close_jobs)
        if store.durable:
            # Below the tasks in the ledger: jobs can be cancelled from outside until the last one is out.
            self._scope.start_soon(engine.reconcile, name=f"reconciler of {self.name}")
            if self._adopt:
                await store.adopt_jobs(frozenset(registered_handlers()))
            self._scope.start_soon(engine.return_unstarted, name=f"returner of {self.name}")
        self._scope.start_soon(engine.raise_failure, name=f"watcher of {self.name}")
        await self._scope.enter_async_context(self._tasks)
        self._dispatcher = self._scope.start_soon(engine.dispatch, name=f"dispatcher of {self.name}")

    def _tell_stall(self, data: Mapping[str, Any]) -> None:
        self._feed.tell(Event("loop_blocked", data=data))

    async def _drain(self) -> None:
        """Start nothing more, and let what runs come to its end."""
        engine = self._engine
        assert engine is not None
        assert self._dispatcher is not None
        engine.stop_taking()
        self._dispatcher.cancel("the scheduler drains")
        await self._dispatcher.wait()
        await engine.drain()
        if engine.failure is not None:
            self._tasks.drain_timeout = 0.0  # how they end could not be recorded any more
        await self._tasks.aclose()

    async def _close_store(self) -> None:
        try:
            await self._store.aclose()
        except OSError:
            if self._engine is None or self._engine.failure is None:
                raise  # else it has been told already why the store cannot be used

    def _opened(self) -> Engine:
        if self._engine is None or self._dispatcher is None or self._dispatcher.done:
            state = "has not been entered" if self._engine is None else "is closing or closed"
            raise OwnerClosed(f"scheduler {self.name!r} {state}; submit inside of its async with block")
        return self._engine

    def _reached(self) -> Engine:
        """Return the engine also while it drains."""
        if self._engine is None or self._left:
            return self._opened()
        return self._engine
