"""The data that the page shows: the one place that asks the scheduler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from lifecycle import Snapshot, take_snapshot

from .._store.records import JobRecord, JobStatus
from .._store.schedule_records import ScheduleRecord

if TYPE_CHECKING:
    from .._engine.scheduler import Scheduler

RUNNING: Final = 200
"""Running jobs that are shown."""

LOOKED_AT: Final = 500
"""The newest jobs, among which the last ended ones are looked for."""

ENDED: Final = 50
"""Ended jobs that are shown."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to show at one moment.

    Attributes:
        statistics: what the scheduler does and has done.
        running: the jobs that run, the newest first.
        ended: the newest jobs that have ended, the newest first; a store in memory forgets them.
        schedules: all schedules, by name.
        owners: who owns what in this process.
    """

    statistics: dict[str, Any]
    running: tuple[JobRecord, ...]
    ended: tuple[JobRecord, ...]
    schedules: tuple[ScheduleRecord, ...]
    owners: Snapshot

    def jobs(self) -> dict[str, Any]:
        """Return the jobs for JSON; without results, logs and tracebacks."""
        jobs = {"running": self.running, "ended": self.ended}
        return {kind: [job.to_dict(details=False) for job in some] for kind, some in jobs.items()}


async def look(scheduler: Scheduler) -> Facts:
    """Return what there is to show now.

    Cancellation: nothing has happened.

    Raises:
        OwnerClosed: the scheduler is not open.
        StoreError: the store cannot be used any more.
    """
    running = await scheduler.jobs(status=JobStatus.RUNNING, limit=RUNNING)
    newest = await scheduler.jobs(limit=LOOKED_AT)
    ended = [job for job in reversed(newest) if job.status.final][:ENDED]
    schedules = await scheduler.schedules()
    statistics = {**asdict(scheduler.statistics()), "ended": dict(scheduler.statistics().ended)}
    return Facts(statistics, tuple(reversed(running)), tuple(ended), tuple(schedules), take_snapshot())
