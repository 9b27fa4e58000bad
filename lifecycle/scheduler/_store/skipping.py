"""Why a job is skipped because of those that it needs, in words."""

from __future__ import annotations

from typing import Final, Literal

from .records import JobStatus

When = Literal["success", "failure", "always"]

WHEN: Final[tuple[When, ...]] = ("success", "failure", "always")
"""How those that a job needs must have ended."""

NOT_NEEDED: Final = "nothing that it needs has failed"
"""Why a step for failures was skipped."""


def unrun(when: str, blocked: str | None, trouble: bool) -> tuple[JobStatus, str] | None:
    """Return how a job ends that is not to run, and why, now that all that it needs has ended; None for one that is.

    In an SQLite file `settling` says the same.

    Args:
        when: how its needs must have ended.
        blocked: why it will not run on success; None when nothing speaks against it.
        trouble: whether anything above it did not succeed.
    """
    if when == "success" and blocked is not None:
        return JobStatus.CANCELLED, blocked
    if when == "failure" and not trouble:
        return JobStatus.SKIPPED, NOT_NEEDED
    return None


def skip_reason(name: str, status: JobStatus) -> str | None:
    """Return why the dependants of a job do not run, None when that is no reason."""
    verb = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled", JobStatus.TIMED_OUT: "timed out"}
    return f"needs {name!r}, which {verb[status]}" if status in verb else None
