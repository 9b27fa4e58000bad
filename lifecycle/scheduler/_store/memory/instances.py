"""The runs of each flow in the store in memory: which go on, which wait for them; as `instances` has it for a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..._ground.errors import RunConflict
from ..pace import REPLACED, UNBOUNDED, Bound
from ..records import NewRun
from ..schedule_records import Submitted
from ..waiting import refused_beside
from .kept import KeptJob, KeptRun


@dataclass(slots=True)
class _OfFlow:
    bound: Bound = UNBOUNDED
    going: dict[int, KeptRun] = field(default_factory=dict)
    waiting: dict[int, KeptRun] = field(default_factory=dict)


class MemoryInstances:
    """Keeps the unfinished runs by their flows.

    Args:
        call_off: cancels a run, now or soon; once more it does nothing.
        begin: lets a job begin that waits for nothing more.
    """

    def __init__(self, call_off: Callable[[Submitted, str], object], begin: Callable[[KeptJob, float], object]) -> None:
        self._call_off = call_off
        self._begin = begin
        self._flows: dict[str, _OfFlow] = {}

    def make_room(self, new: NewRun) -> None:
        """Cancel what a new run replaces.

        Raises:
            RunConflict: it is not begun beside the others.
        """
        flow, bound = self._flows.get(new.flow, _OfFlow()), new.bound
        if bound.overlap == "skip" and not bound.has_room(len(flow.going)):
            others = list(flow.going)
            raise RunConflict(f"{new.source}: {refused_beside(new.flow, others, bound)}", run_ids=others)
        if bound.overlap == "cancel_running":
            oldest = bound.to_cancel([(number, run.cancelled) for number, run in flow.going.items()])
            for run in (*flow.waiting.values(), *(flow.going[number] for number in oldest)):
                self._call_off(Submitted(run=run.id), REPLACED)

    def enter(self, run: KeptRun) -> None:
        """Note a new run, which waits for its turn when its flow has a bound."""
        flow = self._flows.setdefault(run.new.flow, _OfFlow())
        flow.bound = run.new.bound
        if flow.bound.max_instances is None:
            flow.going[run.id] = run
        else:
            flow.waiting[run.id], run.behind = run, flow.going
        self._let_in(flow)

    def _let_in(self, flow: _OfFlow) -> None:
        """Let the oldest runs of a flow begin that wait and for which there is room."""
        while flow.waiting and flow.bound.has_room(len(flow.going)):
            number, run = next(iter(flow.waiting.items()))
            del flow.waiting[number]
            flow.going[number], run.behind = run, None
            for job in run.jobs.values():
                if not job.status.final:
                    job.unmet -= 1
                    if not job.unmet:
                        self._begin(job, time.time())

    def ended(self, run: KeptRun) -> None:
        """Make room: a run has ended."""
        flow = self._flows[run.new.flow]
        flow.going.pop(run.id, None)
        flow.waiting.pop(run.id, None)
        run.behind = None
        self._let_in(flow)
        if not (flow.going or flow.waiting):
            self._flows.pop(run.new.flow, None)

    def reopened(self, run: KeptRun | None) -> None:
        """Note a run of which jobs wait again, if it had ended, which is one without a bound."""
        if run is None:
            return
        flow = self._flows.setdefault(run.new.flow, _OfFlow())
        if run.id not in flow.waiting:
            flow.going[run.id] = run

    @staticmethod
    def revivable(job: KeptJob | None) -> KeptJob | None:
        """Return a job whose run goes on, or has no bound: a run that has ended has lost its place."""
        run = None if job is None else job.run
        return job if run is None or run.unfinished or run.new.bound.max_instances is None else None

    def clear(self) -> None:
        """Drop everything."""
        self._flows.clear()
