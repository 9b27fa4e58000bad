"""Runs of a store as tables, for ``lifecycle runs``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...scheduler._words import ORDER, moment, spaced
from ._jobs import print_jobs, say_facts
from ._lines import say_json, say_table

if TYPE_CHECKING:
    from ...scheduler import JobRecord, RunRecord


def print_runs(runs: Sequence[RunRecord], *, as_json: bool) -> None:
    """Print runs, one line each."""
    if as_json:
        for run in runs:
            say_json(run.to_dict())
        return
    head = ("run", "flow", "state", "begun", "finished", "jobs")
    rows = [
        (
            str(run.id),
            run.flow,
            spaced(run.status.value),
            moment(run.created) or "-",
            moment(run.finished) or "-",
            _counts(run.jobs),
        )
        for run in runs
    ]
    say_table(head, rows, right=(0,))


def print_run(run: RunRecord, jobs: Sequence[JobRecord], *, as_json: bool) -> None:
    """Print everything of one run, and its jobs."""
    if as_json:
        say_json({**run.to_dict(), "of_jobs": [job.to_dict(details=False) for job in jobs]})
        return
    say_facts(
        [
            ("run", f"{run.id} {run.flow}"),
            ("state", spaced(run.status.value)),
            ("waits for", run.waits_for),
            ("params", json.dumps(dict(run.params), ensure_ascii=False) if run.params else None),
            ("begun", moment(run.created)),
            ("finished", moment(run.finished)),
            ("jobs", _counts(run.jobs)),
        ]
    )
    print_jobs(jobs, as_json=False)


def _counts(jobs: Mapping[str, int]) -> str:
    return ", ".join(f"{jobs[state]:,} {spaced(state)}" for state in ORDER if jobs.get(state))
