"""Looking at jobs and runs in memory: lists, and single jobs."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..filters import JobFilter
from ..limits import Openings
from ..records import JobRecord, JobStatus, OpenedRun, Outputs, StoredRun, flow_key
from ..run_records import RunFilter, RunRecord
from .kept import KeptJob, KeptRun, record_of_job, record_of_run


def find(known: dict[int, KeptJob], kept: dict[int, KeptRun], number: int) -> KeptJob | None:
    """Return a job that has not ended, or has ended in a run that has not been forgotten."""
    job = known.get(number)
    if job is None:
        for run in kept.values():
            place = number - next(iter(run.jobs.values())).id  # the jobs of a run have numbers in a row
            if 0 <= place < len(run.jobs):
                return run.jobs[run.new.jobs[place].name]
    return job


def jobs(
    known: dict[int, KeptJob], kept: dict[int, KeptRun], wanted: JobFilter, openings: Openings
) -> Sequence[JobRecord]:
    """Return the newest jobs, the newest last."""
    found = (
        record
        for job in _newest_first(known, kept)
        if not wanted.statuses or job.status in wanted.statuses
        if wanted.accepts(record := record_of_job(job, openings))
    )
    return list(itertools.islice(found, wanted.limit))[::-1]


def runs(kept: dict[int, KeptRun], wanted: RunFilter) -> Sequence[RunRecord]:
    """Return the newest runs, the newest last."""
    found = (record for run in reversed(kept.values()) if wanted.accepts(record := record_of_run(run)))
    return list(itertools.islice(found, wanted.limit))[::-1]


def _newest_first(known: dict[int, KeptJob], kept: dict[int, KeptRun]) -> Iterator[KeptJob]:
    """Return all jobs that are known, without a look at those that come later."""
    of_runs = (job for run in reversed(kept.values()) for job in reversed(run.jobs.values()))
    ended = (job for job in of_runs if job.id not in known)
    return heapq.merge(reversed(known.values()), ended, key=lambda job: job.id, reverse=True)


def stored_run(run: KeptRun) -> StoredRun:
    """Return what is known of a run."""
    new, jobs = run.new, len(run.jobs)
    opened = OpenedRun(run.id, run.unfinished < jobs, jobs, run.unfinished, run.behind is not None)
    return StoredRun(new.flow, flow_key(new.flow, new.digest), new.params, opened, run.cancelled, run.status)


def outputs(jobs: dict[str, KeptJob], names: Collection[str]) -> Outputs:
    """Return the results of those that succeeded among some jobs of a run."""
    done = {name: jobs[name].ending for name in names if jobs[name].status is JobStatus.SUCCEEDED}
    return {name: ending.result for name, ending in done.items() if ending is not None}


def fates(jobs: dict[str, KeptJob], names: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
    """Return the states and errors of some jobs of a run."""
    return {name: (jobs[name].status.value, jobs[name].error) for name in names if name in jobs}
