"""Schedules as their maker sees them: what was asked for, checked, and a handle on what the store keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from .._blocks.flow import Flow
from .._ground.checks import check_integer, check_seconds, wall_time
from .._ground.text import one_line, shorten
from .._store.pace import OVERLAPS, Bound, Overlap, Pace
from .._store.records import NewJob, NewRun, flow_key
from .._store.rules import MISSED, SHORTEST, check
from .._store.schedule_records import NewSchedule, ScheduleRecord
from .._work.handlers import name_of
from .engine import Engine
from .job import FlowRun, Job
from .submission import call_settings, check_flow_settings, new_call, new_run

Accepting = Callable[[], Engine]


class Schedule:
    """A schedule in a store, by its name.

    Every method asks the store, so that a handle is good for as long as there is a schedule of that name.

    Attributes:
        name: its name.
    """

    __slots__ = ("_accepting", "name")

    def __init__(self, name: str, accepting: Accepting) -> None:
        self.name: str = name
        self._accepting = accepting

    async def record(self) -> ScheduleRecord:
        """Return what the store knows of it: when it is due, how often it was run.

        Cancellation: nothing has happened.

        Raises:
            LookupError: there is no such schedule any more.
        """
        record = await self._accepting().store.schedule(self.name)
        self._check(record is not None)
        assert record is not None
        return record

    async def pause(self) -> None:
        """Pause it until `resume`; what it has submitted goes on. Idempotent.

        Cancellation: it may be paused or not.

        Raises:
            LookupError: there is no such schedule any more.
        """
        self._check(await self._accepting().store.pause_schedule(self.name))

    async def resume(self) -> None:
        """End a pause; what was due meanwhile is not made up for. Idempotent.

        Cancellation: it may be resumed or not.

        Raises:
            LookupError: there is no such schedule any more.
            ValueError: its time zone is not known on this machine.
        """
        self._check(await self._accepting().store.resume_schedule(self.name))

    async def set_overlap(
        self, max_instances: int | None, overlap: Literal["skip", "queue", "cancel_running"] = "skip"
    ) -> None:
        """Change how many of its runs go on at once, and what becomes of one more, as for ``Scheduler.schedule``.

        What runs goes on, and so does what waits. Scheduling the name again says it anew.

        Cancellation: it may be changed or not.

        Args:
            max_instances: how many of its runs may be unfinished at once; None for no bound.
            overlap: what becomes of one more.

        Raises:
            LookupError: there is no such schedule any more.
            TypeError, ValueError: one of them is not right; nothing was changed.
        """
        bound = new_bound(max_instances, overlap)
        self._check(await self._accepting().store.bound_schedule(self.name, bound))

    async def trigger(self) -> Job | FlowRun:
        """Submit a run now, besides those that are due, also during a pause; return its job, or the run of its flow.

        Cancellation: the run may or may not have been submitted.

        Raises:
            LookupError: there is no such schedule any more, or it is of a flow that is not served here.
            RunConflict: as many runs of its flow go on as its ``max_instances`` allows, whoever has submitted them.
        """
        engine = self._accepting()
        submitted = await engine.store.trigger_schedule(self.name, tuple(engine.runs.flows))
        if submitted is None:
            flow = (await self.record()).flow
            raise LookupError(f"schedule {self.name!r} runs a flow that is not served here in this version: {flow!r}")
        if submitted.run is not None:
            run = await engine.runs.take_up(submitted.run)
            assert run is not None
            return run
        assert submitted.job is not None
        return engine.handle(submitted.job, self.name)

    async def remove(self) -> None:
        """Remove it from the store; what it has submitted goes on.

        Cancellation: it may be there still.

        Raises:
            LookupError: there is no such schedule any more.
        """
        self._check(await self._accepting().store.remove_schedule(self.name))

    def _check(self, found: bool) -> None:
        if not found:
            raise LookupError(f"there is no schedule {self.name!r} in the store; it was removed, or never made")

    def __repr__(self) -> str:
        return f"<Schedule {self.name!r}>"


def new_schedule(
    name: str,
    work: Flow | Callable[..., Any] | str,
    args: tuple[Any, ...],
    *,
    durable: bool,
    shared: bool,
    cron: str | None,
    timezone: str,
    fixed_rate: float | None,
    fixed_delay: float | None,
    missed: str,
    misfire_grace: float | None,
    pace: Pace,
    settings: Mapping[str, Any],
) -> NewSchedule:
    """Return a schedule to be stored.

    Raises:
        FlowError: a parameter of the flow is missing or wrong.
        ValueError, TypeError, LookupError: something of it is not right.
    """
    if not isinstance(name, str):
        raise TypeError(f"a schedule's name is a string, got {name!r}")
    if not name.strip():
        raise ValueError(f"a schedule's name is a string that is not empty, got {name!r}")
    if not isinstance(missed, str):
        raise TypeError(f"missed must be one of {', '.join(MISSED)}, got {missed!r}")
    if missed not in MISSED:
        raise ValueError(f"missed must be one of {', '.join(MISSED)}, got {missed!r}")
    check_seconds(misfire_grace, "misfire_grace")
    kind, rule = _timing(cron, fixed_rate, fixed_delay)
    label, zone = one_line(shorten(name, 200)), timezone if kind == "cron" else None
    new: NewJob | NewRun
    if isinstance(work, Flow):
        new, key = _scheduled_run(work, args, settings), flow_key(work.name, work.digest)
    else:
        new = new_call(work, args, call_settings({"name": name, **settings}), durable=durable, shared=shared)
        key = work if isinstance(work, str) else name_of(work)
    schedule = NewSchedule(label, kind, rule, zone, missed, misfire_grace, new, key, pace)
    check(schedule)
    return schedule


def new_pace(
    max_instances: int | None,
    overlap: Overlap,
    jitter: float,
    starts: datetime | float | None,
    ends: datetime | float | None,
) -> Pace:
    """Return what a schedule says beside its due times.

    Raises:
        TypeError, ValueError: something of it is not right.
    """
    bound = new_bound(max_instances, overlap)
    check_seconds(jitter, "jitter", needed=True)
    begins, until = wall_time(starts, "starts"), wall_time(ends, "ends")
    if begins is not None and until is not None and until < begins:
        raise ValueError("ends comes before starts")
    return Pace(*bound, float(jitter), begins, until)


def new_bound(max_instances: int | None, overlap: Overlap) -> Bound:
    """Return how many of a schedule's runs go on at once.

    Raises:
        TypeError, ValueError: something of it is not right.
    """
    if max_instances is not None:
        check_integer(max_instances, "max_instances", 1, 1_000_000)
    if overlap not in OVERLAPS:
        kind = ValueError if isinstance(overlap, str) else TypeError
        raise kind(f"overlap must be one of {', '.join(OVERLAPS)}, got {overlap!r}")
    if max_instances is None and overlap != "skip":
        raise TypeError("overlap is for a schedule with max_instances")
    return Bound(max_instances, overlap)


def _scheduled_run(flow: Flow, args: tuple[Any, ...], settings: Mapping[str, Any]) -> NewRun:
    check_flow_settings(flow, args, settings, ("params", "priority"))
    params, priority = settings.get("params"), settings.get("priority", 0)
    check_integer(priority, "priority", -(10**6), 10**6)
    run = new_run(flow, flow.bind(params))
    jobs = tuple(job._replace(priority=job.priority + priority) for job in run.jobs)
    return replace(run, jobs=jobs)


def _timing(cron: str | None, fixed_rate: float | None, fixed_delay: float | None) -> tuple[str, str]:
    given = {"cron": cron, "fixed_rate": fixed_rate, "fixed_delay": fixed_delay}
    chosen = [(kind, rule) for kind, rule in given.items() if rule is not None]
    if len(chosen) != 1:
        raise TypeError(f"give one of cron, fixed_rate and fixed_delay, got {len(chosen)} of them")
    kind, rule = chosen[0]
    if kind != "cron":
        check_seconds(rule, kind, positive=True, needed=True)  # type: ignore[arg-type]
        assert isinstance(rule, (int, float))
        if rule < SHORTEST:
            raise ValueError(f"{kind} must be at least {SHORTEST:g} seconds, got {rule!r}; a shorter one is a timer's")
        return kind, repr(float(rule))
    if not isinstance(rule, str):
        raise TypeError(f"cron: expected an expression such as '*/5 * * * *', got {rule!r}")
    return kind, rule
