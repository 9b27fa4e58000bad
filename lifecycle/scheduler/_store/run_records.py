"""Runs as a store has them, and which of them a list is to have; the same for every store."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from .._ground.checks import check_integer, check_name, wall_time
from .records import JobStatus


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run of a flow as the store has it, to be shown.

    Attributes:
        id: its number.
        flow: the flow's name.
        status: ``pending`` while it waits for other runs of its flow, ``running`` while a scheduler works on it,
            ``interrupted`` while it is unfinished and none does; then how it ended, as its `RunOutcome` says.
        params: the values of the flow's parameters.
        jobs: how many of its jobs are in which state, by its value; states without a job are left out.
        created, finished: wall-clock times; None for what has not happened.
        waits_for: which runs of its flow it waits for, in words; None for one that does not wait.
    """

    id: int
    flow: str
    status: JobStatus
    params: Mapping[str, Any]
    jobs: Mapping[str, int]
    created: float
    finished: float | None
    waits_for: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain table."""
        table = {name: getattr(self, name) for name in self.__slots__}
        return {**table, "status": self.status.value, "params": dict(self.params), "jobs": dict(self.jobs)}


class EndedJob(Protocol):
    """What says how a run ended whose job it is."""

    @property
    def status(self) -> JobStatus:
        """How the job ended."""

    @property
    def may_fail(self) -> bool:
        """Whether its failure is allowed."""


def run_status(jobs: Iterable[EndedJob], *, cancelled: bool) -> JobStatus:
    """Return how a run with these jobs ended; a failure may be allowed, a cancellation is not.

    In an SQLite file `settling.RUN_STATUS` says the same.
    """
    if all(job.status in _GOOD or (job.status in _FAILURES and job.may_fail) for job in jobs):
        return JobStatus.SUCCEEDED
    return JobStatus.CANCELLED if cancelled else JobStatus.FAILED


RUN_STATES: Final = frozenset(
    {
        JobStatus.PENDING,
        JobStatus.RUNNING,
        JobStatus.INTERRUPTED,
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    }
)
"""The states that a run can be in: fewer than a job."""

_GOOD: Final = (JobStatus.SUCCEEDED, JobStatus.SKIPPED)
_FAILURES: Final = (JobStatus.FAILED, JobStatus.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; what is not given does not matter.

    Attributes:
        statuses: in one of these states; none given means in any.
        run: the one with this number.
        flow: of the flow of this name.
        since, until: begun at or after the one and before the other, both wall-clock times.
        limit: so many of the newest.
    """

    statuses: frozenset[JobStatus] = frozenset()
    run: int | None = None
    flow: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 1_000

    def accepts(self, record: RunRecord) -> bool:
        """Return whether a run is wanted."""
        return (
            (not self.statuses or record.status in self.statuses)
            and (self.run is None or record.id == self.run)
            and (self.flow is None or record.flow == self.flow)
            and (self.since is None or record.created >= self.since)
            and (self.until is None or record.created < self.until)
        )


def run_filter(
    *,
    status: JobStatus | Collection[JobStatus] | None = None,
    flow: str | None = None,
    since: datetime | float | None = None,
    until: datetime | float | None = None,
    limit: int = 1_000,
) -> RunFilter:
    """Return the filter for what was asked for.

    Raises:
        TypeError, ValueError: something of it is not right.
    """
    check_integer(limit, "limit", 1, 2**53)
    check_name(flow, "flow")
    statuses = wanted_statuses(status)
    if statuses and not statuses & RUN_STATES:  # all but one, written as a set, may have those of jobs among them
        names = ", ".join(sorted(status.value for status in RUN_STATES))
        raise ValueError(f"status: a run is never {min(statuses, key=str).value}; there are {names}")
    return RunFilter(statuses, None, flow, *time_span(since, until), limit)


def time_span(since: datetime | float | None, until: datetime | float | None) -> tuple[float | None, float | None]:
    """Return both ends of a time as seconds since 1970.

    Raises:
        TypeError, ValueError: one is no time, or the end comes before the beginning.
    """
    begins, ends = wall_time(since, "since"), wall_time(until, "until")
    if begins is not None and ends is not None and ends < begins:
        raise ValueError("until comes before since, so that nothing is between them")
    return begins, ends


def wanted_statuses(status: JobStatus | Collection[JobStatus] | None) -> frozenset[JobStatus]:
    """Return one state, or several, as a set.

    Raises:
        TypeError: one of them is no state.
    """
    given = () if status is None else (status,) if isinstance(status, (JobStatus, str)) else tuple(status)
    for one in given:
        if not isinstance(one, JobStatus):
            raise TypeError(f"status must be a JobStatus, several of them, or None, got {one!r}")
    return frozenset(given)
