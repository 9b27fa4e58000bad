"""Jobs of a store as tables, for ``lifecycle jobs``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...scheduler._words import cells_of, duration, moment, note_of, progress_of, spaced
from ._lines import say, say_json, say_table

if TYPE_CHECKING:
    from ...scheduler._store.records import JobRecord


def print_jobs(jobs: Sequence[JobRecord], *, as_json: bool) -> None:
    """Print jobs, one line each."""
    if as_json:
        for job in jobs:
            say_json(job.to_dict(details=False))
        return
    head = ("id", "run", "flow", "job", "state", "attempts", "priority", "submitted", "time", "")
    rows = [
        (*cells_of(job), str(job.priority), moment(job.created) or "-", duration(job.seconds), note_of(job))
        for job in jobs
    ]
    say_table(head, rows, right=(0, 1, 5, 6, 8))


def print_job(job: JobRecord, *, as_json: bool) -> None:
    """Print everything of one job."""
    if as_json:
        say_json(job.to_dict())
        return
    say_facts(
        [
            ("job", f"{job.id} {job.name}"),
            ("flow", f"{job.flow}, run {job.run_id}" if job.run_id else None),
            ("kind", job.kind),
            ("state", spaced(job.status.value)),
            ("waits for", job.waits_for),
            ("priority", job.priority),
            ("needs", ", ".join(job.needs)),
            ("attempts", f"{job.attempts}, of them {job.failures} failed; {job.retries} retries allowed"),
            ("created", moment(job.created)),
            ("due", moment(job.due)),
            ("started", moment(job.started)),
            ("finished", moment(job.finished)),
            ("time", duration(job.seconds) if job.seconds is not None else None),
            ("progress", progress_of(job.progress) if job.progress else None),
            ("error", job.error),
            ("result", None if job.result is None else json.dumps(job.result, ensure_ascii=False, indent=2)),
            ("log", job.log),
            ("traceback", job.trace),
        ]
    )


def say_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print facts with their names, those that there are."""
    for name, value in facts:
        if value not in (None, ""):
            say(_fact(name, str(value)))


def _fact(name: str, text: str) -> str:
    first, *rest = text.rstrip().split("\n")
    return "\n".join([f"{name:<10} {first}", *(f"{'':<10} {line}" for line in rest)])
