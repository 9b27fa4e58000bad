"""Why a job is skipped because of those that it needs, in words."""

from __future__ import annotations

from typing import Final

from .records import JobStatus

NOT_NEEDED: Final = "nothing that it needs has failed"
"""Why a step for failures was skipped."""


def skip_reason(name: str, status: JobStatus) -> str | None:
    """Return why the dependants of a job do not run, None when that is no reason."""
    verb = {JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled", JobStatus.TIMED_OUT: "timed out"}
    return f"needs {name!r}, which {verb[status]}" if status in verb else None
