"""Jobs and runs as the store in memory keeps them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ..limits import Openings
from ..messages import Report
from ..records import FINAL, Claimed, Ending, JobRecord, JobStatus, NewJob, NewRun, Skipped
from ..revival import whole_log
from ..run_records import RunRecord, run_status
from ..skipping import unrun
from ..terms import NO_TERMS, Terms
from ..waiting import NAMED, ends_of, needs_of, until, worker_or_limit
from .ready import Place


@dataclass(slots=True, eq=False)
class KeptJob:
    id: int
    new: NewJob
    place: Place
    run: KeptRun | None
    created: float
    unmet: int
    due: float = 0.0
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    recorded: int = 0  # the last attempt whose end was recorded
    failures: int = 0
    started: float | None = None
    finished: float | None = None
    ending: Ending | None = None
    error: str | None = None
    expires: float | None = None
    dependants: list[KeptJob] = field(default_factory=list)
    needed: dict[int, KeptJob] = field(default_factory=dict)  # what it waits for that is not of its run
    successor: KeptJob | None = None  # has its key, and begins when it has ended
    predecessor: KeptJob | None = None
    skipped: bool = False  # because of a job that it needs
    shown: Report | None = None  # what the attempt that runs shows of itself
    history: str | None = None  # what was done to it by hand, a line each
    blocked: str | None = None  # why it will not run on success
    trouble: bool = False  # whether anything above it did not succeed

    @property
    def priority(self) -> int:
        """How urgent it is now."""
        return -int(self.place.order[0])

    @property
    def terms(self) -> Terms:
        """The terms on which it was submitted."""
        return self.new.terms or NO_TERMS

    @property
    def run_id(self) -> int | None:
        """The number of its run."""
        return None if self.run is None else self.run.id

    @property
    def ended_badly(self) -> bool:
        """Whether it has ended and not succeeded, though it had something to do."""
        return self.status.final and self.status not in (JobStatus.SUCCEEDED, JobStatus.SKIPPED)

    @property
    def may_fail(self) -> bool:
        """Whether its failure is allowed: some job of its run says so, and none needs it to succeed."""
        below = [job for job in self.dependants if job.run is self.run]
        says_so = any(self.new.name in job.new.tolerates for job in below)
        return says_so and not any(job.wants_success_of(self) for job in below)

    @property
    def held(self) -> int:
        """What it waits for with its whole run: 1, or 0."""
        return int(self.run is not None and self.run.behind is not None)

    @property
    def runs_anyway(self) -> bool:
        """Whether it runs although something above it has failed."""
        return self.new.when != "success"

    def wants_success_of(self, need: KeptJob) -> bool:
        """Return whether it does not run when that job does not succeed."""
        return self.new.when == "success" and need.new.name not in self.new.tolerates

    def told(self) -> Iterator[tuple[KeptJob, bool]]:
        """Yield those that wait for its end, and whether they do not mind how it was; they wait for it no longer."""
        for dependant in self.dependants:
            if not dependant.status.final:
                dependant.needed.pop(self.id, None)
                yield dependant, self.new.name in dependant.new.tolerates
        if self.successor is not None and not self.successor.status.final:
            self.successor.predecessor = None
            yield self.successor, True

    def needs(self) -> list[KeptJob]:
        """Return the jobs that it needs."""
        return [self.run.jobs[name] for name in self.new.needs] if self.run is not None else [*self.needed.values()]


@dataclass(slots=True, eq=False)
class KeptRun:
    id: int
    new: NewRun
    created: float
    jobs: dict[str, KeptJob] = field(default_factory=dict)
    unfinished: int = 0
    cancelled: bool = False
    behind: Collection[int] | None = None  # the runs of its flow that it waits for

    def called_off(self, *, once: bool = False) -> list[KeptJob]:
        """Return which jobs a request to cancel it is about.

        Those that run ``always`` only by the second, which is none if *once* is enough, or when nothing has begun.
        """
        if once and self.cancelled:
            return []
        everything = self.cancelled or self.behind is not None
        self.cancelled = True
        return [job for job in self.jobs.values() if everything or job.new.when != "always"]

    @property
    def status(self) -> JobStatus | None:
        """How it ended; None before that."""
        return None if self.unfinished else run_status(self.jobs.values(), cancelled=self.cancelled)


def start(job: KeptJob, now: float) -> Claimed:
    job.status, job.started = JobStatus.RUNNING, now
    job.attempt += 1
    name, kind, _, _, _, retries, backoff, timeout, payload, *_ = job.new
    claimed = Claimed(job.id, job.run_id, name, kind, job.attempt, job.failures, retries, backoff, timeout, payload)
    if job.recorded:
        claimed = claimed._replace(first=job.recorded + 1)
    if job.new.terms is None:
        return claimed
    return claimed._replace(expires=job.expires, metadata=job.new.terms.metadata)


def told_of(job: KeptJob, reason: str) -> Skipped:
    return Skipped(job.id, job.new.name, reason, run_id=job.run_id)


def record_of_run(run: KeptRun) -> RunRecord:
    counts = Counter(job.status.value for job in run.jobs.values())
    waits_for = None if run.behind is None else ends_of([*run.behind])
    status = run.status or (JobStatus.RUNNING if run.behind is None else JobStatus.PENDING)
    finished = None if run.unfinished else max(job.finished or 0.0 for job in run.jobs.values())
    return RunRecord(run.id, run.new.flow, status, json.loads(run.new.params), counts, run.created, finished, waits_for)


def skip_of(job: KeptJob) -> Skipped | None:
    """Return how a job ends that is not to run, now that all that it needs has ended; None for one that is."""
    ending = unrun(job.new.when, job.blocked, job.trouble)
    return None if ending is None else Skipped(job.id, job.new.name, ending[1], ending[0], job.run_id)


def record_of_job(job: KeptJob, openings: Openings) -> JobRecord:
    ending = job.ending or Ending(job.status)
    log, logged, progress = ending.log, ending.logged, ending.progress
    if job.status is JobStatus.RUNNING:
        *_, log, logged, progress = job.shown or Report(job.id, job.attempt, log or "", 0, None)
    return JobRecord(
        id=job.id,
        run_id=job.run_id,
        flow=job.run.new.flow if job.run else None,
        name=job.new.name,
        kind=job.new.kind,
        status=job.status,
        priority=job.priority,
        attempts=job.attempt,
        failures=job.failures,
        retries=job.new.retries,
        seconds=ending.seconds if job.ending else None,
        created=job.created,
        started=job.started,
        finished=job.finished,
        due=job.due or None,
        error=job.error,
        result=ending.result,
        trace=ending.trace,
        log=whole_log(job.history, log),
        logged=logged,
        progress=progress,
        needs=tuple(need.new.name for need in job.needs()),
        queue=job.new.queue,
        expires=job.expires,
        key=job.terms.key if job.successor is None or job.successor.status.final else None,
        metadata=job.terms.metadata or {},
        waits_for=_waits_for(job, openings),
        may_fail=job.status in (JobStatus.FAILED, JobStatus.TIMED_OUT) and job.may_fail,
    )


def _waits_for(job: KeptJob, openings: Openings) -> str | None:
    if job.status is not JobStatus.PENDING:
        return None
    if job.run is not None and job.run.behind is not None:
        return ends_of([*job.run.behind])
    if job.unmet:
        needed = [need.new.name for need in job.needs() if need.status not in FINAL]
        return needs_of(job.unmet, needed[:NAMED])
    return until(job.due) if job.due else worker_or_limit(openings, job.place.queue, job.place.handler)
