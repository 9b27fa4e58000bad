"""Settling, in memory: what follows from the end of a job for those that need it, as `settling` has it for a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..records import JobStatus, Skipped
from .kept import skip_of

if TYPE_CHECKING:
    from .kept import KeptJob


def decide_dependants(
    job: KeptJob,
    reason: str | None,
    now: float,
    leave: Callable[[KeptJob, JobStatus, str | None, float], object],
    begin_to_wait: Callable[[KeptJob, float], object],
) -> tuple[Skipped, ...]:
    """Tell those that need a job that it has ended, skip those that are not to run, and so on; return what was skipped.

    Args:
        job: it has ended.
        reason: why others do not run because of it; None where they do.
        now: the wall-clock time.
        leave: takes a job out that is skipped.
        begin_to_wait: lets a job wait for its time and a worker, now that it needs nothing any more.
    """
    ended: list[tuple[KeptJob, str | None]] = [(job, reason)]
    skipped: list[Skipped] = []
    while ended:
        above, reason = ended.pop()
        for dependant, tolerant in above.told():
            dependant.unmet -= 1
            if dependant is not above.successor:  # that one waits for the end of it, and does not need it
                dependant.trouble |= reason is not None or above.trouble
            if not tolerant:
                dependant.blocked = dependant.blocked or reason
            if dependant.unmet != dependant.held or dependant.status is JobStatus.RUNNING:
                continue
            if (skip := skip_of(dependant)) is not None:
                leave(dependant, skip.status, skip.reason, now)
                dependant.skipped = True
                skipped.append(skip)
                ended.append((dependant, dependant.blocked))
            elif not dependant.unmet:
                begin_to_wait(dependant, now)
    return tuple(sorted(skipped, key=lambda skip: skip.id))
