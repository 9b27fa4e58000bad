"""Rows of jobs, as every durable store reads them, and the records that are made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from .records import JobRecord, JobStatus

FIELDS: Final = (
    *("id", "run_id", "flow", "name", "kind", "status", "priority", "attempts", "failures", "retries"),
    *("seconds", "created", "started", "finished", "due", "error", "queue", "crashes", "may_fail"),
    *("logged", "done", "total", "expires", "key", "metadata"),
)
"""What a row begins with."""


def job_record(row: Sequence[Any], waits_for: str | None, **details: Any) -> JobRecord:
    """Return the record of a row that begins with `FIELDS`, of a job that waits for what *waits_for* says."""
    fields = dict(zip(FIELDS, row, strict=False))
    status, due, metadata = JobStatus(fields.pop("status")), fields.pop("due") or None, fields.pop("metadata")
    fields["may_fail"] = bool(fields["may_fail"])
    done, total = fields.pop("done"), fields.pop("total")
    progress, more = None if done is None else (done, total), {} if metadata is None else json.loads(metadata)
    return JobRecord(**fields, status=status, due=due, waits_for=waits_for, progress=progress, metadata=more, **details)
