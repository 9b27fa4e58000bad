"""What became of a job, or of a whole run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._ground.errors import JobFailed
from .._ground.events import Event
from .._store.records import Claimed, Ending, JobRecord, JobStatus


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What became of a job.

    Attributes:
        name: the job's name.
        status: how it ended; ``interrupted`` when the scheduler was closed before it could end.
        result: what it returned, None unless it succeeded.
        error: one line that says what went wrong or why it was cancelled, None when it succeeded.
        attempts: how often it was started.
        seconds: how long its last attempt took.
        exception: what the last attempt raised, when that happened in this process.
    """

    name: str
    status: JobStatus
    result: Any = None
    error: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    exception: BaseException | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the job succeeded."""
        return self.status is JobStatus.SUCCEEDED

    def unwrap(self) -> Any:
        """Return the result.

        Raises:
            JobFailed: the job did not succeed; from what it raised, if that is known.
        """
        if self.succeeded:
            return self.result
        raise JobFailed(f"job {self.name!r} {self.status.value}: {self.error}") from self.exception


def outcome_of(claimed: Claimed, ending: Ending, exception: BaseException | None) -> JobOutcome:
    """Return what became of the job whose last attempt ended so."""
    return JobOutcome(
        claimed.name, ending.status, ending.result, ending.error, claimed.attempt, ending.seconds, exception
    )


def event_data(ending: Ending) -> dict[str, Any]:
    """Return the same as the data of an event."""
    data: dict[str, Any] = {"status": ending.status.value, "seconds": round(ending.seconds, 6)}
    return data if ending.error is None else {**data, "error": ending.error}


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What became of a run of a flow.

    Attributes:
        flow: the flow's name.
        run_id: the run's number.
        status: ``succeeded`` only if every job succeeded, but for those that may fail and steps for failures that were
            not needed; ``cancelled`` if the run was; else ``failed``, or ``interrupted`` when jobs are left.
        jobs: what the store says of every job, without results.
    """

    flow: str
    run_id: int
    status: JobStatus
    jobs: tuple[JobRecord, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether every job succeeded that had to."""
        return self.status is JobStatus.SUCCEEDED

    def counts(self) -> Mapping[str, int]:
        """Return how many jobs ended how."""
        counts: dict[str, int] = {}
        for job in self.jobs:
            counts[job.status.value] = counts.get(job.status.value, 0) + 1
        return counts


def event_of(claimed: Claimed, kind: str, data: Mapping[str, Any]) -> Event:
    """Return what has happened to an attempt, as an event."""
    if claimed.metadata:
        data = {**data, "metadata": claimed.metadata}
    return Event(kind, claimed.id, claimed.name, claimed.run_id, claimed.attempt, data)
