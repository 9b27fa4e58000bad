"""Runs: the runs of flows that this process works on, each with a Scope of its own, and the flows that it serves."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from .._ground.errors import StoreError
from .._ground.events import Event
from .._store.records import JobRecord, JobStatus, flow_key
from .job import FlowRun
from .outcome import RunOutcome

if TYPE_CHECKING:
    from lifecycle import Scope

    from .._blocks.flow import Flow
    from .._store.protocol import Store
    from .._store.records import NewRun, OpenedRun
    from .feed import Feed

logger = logging.getLogger("lifecycle.scheduler")


class JobsOwner(Protocol):
    """What runs need of the engine that runs their jobs."""

    name: str  #: the scheduler's, for logs

    async def cancel_run(self, run_id: int, reason: str) -> bool:
        """Cancel all jobs of a run that have not ended; return whether there was one."""

    def fail(self, error: Exception) -> None:
        """Stop: the store cannot be used any more."""

    def wake_reconciler(self) -> None:
        """Start watching for cancellations from other processes."""


class Runs:
    """The unfinished runs of this process, from their submission, or their take-over, to their outcome.

    Args:
        store: where the runs and their jobs are.
        scope: owns the runs.
        feed: publishes when a run starts and ends.
        jobs: runs the jobs.

    Attributes:
        open: the unfinished runs, by their numbers; the Scope of a run takes it out.
        flows: the flows whose runs may come from the store, by their `flow_key`; replaced and never changed, because
            the store's thread reads it.
    """

    def __init__(self, store: Store, scope: Scope, feed: Feed, jobs: JobsOwner) -> None:
        self.open: dict[int, FlowRun] = {}
        self.flows: Mapping[str, Flow] = {}
        self._served: set[str] = set()  # the keys of those that are served, whether a run of them is open or not
        self._counts: Counter[str] = Counter()  # the open runs of each
        self._store = store
        self._scope = scope
        self._feed = feed
        self._jobs = jobs

    async def submit(self, flow: Flow, params: Mapping[str, Any], run: NewRun, *, resume: bool, fresh: bool) -> FlowRun:
        """Start a run of a flow, or take over its unfinished one, and return a handle on it."""
        opened = await self._store.open_run(run, resume=resume, fresh=fresh)
        held = self._hold(flow, params, opened)
        if not opened.unfinished:
            await self.end(held.id)  # what was left of it has crashed its process too often
        return held

    async def serve(self, flow: Flow) -> None:
        """Let schedules start runs of a flow, and continue those that no process works on."""
        key = flow_key(flow.name, flow.digest)
        self._served.add(key)
        self.flows = {**self.flows, key: flow}
        left = await self._store.adopt_runs(flow.name, flow.digest)
        for run in left.changed:
            advice = "finish it with that version of the flow, or cancel its jobs"
            extra = {"owner": self._jobs.name, "run": run, "flow": flow.name, "advice": advice}
            logger.warning("unfinished run of another version of the flow left alone", extra=extra)
        self._store.look_again()

    async def take_up(self, number: int) -> FlowRun | None:
        """Return the handle on a run that the store has begun for us: a schedule was due, or a process left it.

        None when its flow is not served here: then its sender was cancelled while it was submitted.
        """
        stored = await self._store.run(number)
        run = self.open.get(number)
        if run is not None or stored is None or stored.key not in self.flows:
            return run
        run = self._hold(self.flows[stored.key], json.loads(stored.params), stored.opened)
        if not stored.opened.unfinished:
            await self.end(number)  # it was over before it was looked at
        return run

    async def begin(self, number: int) -> None:
        """Note that a job of a run has been taken, also of one that waited, or was not known here before."""
        run = self.open.get(number) or await self.take_up(number)
        if run is not None and run.waits:
            run.waits = False
            self._tell("run_started", run)

    async def end(self, number: int) -> None:
        """Close what belongs to a run whose jobs have all ended, and forget it."""
        run = self.open.get(number)
        if run is not None:
            await run._scope.aclose()  # runs `_close`
        self._store.forget(number)

    def _hold(self, flow: Flow, params: Mapping[str, Any], opened: OpenedRun) -> FlowRun:
        """Return the handle on a run that is ours in the store; what belongs to it is owned from now on."""
        if opened.run_id in self.open:
            return self.open[opened.run_id]
        scope = self._scope.child(f"run {opened.run_id} of {flow.name}")
        run = FlowRun(flow, params, opened, scope, self._jobs.cancel_run)
        self.open[run.id] = run
        scope.callback(self._drop, run)
        self._know(flow)
        scope.push_async_callback(self._close, run)
        self._tell("run_waiting" if run.waits else "run_started", run)
        self._jobs.wake_reconciler()
        return run

    def _know(self, flow: Flow) -> None:
        """Let the store give us jobs of a flow as long as a run of it is open, where any process does what it knows."""
        if self._store.shared:
            key = flow_key(flow.name, flow.digest)
            self._counts[key] += 1
            if key not in self.flows:
                self.flows = {**self.flows, key: flow}
                self._store.look_again()

    def _drop(self, run: FlowRun) -> None:
        del self.open[run.id]
        key = flow_key(run.flow.name, run.flow.digest)
        if self._store.shared and self._counts[key] == 1:
            del self._counts[key]
            if key not in self._served:
                self.flows = {name: flow for name, flow in self.flows.items() if name != key}
        elif self._store.shared:
            self._counts[key] -= 1

    def _tell(self, kind: str, run: FlowRun) -> None:
        data = {"flow": run.flow.name, "jobs": run.jobs, "unfinished": run.unfinished, "resumed": run.resumed}
        self._feed.publish(Event(kind, run_id=run.id, data=data))

    async def _close(self, run: FlowRun) -> None:
        """Give a run its outcome, as the release of its Scope. Jobs that are left make it *interrupted*."""
        jobs: tuple[JobRecord, ...] = ()
        status: JobStatus | None = None
        try:
            jobs = tuple(_interrupted(job) for job in await self._store.jobs_of(run.id))
            if (stored := await self._store.run(run.id)) is not None:
                status = stored.status
                run.cancelled |= stored.cancelled  # by another process
        except StoreError as error:
            self._jobs.fail(error)
        status = status or JobStatus.INTERRUPTED
        outcome = RunOutcome(run.flow.name, run.id, status, jobs)
        data = {"flow": run.flow.name, "status": status.value, "jobs": dict(outcome.counts())}
        self._feed.publish(Event("run_finished", run_id=run.id, data=data))
        run._end(outcome)


def _interrupted(job: JobRecord) -> JobRecord:
    return replace(job, status=JobStatus.INTERRUPTED) if job.status is JobStatus.RUNNING else job
