"""Runs by their numbers: what a scheduler can tell of any run in its store, and do with it, whoever began it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from .._ground.checks import check_name, check_number
from .._ground.errors import RunConflict
from .._store.records import JobStatus
from .._store.run_records import RunFilter, RunRecord, run_filter
from .engine import Engine
from .job import RunEnd
from .outcome import RunOutcome
from .reconciler import run_outcome


class RunAccess:
    """The runs of flows in the store of an open scheduler; see ``Scheduler.runs``.

    All raise TypeError or ValueError for an argument that is not right, OwnerClosed when the scheduler is not open, and
    StoreError when the store cannot be used any more. A store in memory forgets a run that has ended.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def list(
        self,
        *,
        status: JobStatus | Collection[JobStatus] | None = None,
        flow: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        limit: int = 100,
    ) -> Sequence[RunRecord]:
        """Return the newest runs, the newest last.

        Cancellation: nothing has happened.

        Args:
            status: only those in this state, or in one of these.
            flow: only those of the flow of this name.
            since, until: only those that began at or after the one and before the other: datetimes with a time zone, or
                seconds since 1970.
            limit: how many at most, 1 or more.

        Raises:
            TypeError, ValueError: an argument is not right.
        """
        wanted = run_filter(status=status, flow=flow, since=since, until=until, limit=limit)
        return await self._engine().store.runs(wanted)

    async def show(self, run_id: int) -> RunRecord | None:
        """Return what the store knows of the run with this number, None when there is no such run.

        Cancellation: nothing has happened.
        """
        check_number(run_id, "run_id")
        return next(iter(await self._engine().store.runs(RunFilter(run=run_id, limit=1))), None)

    async def cancel(self, run_id: int, reason: str | None = None) -> bool:
        """Ask all jobs of a run to end, queued or running; return False when there is none that had not ended.

        Also False when there is no such run.

        Cancellation: the request may have been noted.
        """
        check_number(run_id, "run_id")
        check_name(reason, "reason")
        return await self._engine().cancel_run(run_id, reason or "the run was cancelled")

    async def retry(self, run_id: int) -> int:
        """Let the jobs of a run wait again that did not succeed; return how many. What has succeeded is kept.

        The run is open again. It goes on here if this scheduler serves that version of its flow, else in a process that
        does, within a second. An unfinished run that nobody works on goes on as well.

        Cancellation: they may wait again.

        Raises:
            LookupError: there is no such run.
            RunConflict: the flow that is served here has changed since, or jobs of the run have been deleted.
        """
        check_number(run_id, "run_id")
        engine = self._engine()
        stored = await engine.store.run(run_id)
        if stored is None:
            raise LookupError(f"there is no run {run_id} in the store")
        served = engine.runs.flows
        if stored.key not in served and any(flow.name == stored.flow for flow in served.values()):
            raise RunConflict(f"flow {stored.flow!r} has changed since its run {run_id} began", flow_changed=True)
        revived = await engine.store.revive_run(run_id, tuple(served))
        if revived is None:
            raise LookupError(f"there is no run {run_id} in the store")
        if revived.refused:
            number, why = next(iter(revived.refused.items()))
            raise RunConflict(f"run {run_id} cannot be tried again: job {number}: {why}")
        if revived.ours:
            await engine.runs.take_up(run_id)
        engine.store.look_again()
        return len(revived.jobs) + revived.skipped

    async def wait(self, run_id: int) -> RunOutcome:
        """Return what becomes of a run as soon as it has ended, in whatever process.

        Cancellation: ends the waiting, not the run.

        Raises:
            LookupError: there is no such run.
        """
        check_number(run_id, "run_id")
        engine = self._engine()
        run = engine.runs.open.get(run_id)
        if run is not None and not run.done:
            return await run.wait()
        record = await self.show(run_id)
        if record is None:
            raise LookupError(f"there is no run {run_id} in the store")
        if record.finished is not None:
            return await run_outcome(engine.store, run_id, record.flow)
        return await engine.reconciler.watch_run(run_id, record.flow, RunEnd).wait()
