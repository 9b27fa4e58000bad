"""What a scheduler is asked to do: jobs and runs that are submitted, and schedules that submit them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from .._blocks.flow import Flow
from .intake import submit_call, submit_flow
from .job import FlowRun, Job
from .life import Life
from .schedules import Schedule, new_pace, new_schedule


class Submitting:
    """The part of a `Scheduler` that takes work; it is not used alone."""

    _life: Life

    @overload
    async def submit(
        self,
        work: Flow,
        *,
        params: Mapping[str, Any] | None = None,
        resume: bool = False,
        fresh: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> FlowRun: ...

    @overload
    async def submit(
        self,
        work: Callable[..., Any] | str,
        *args: Any,
        priority: int = 0,
        delay: float | timedelta = 0.0,
        at: datetime | float | None = None,
        expires: float | timedelta | datetime | None = None,
        retries: int = 0,
        backoff: float | tuple[float, float] = (0.1, 10.0),
        timeout: float | None = None,
        name: str | None = None,
        queue: str = "default",
        key: str | None = None,
        on_twin: Literal["refuse", "return", "replace"] = "refuse",
        needs: Collection[Job | int] = (),
        when: Literal["success", "failure", "always"] = "success",
        metadata: Mapping[str, Any] | None = None,
    ) -> Job: ...

    async def submit(self, work: Flow | Callable[..., Any] | str, *args: Any, **settings: Any) -> Job | FlowRun:
        """Submit a function, a handler by its name, or a flow, and return a handle on it.

        With a durable store it is on disk when this returns. There a function must be marked with ``@handler``, and its
        arguments and result must be plain data.

        Cancellation: the work may or may not have been submitted.

        Args:
            work: an async function (it runs in the loop), a plain one (it runs in a worker thread), a handler's name
                (with a PostgreSQL database also one that only other programs know), or a flow from `load_flow`.
            args: the function's arguments; for keyword arguments use ``functools.partial``.
            priority: higher is first among those that are ready; equal ones in the order of their coming.
            delay: seconds, or a timedelta, to wait before it may start, from when what it needs has succeeded.
            at: the point in time before which it does not start, in place of a delay: a datetime with a time zone, or
                seconds since 1970. One that has passed is now.
            expires: seconds or a timedelta after its submission, or a datetime, from which on it is not begun any
                more, nor tried again: if it waits then, it is *cancelled*. What runs goes on.
            retries: how often it is tried again after a failure or a timeout.
            backoff: the first and the longest pause before a retry, in seconds; it doubles between them. One number is
                the first; the longest is 10 then, or as long.
            timeout: seconds for one attempt, None for no bound.
            name: for lists, logs and errors; by default the handler's.
            queue: the queue that it waits in; see `limits`.
            key: of the jobs in the store that have not ended, one has it at most.
            on_twin: what becomes of it when another has its key. ``refuse``: a JobConflict; ``return``: the handle on
                the other is returned, and nothing submitted; ``replace``: the other is cancelled, and if it runs, this
                one begins when it has ended.
            needs: handles or numbers of jobs, of any run or of none, that must have ended first.
            when: how they must have ended. ``success``: when one does not succeed, this one is *cancelled*;
                ``failure``: it runs if one of them, or what that needed, did not succeed, and is *skipped* if all did;
                ``always``: it runs, however they ended.
            metadata: plain data that travels with it, 4 kB at most: it is in its record, its events and its context.
                For a flow it goes with each job.
            params: values of the flow's parameters.
            resume: go on with the unfinished run of the same flow and parameters, if the store has one.
            fresh: cancel what is left of such a run, and begin a new one; comes before ``resume``.

        Raises:
            OwnerClosed: the scheduler is not open.
            FlowError: a parameter is missing or wrong; nothing was written.
            RunConflict: another process runs the unfinished run, or the flow has changed since.
            JobConflict: another job has the key.
            StoreBusy: the store cannot be written for some time; nothing was.
            StoreError: the store cannot be used any more.
            TypeError, ValueError, LookupError: the function, an argument or a setting is not right, or a job that it
                needs is not in the store.
        """
        engine = self._life.accepting()
        if isinstance(work, Flow):
            return await submit_flow(engine, work, args, settings)
        return await submit_call(engine, work, args, settings)

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
        max_instances: int | None = None,
        overlap: Literal["skip", "queue", "cancel_running"] = "skip",
        jitter: float = 0.0,
        starts: datetime | float | None = None,
        ends: datetime | float | None = None,
        **settings: Any,
    ) -> Schedule:
        """Start a call, or a run of a flow, again and again when it is due; return a handle on the schedule.

        The schedule is in the store, under its name. With a durable store it goes on after a restart, with exactly one
        job or run for each due time, however the process ended and however many schedulers share the store. Scheduling
        the same name again changes it; its due times stay as they are unless its timing has changed.

        Due times are wall-clock times. A run that is still waiting or running does not hold the next one up, unless
        ``max_instances`` says so; and with ``fixed_delay`` the next is due that long after the end of the last one.

        Do not use it for what belongs to one process or comes several times a second: ``lifecycle.fixed_rate`` and the
        other timers write nothing.

        Cancellation: the schedule may have been stored.

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
            max_instances: how many of its runs may be unfinished at once, those that were triggered included; None for
                no bound.
            overlap: what becomes of one more. ``skip``: it is skipped, and counted; ``queue``: one waits until another
                has ended, further ones are skipped; ``cancel_running``: the oldest is cancelled, and the newest begins
                when that has ended.
            jitter: a run starts up to so many seconds after it was due; how many is drawn from the due time.
            starts: the point in time before which it is not due: a datetime with a time zone, or seconds since 1970. A
                rate and a delay begin then.
            ends: the point in time after which it is not due any more.
            settings: ``priority``, ``retries``, ``backoff``, ``timeout``, ``queue``, ``expires`` and ``metadata`` as
                for `submit`, for each of its jobs; for a flow ``params``, and ``priority``, which is added to that of
                each job.

        Raises:
            OwnerClosed: the scheduler is not open.
            FlowError: a parameter of the flow is missing or wrong.
            StoreError: the store cannot be used any more.
            TypeError, ValueError, LookupError: the function, an argument or a setting is not right.
            ImportError: cron needs ``cronsim``.
        """
        engine = self._life.accepting()
        new = new_schedule(
            name,
            work,
            args,
            durable=engine.store.durable,
            shared=engine.store.shared,
            cron=cron,
            timezone=timezone,
            fixed_rate=fixed_rate,
            fixed_delay=fixed_delay,
            missed=missed,
            misfire_grace=misfire_grace,
            pace=new_pace(max_instances, overlap, jitter, starts, ends),
            settings=settings,
        )
        if isinstance(work, Flow):
            await engine.runs.serve(work)
        await engine.store.put_schedule(new)
        return Schedule(new.name, self._life.accepting)
