"""Schedules of the store in memory: the same rules, without a file."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from ..._ground.errors import RunConflict
from ..pace import OVERTAKEN, Bound
from ..records import NewJob, NewRun
from ..rules import after_pause, anchor_of, cron_due, due_after, due_after_set_back, fire, first_due, starting_at
from ..schedule_records import NewSchedule, ScheduleRecord, Submitted

logger = logging.getLogger("lifecycle.scheduler")


@dataclass(slots=True)
class _KeptSchedule:
    new: NewSchedule
    anchor: float
    record: ScheduleRecord
    unfinished: dict[Submitted, None] = field(default_factory=dict)  # the oldest first
    run_for: deque[float] = field(default_factory=lambda: deque(maxlen=1000))  # the last due times


class MemorySchedules:
    """Keeps schedules for the life of one store.

    Args:
        submit: submits a job or a run.
        call_off: cancels it, now or soon; again it does nothing.
        waits: whether a run waits for others of its flow.
    """

    def __init__(
        self,
        submit: Callable[[NewJob | NewRun], Submitted],
        call_off: Callable[[Submitted, str], object],
        waits: Callable[[int], bool],
    ) -> None:
        self._waits = waits
        self._submit = submit
        self._call_off = call_off
        self._schedules: dict[str, _KeptSchedule] = {}
        self._submitted: dict[Submitted, _KeptSchedule] = {}  # what has not ended

    def put(self, new: NewSchedule, now: float) -> ScheduleRecord:
        """Store a schedule, or change the one of this name."""
        old = self._schedules.get(new.name)
        fields = (new.name, *new.timing, new.missed, new.misfire_grace)
        if old is None:
            due = first_due(new, now)
            record = ScheduleRecord(*fields, False, due, None, None, 0, 0, new.flow, None, new.calls)
            record = replace(record, **new.pace._asdict())
            self._schedules[new.name] = _KeptSchedule(new, anchor_of(new, now), record)
            return record
        same = (old.new.timing, *old.new.pace[3:]) == (new.timing, *new.pace[3:])
        before = old.record
        due = before.next_due if same else first_due(new, now)
        old.new, old.anchor = new, old.anchor if same else anchor_of(new, now)
        counts = (before.last_due, before.last_job, before.runs, before.missed_runs)
        record = ScheduleRecord(*fields, before.paused, due, *counts, new.flow, before.last_run, new.calls)
        held = before.waiting if same else None
        old.record = replace(record, **new.pace._asdict(), waiting=held, skipped_runs=before.skipped_runs)
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

    def set_bound(self, name: str, bound: Bound) -> bool:
        """Change how many of its runs go on at once."""
        schedule = self._schedules.get(name)
        if schedule is None:
            return False
        schedule.new = replace(schedule.new, pace=schedule.new.pace._replace(**bound._asdict()))
        schedule.record = replace(schedule.record, **bound._asdict())
        return True

    def trigger(self, name: str, flows: Collection[str]) -> Submitted | None:
        """Submit a run now, besides those that are due; none of a flow that is not among the *flows*."""
        schedule = self._schedules.get(name)
        if schedule is None or (schedule.new.flow is not None and schedule.new.handler not in flows):
            return None
        return self._run(schedule, schedule.new.work)

    def shorten_waits(self, now: float) -> None:
        """Let none wait for longer than was asked for: the clock was set back."""
        for schedule in self._schedules.values():
            new, due = schedule.new, schedule.record.next_due
            if due is not None and due > now and new.kind == "cron":
                due = cron_due(new.rule, new.timezone, new.pace, now, schedule.run_for.__contains__)
                schedule.record = replace(schedule.record, next_due=due)
            elif due is not None and (at := _set_back(new, due, now)) is not None:
                schedule.anchor, schedule.record = now, replace(schedule.record, next_due=at)

    def fire_due(self, now: float) -> float | None:
        """Submit what is due; return when the next is due."""
        dues = []
        for schedule in self._schedules.values():
            if schedule.record.paused:
                continue
            due = schedule.record.next_due
            if due is not None and due <= now:
                due = self._look(schedule, due, now)
            if schedule.record.waiting is not None and _has_room(schedule):
                self._fire_waiting(schedule, schedule.record.waiting, now)
            if due is not None:
                dues.append(due)
        return min(dues, default=None)

    def _look(self, schedule: _KeptSchedule, due: float, now: float) -> float | None:
        """Submit what is due of a schedule, as far as there is room for it; return when it is due next."""
        new = schedule.new
        firing = fire(new, schedule.anchor, due, now)
        record = schedule.record
        missed = record.missed_runs + firing.missed
        schedule.record = replace(record, next_due=firing.next_due, missed_runs=missed)
        for at in firing.runs:
            # A clock that has been ahead for a moment shows an instant twice.
            placed = at not in schedule.run_for and self._place(schedule, at, now)
            if not placed and new.kind == "fixed_delay":
                following = new.pace.within(due_after(new, schedule.anchor, now))
                schedule.record = replace(schedule.record, next_due=following)
        return schedule.record.next_due

    def _place(self, schedule: _KeptSchedule, at: float, now: float) -> bool:
        """Submit the run for a due time, after the one that waits already; return whether it was submitted."""
        bound, waiting = schedule.new.pace.bound, schedule.record.waiting
        if waiting == at:
            return False
        if waiting is not None and bound.overlap == "queue" and _has_room(schedule):
            self._fire_waiting(schedule, waiting, now)
            waiting = None
        room = _has_room(schedule)
        if room and waiting is None:
            return self._fire(schedule, at, now)
        if not room:
            unfinished = list(schedule.unfinished)
            for place in bound.to_cancel([(place, False) for place in range(len(unfinished))]):
                self._call_off(unfinished[place], OVERTAKEN)
        self._hold(schedule, at)
        return False

    def _fire_waiting(self, schedule: _KeptSchedule, at: float, now: float) -> None:
        schedule.record = replace(schedule.record, waiting=None)
        self._fire(schedule, at, now)

    def _fire(self, schedule: _KeptSchedule, at: float, now: float) -> bool:
        """Submit a run for a due time, and return whether its flow lets it begin, or wait: one of each at most."""
        try:
            bound = schedule.new.flow_bound
            if bound.overlap == "queue" and any(self._waits(one.run) for one in schedule.unfinished if one.run):
                raise RunConflict("one run of the schedule waits")
            last = self._run(schedule, starting_at(schedule.new, at, now))
        except RunConflict:
            self._skip(schedule, schedule.new.flow_bound)
            return False
        record = schedule.record
        schedule.run_for.append(at)
        last_job, last_run = last.job or record.last_job, last.run or record.last_run
        schedule.record = replace(record, last_due=at, last_job=last_job, last_run=last_run, runs=record.runs + 1)
        return True

    def _run(self, schedule: _KeptSchedule, work: NewJob | NewRun) -> Submitted:
        submitted = self._submit(work)
        self._submitted[submitted] = schedule
        schedule.unfinished[submitted] = None
        return submitted

    def _hold(self, schedule: _KeptSchedule, at: float) -> None:
        """Let a due time wait, or skip it, because as many runs as there may be have not ended."""
        pace, record = schedule.new.pace, schedule.record
        held, skips = pace.held(record.waiting, at)
        schedule.record = replace(schedule.record, waiting=held)
        if skips:
            self._skip(schedule, pace.bound)

    def _skip(self, schedule: _KeptSchedule, bound: Bound) -> None:
        """Count a run that there is not, because of the bound of the schedule, or of its flow."""
        record = schedule.record
        extra = {"schedule": record.name, "max_instances": bound.max_instances, "overlap": bound.overlap}
        logger.info("run of a schedule skipped", extra=extra)
        schedule.record = replace(record, skipped_runs=record.skipped_runs + 1)

    def ended(self, work: Submitted, now: float) -> bool:
        """Let a fixed delay begin, and make room: what was submitted has ended. Return whether it was a schedule's."""
        schedule = self._submitted.pop(work, None) if self._submitted else None
        if schedule is None:
            return False
        del schedule.unfinished[work]
        record = schedule.record
        if (
            schedule.new.kind == "fixed_delay"
            and record.next_due is None
            and work in (Submitted(job=record.last_job), Submitted(run=record.last_run))
        ):
            schedule.record = replace(record, next_due=schedule.new.pace.within(now + float(schedule.new.rule)))
        return True

    def clear(self) -> None:
        """Drop everything."""
        self._schedules.clear()
        self._submitted.clear()


def _has_room(schedule: _KeptSchedule) -> bool:
    limit = schedule.new.pace.max_instances
    return limit is None or len(schedule.unfinished) < limit


def _set_back(new: NewSchedule, due: float, now: float) -> float | None:
    return due_after_set_back(new.kind, new.rule, due, now, new.pace.starts)
