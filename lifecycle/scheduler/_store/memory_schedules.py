"""Schedules of the store in memory: the same rules, without a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from .records import NewJob, NewRun
from .rules import after_pause, due_after_set_back, fire, first_due
from .schedule_records import NewSchedule, ScheduleRecord, Submitted


@dataclass(slots=True)
class _KeptSchedule:
    new: NewSchedule
    anchor: float
    record: ScheduleRecord


class MemorySchedules:
    """Keeps schedules for the life of one store.

    Args:
        submit: submits a job or a run.
    """

    def __init__(self, submit: Callable[[NewJob | NewRun], Submitted]) -> None:
        self._submit = submit
        self._schedules: dict[str, _KeptSchedule] = {}
        self._delays: dict[Submitted, _KeptSchedule] = {}  # of a fixed delay, by what runs now

    def put(self, new: NewSchedule, now: float) -> ScheduleRecord:
        """Store a schedule, or change the one of this name."""
        old = self._schedules.get(new.name)
        fields = (new.name, *new.timing, new.missed, new.misfire_grace)
        if old is None:
            record = ScheduleRecord(*fields, False, first_due(new, now), None, None, 0, 0, new.flow, None, new.calls)
            self._schedules[new.name] = _KeptSchedule(new, now, record)
            return record
        same = old.new.timing == new.timing
        before = old.record
        due = before.next_due if same else first_due(new, now)
        old.new, old.anchor = new, old.anchor if same else now
        counts = (before.last_due, before.last_job, before.runs, before.missed_runs)
        old.record = ScheduleRecord(*fields, before.paused, due, *counts, new.flow, before.last_run, new.calls)
        return old.record

    def record(self, name: str) -> ScheduleRecord | None:
        """Return one schedule."""
        schedule = self._schedules.get(name)
        return None if schedule is None else schedule.record

    def records(self) -> Sequence[ScheduleRecord]:
        """Return all schedules by name."""
        return [schedule.record for _, schedule in sorted(self._schedules.items())]

    def remove(self, name: str) -> bool:
        """Remove a schedule; its jobs stay."""
        return self._schedules.pop(name, None) is not None

    def pause(self, name: str) -> bool:
        """Pause a schedule until it is resumed."""
        schedule = self._schedules.get(name)
        if schedule is None:
            return False
        schedule.record = replace(schedule.record, paused=True)
        return True

    def resume(self, name: str, now: float) -> bool:
        """End a pause; what was due meanwhile is not made up for."""
        schedule = self._schedules.get(name)
        if schedule is None:
            return False
        due = schedule.record.next_due
        if schedule.record.paused:
            due = after_pause(schedule.new, schedule.anchor, due, now)
        schedule.record = replace(schedule.record, paused=False, next_due=due)
        return True

    def trigger(self, name: str, flows: Collection[str]) -> Submitted | None:
        """Submit a run now, besides those that are due; none of a flow that is not among the *flows*."""
        schedule = self._schedules.get(name)
        if schedule is None or (schedule.new.flow is not None and schedule.new.handler not in flows):
            return None
        return self._submit(schedule.new.work)

    def shorten_waits(self, now: float) -> None:
        """Let none wait for longer than was asked for: the clock was set back."""
        for schedule in self._schedules.values():
            new, due = schedule.new, schedule.record.next_due
            if due is not None and (at := due_after_set_back(new.kind, new.rule, due, now)) is not None:
                schedule.anchor, schedule.record = now, replace(schedule.record, next_due=at)

    def fire_due(self, now: float) -> float | None:
        """Submit what is due; return when the next is due."""
        dues = []
        for schedule in self._schedules.values():
            due = schedule.record.next_due
            if schedule.record.paused or due is None:
                continue
            if due <= now:
                due = self._fire(schedule, due, now)
            if due is not None:
                dues.append(due)
        return min(dues, default=None)

    def _fire(self, schedule: _KeptSchedule, due: float, now: float) -> float | None:
        firing = fire(schedule.new, schedule.anchor, due, now)
        last = Submitted()
        for _ in firing.runs:
            last = self._submit(schedule.new.work)
        record = schedule.record
        schedule.record = replace(
            record,
            next_due=firing.next_due,
            last_due=firing.runs[-1] if firing.runs else record.last_due,
            last_job=last.job or record.last_job,
            last_run=last.run or record.last_run,
            runs=record.runs + len(firing.runs),
            missed_runs=record.missed_runs + firing.missed,
        )
        if firing.runs and schedule.new.kind == "fixed_delay":
            self._delays[last] = schedule
        return firing.next_due

    def ended(self, work: Submitted, now: float) -> None:
        """Let a fixed delay begin: what it has submitted has ended."""
        schedule = self._delays.pop(work, None) if self._delays else None
        if schedule is not None and schedule.new.kind == "fixed_delay" and schedule.record.next_due is None:
            schedule.record = replace(schedule.record, next_due=first_due(schedule.new, now))

    def clear(self) -> None:
        """Drop everything."""
        self._schedules.clear()
        self._delays.clear()
