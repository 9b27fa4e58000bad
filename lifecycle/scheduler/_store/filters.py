"""Which jobs a list is to have; the same for every store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from .._ground.checks import check_integer, check_name
from .records import JobRecord, JobStatus
from .run_records import time_span, wanted_statuses


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted; what is not given does not matter.

    Attributes:
        statuses: in one of these states; none given means in any.
        run: of the run with this number.
        flow: of a run of the flow of this name.
        name: of this name.
        since, until: submitted at or after the one and before the other, both wall-clock times.
        limit: so many of the newest.
    """

    statuses: frozenset[JobStatus] = frozenset()
    run: int | None = None
    flow: str | None = None
    name: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 1_000

    def accepts(self, job: JobRecord) -> bool:
        """Return whether a job is wanted."""
        return (
            (not self.statuses or job.status in self.statuses)
            and (self.run is None or job.run_id == self.run)
            and (self.flow is None or job.flow == self.flow)
            and (self.name is None or job.name == self.name)
            and (self.since is None or job.created >= self.since)
            and (self.until is None or job.created < self.until)
        )


def job_filter(
    *,
    status: JobStatus | Collection[JobStatus] | None = None,
    run: int | None = None,
    flow: str | None = None,
    name: str | None = None,
    since: datetime | float | None = None,
    until: datetime | float | None = None,
    limit: int = 1_000,
) -> JobFilter:
    """Return the filter for what was asked for.

    Raises:
        TypeError, ValueError: something of it is not right.
    """
    check_integer(limit, "limit", 1, 2**53)
    if run is not None:
        check_integer(run, "run", 1, 2**53)
    check_name(flow, "flow")
    check_name(name)
    return JobFilter(wanted_statuses(status), run, flow, name, *time_span(since, until), limit)
