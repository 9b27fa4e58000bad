"""What becomes of a job that is submitted on terms: stored, or its twin found, or what it needs is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .records import Cancelling, JobStatus, Skipped
from .skipping import skip_reason

AT_ONCE = 100
"""Jobs that expire in one transaction; the others in the next ones."""


class Found(NamedTuple):
    """A job that is in the store."""

    id: int
    name: str
    status: JobStatus
    trouble: bool = False  #: whether anything above it did not succeed


class Admitted(NamedTuple):
    """What became of a job that was submitted on terms.

    Attributes:
        job: its number; None when it was not stored.
        twin: the job that had its key; None when there was none.
        unknown: the numbers among its needs that no job has; it was not stored then.
        replaced: what the request to cancel the twin met; None when there was none.
        unrun: how it has ended at once, when what it needs has ended in a way in which it does not run.
    """

    job: int | None = None
    twin: Found | None = None
    unknown: tuple[int, ...] = ()
    replaced: Cancelling | None = None
    unrun: Skipped | None = None


def first_lost(needed: Sequence[Found]) -> str | None:
    """Return why a job will not run that needs these, None when each has succeeded or may succeed still."""
    for job in needed:
        reason = skip_reason(job.name, job.status)
        if reason is not None:
            return reason
    return None
