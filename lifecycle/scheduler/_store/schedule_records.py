"""The records of schedules that a scheduler and its store exchange; the same for every store.

A schedule is seen from several sides, each with a class of its own:

============================  ====================================================================================
of a schedule
============================  ====================================================================================
``FlowSchedule`` (_flows)     as a flow file describes it
`NewSchedule`                 as it is stored
``_KeptSchedule`` (_store)    as the store in memory keeps it; an SQLite file has a row
`Submitted`                   what it has submitted when it was due
`ScheduleRecord` (public)     as the store knows it, to be shown
``Schedule`` (public)         the handle, by its name
============================  ====================================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .pace import ANY_PACE, UNBOUNDED, Bound, Pace
from .records import NewJob, NewRun


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to be stored.

    Attributes:
        name: its name; unique in the store.
        kind: ``cron``, ``fixed_rate`` or ``fixed_delay``.
        rule: the cron expression, or the seconds as text.
        timezone: for cron the name of the time zone.
        missed: ``coalesce``, ``drop`` or ``burst``.
        misfire_grace: seconds after which a late run is missed; None for any lateness.
        work: what is submitted each time: a job, or a run of a flow.
        handler: the name of the handler, or the flow's `flow_key`; a process that does not know it leaves it alone.
        pace: how many runs at once, from when to when, and its jitter.
    """

    name: str
    kind: str
    rule: str
    timezone: str | None
    missed: str
    misfire_grace: float | None
    work: NewJob | NewRun
    handler: str
    pace: Pace = ANY_PACE

    @property
    def timing(self) -> tuple[str, str, str | None]:
        """What decides when it is due; a schedule whose timing changes begins again."""
        return self.kind, self.rule, self.timezone

    @property
    def flow(self) -> str | None:
        """The name of the flow that it runs, None when it calls a handler."""
        return self.work.flow if isinstance(self.work, NewRun) else None

    @property
    def flow_bound(self) -> Bound:
        """How many runs of its flow go on at once, whoever has submitted them."""
        return self.work.bound if isinstance(self.work, NewRun) else UNBOUNDED

    @property
    def calls(self) -> str | None:
        """The name of the handler that it calls, None when it runs a flow."""
        return None if isinstance(self.work, NewRun) else self.handler


class Submitted(NamedTuple):
    """What a schedule has submitted.

    Attributes:
        job: the number of the job, None when it was a run.
        run: the number of the run, None when it was a job.
    """

    job: int | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule as the store has it, to be shown.

    Attributes:
        name: its name.
        kind: ``cron``, ``fixed_rate`` or ``fixed_delay``.
        rule: the cron expression, or the seconds as text.
        timezone: for cron the name of the time zone.
        missed: what becomes of due times that passed while no scheduler looked.
        misfire_grace: seconds after which a late run is missed; None for any lateness.
        paused: whether it is paused.
        next_due: wall-clock time of the next run; None while a fixed delay's run goes on, and for never again.
        last_due: wall-clock time for which the last run was due.
        last_job: the number of the last job that was due, None for a schedule of a flow.
        runs: how many runs were submitted because they were due.
        missed_runs: how many were dropped.
        flow: the name of the flow that it runs, None when it calls a handler.
        last_run: the number of the flow's last run that was due.
        handler: the name of the handler that it calls, None when it runs a flow.
        max_instances: how many of its runs may be unfinished at once; None for no bound.
        overlap: what becomes of one more: ``skip``, ``queue`` or ``cancel_running``.
        jitter: the longest time in seconds by which a run starts later than it was due.
        starts, ends: the wall-clock times before and after which it is not due; None for no bound.
        waiting: the due time of a run that waits until another has ended; None for none.
        skipped_runs: how many were not submitted because others had not ended.
    """

    name: str
    kind: str
    rule: str
    timezone: str | None
    missed: str
    misfire_grace: float | None
    paused: bool
    next_due: float | None
    last_due: float | None
    last_job: int | None
    runs: int
    missed_runs: int
    flow: str | None = None
    last_run: int | None = None
    handler: str | None = None
    max_instances: int | None = None
    overlap: str = "skip"
    jitter: float = 0.0
    starts: float | None = None
    ends: float | None = None
    waiting: float | None = None
    skipped_runs: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain table."""
        return {name: getattr(self, name) for name in self.__slots__}


def record_of(row: Sequence[Any]) -> ScheduleRecord:
    """Return a schedule as it is shown, from its columns as the databases give them: those of its pace are the last."""
    name, kind, rule, timezone, missed, grace, paused, *times, limit, overlap, jitter, starts, ends, held, skipped = row
    pace = Pace(limit, overlap or "skip", jitter or 0.0, starts, ends)._asdict()
    more = {**pace, "waiting": held, "skipped_runs": skipped}
    return ScheduleRecord(name, kind, rule, timezone, missed, grace, bool(paused), *times, **more)
