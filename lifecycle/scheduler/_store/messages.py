"""What processes that share a store tell each other through it."""

from dataclasses import dataclass
from typing import NamedTuple

from .records import JobStatus


class Report(NamedTuple):
    """What a running attempt shows of itself.

    Attributes:
        id: the job's number.
        attempt: the number of the attempt.
        log: the last lines of its log.
        logged: how many lines it has logged, with those that are gone.
        progress: how far it is, and of how much.
    """

    id: int
    attempt: int
    log: str
    logged: int
    progress: tuple[float, float | None] | None


@dataclass(frozen=True, slots=True)
class Notice:
    """Another process has changed a job, or it has crashed its process too often: one that runs has to be stopped.

    Attributes:
        id: the notice's number.
        job_id: the job's number.
        run_id: its run.
        name: its name.
        reason: why.
        status: where it is.
        run_finished: whether its run has no unfinished job left.
        attempt: the attempt that has to be stopped; None for whichever runs.
        lost: whether that is because another attempt has the job already.
    """

    id: int
    job_id: int
    run_id: int | None
    name: str
    reason: str
    status: JobStatus
    run_finished: bool
    attempt: int | None = None
    lost: bool = False
