"""Again by hand in the store in memory: jobs that have ended wait once more, as `again` has it for an SQLite file."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from ..records import JobStatus
from ..revival import Revived, note, refusal, refused_for_needs, refused_for_step
from ..skipping import skip_reason

if TYPE_CHECKING:
    from .kept import KeptJob


def revive(
    wanted: Mapping[int, KeptJob | None], force: bool
) -> tuple[Revived, Collection[KeptJob], Collection[KeptJob]]:
    """Let jobs wait again that have ended, where nothing speaks against it, and those skipped because of them.

    Returns what is to be said of it, the jobs that wait for another number of needs than before, and those that wait
    again. What runs goes on, but were it to begin anew, it would wait for what it needs.
    """
    known = {number: job for number, job in wanted.items() if job is not None}
    refused = {number: why for number, job in known.items() if (why := refusal(job.status, force))}
    above = {number: refused_for_step(step) for number, job in known.items() if (step := _running_step(job))}
    refused = {**above, **refused}
    eligible = {number: job for number, job in known.items() if number not in refused}
    again = _reach(eligible)
    for number, job in eligible.items():
        if number not in again:
            held_up_by = (need for need in _held_up_by(job) if need.id not in again)
            need = min(held_up_by, key=lambda need: need.id)
            refused[number] = refused_for_needs(need.new.name, need.status)
    for job in again.values():
        _wait_again(job)
    waiting = {job.id: job for one in again.values() for job in (one, *one.dependants) if not job.status.final}
    for job in waiting.values():
        job.unmet = sum(1 for need in job.needs() if not need.status.final) + (job.predecessor is not None) + job.held
        blocking = [need for need in job.needs() if need.ended_badly and need.new.name not in job.new.tolerates]
        job.blocked = skip_reason(blocking[0].new.name, blocking[0].status) if blocking else None
        job.trouble = any(need.status.final and (need.ended_badly or need.trouble) for need in job.needs())
    asked = tuple(number for number in eligible if number in again)
    missing = tuple(number for number in wanted if number not in known)
    return Revived(asked, len(again) - len(asked), missing, refused, tuple(again)), waiting.values(), again.values()


def _reach(eligible: Mapping[int, KeptJob]) -> dict[int, KeptJob]:
    """Return the jobs that nothing they need holds up, and those that were skipped because of them."""
    blocks: dict[int, int] = {}
    reached: dict[int, KeptJob] = {}

    def held_up(job: KeptJob, freed: int = 0) -> int:
        if job.id in blocks:
            blocks[job.id] -= freed
        else:
            blocks[job.id] = sum(1 for need in _held_up_by(job) if need.id not in reached)
        return blocks[job.id]

    queue = deque(job for job in eligible.values() if not held_up(job))
    while queue:
        job = queue.popleft()
        if job.id in reached:  # nothing held it up, and two that it needs wait again
            continue
        reached[job.id] = job
        for dependant in job.dependants:
            freed = int(job.ended_badly and dependant.wants_success_of(job))  # one that was not needed held nobody up
            if dependant.id in reached or (dependant.runs_anyway and not dependant.status.final):
                continue
            if dependant.runs_anyway:
                queue.append(dependant)
            elif job.status is JobStatus.SUCCEEDED:
                continue  # nothing was skipped because of it
            elif (dependant.skipped or dependant.id in eligible) and not held_up(dependant, freed):
                queue.append(dependant)
    return reached


def _running_step(job: KeptJob) -> str | None:
    """Return the name of a step below a job that runs anyway, and runs now; None when there is none."""
    queue, below = [job], {job.id: job}
    while queue:
        for dependant in queue.pop().dependants:
            if dependant.id not in below:
                below[dependant.id] = dependant
                queue.append(dependant)
    running = [one for one in below.values() if one.runs_anyway and one.status is JobStatus.RUNNING and one is not job]
    return min(running, key=lambda one: one.id).new.name if running else None


def _held_up_by(job: KeptJob) -> Iterator[KeptJob]:
    """Yield what a job needs to succeed and did not."""
    return (need for need in job.needs() if need.ended_badly and job.wants_success_of(need))


def _wait_again(job: KeptJob) -> None:
    job.history = note(job.history, time.time(), job.status, job.attempt, job.error)
    job.error = job.error if job.attempt else None
    if job.ending is not None:
        job.ending = job.ending._replace(result=None, progress=None)
    job.status, job.failures, job.due, job.finished, job.skipped = JobStatus.PENDING, 0, 0.0, None, False
    if job.run is not None:
        job.run.unfinished += 1
        job.run.cancelled = False
