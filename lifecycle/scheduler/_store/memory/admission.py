"""How a job that is submitted on terms gets into the store in memory: as `admission` has it for an SQLite file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from ..admission import Admitted, Found, first_lost
from ..records import Cancelling, JobStatus, NewJob, Settled
from ..terms import NO_TERMS, REPLACED
from .kept import KeptJob, skip_of


class Jobs(Protocol):
    """What an admission needs of the store."""

    def add(self, new: NewJob, unmet: int) -> KeptJob:
        """Keep a job that waits for so many others."""

    async def cancel(self, job_id: int, reason: str, now: float) -> Cancelling:
        """Cancel a job that does not run."""

    def end(self, job: KeptJob, status: JobStatus, error: str | None, now: float) -> Settled:
        """End a job."""


async def admit(jobs: Jobs, new: NewJob, holder: KeptJob | None, wanted: Mapping[int, KeptJob | None]) -> Admitted:
    """Keep a job unless another is the *holder* of its key, or one of the *wanted*, which it needs, is not there."""
    terms = new.terms or NO_TERMS
    twin = None if holder is None else _found(holder)
    ahead = None if holder is None else holder.predecessor
    if holder is not None and (terms.on_twin != "replace" or {holder, ahead} & {*wanted.values()} - {None}):
        return Admitted(twin=twin)
    if unknown := tuple(number for number, one in wanted.items() if one is None):
        return Admitted(unknown=unknown)
    needed = [one for one in wanted.values() if one is not None]
    replaced = None
    if holder is not None:
        replaced = await jobs.cancel(holder.id, REPLACED, time.time())
        ahead = holder if replaced.settled is None else ahead
    # Only now: what it needs may have needed the twin.
    lost = terms.lost or first_lost([_found(one) for one in needed])
    waits = [one for one in needed if not one.status.final]
    kept = jobs.add(new, len(waits) + (ahead is not None))
    for one in waits:
        one.dependants.append(kept)
        kept.needed[one.id] = one
    if ahead is not None:  # the key is handed on, and what has it begins when that has ended
        ahead.successor, kept.predecessor = kept, ahead
    kept.blocked = lost
    kept.trouble = lost is not None or any(one.trouble for one in needed)
    skip = None if kept.unmet else skip_of(kept)  # else it is decided when the others have ended, too
    if skip is not None:
        jobs.end(kept, skip.status, skip.reason, time.time())
    return Admitted(kept.id, twin, (), replaced, skip)


def _found(job: KeptJob) -> Found:
    return Found(job.id, job.new.name, job.status, job.trouble)
