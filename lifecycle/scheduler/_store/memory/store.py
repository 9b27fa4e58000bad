"""The store in memory: what is in it is in flight; a job that has ended leaves it, with its run."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ..._ground.bridge import Bell
from ..._ground.errors import RunConflict
from ..._ground.limits import LONGEST_WAIT
from ..admission import AT_ONCE, Admitted
from ..filters import JobFilter
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..messages import Notice, Report
from ..pace import Bound
from ..patience import Trouble
from ..records import (
    ALONE,
    FINAL,
    Cancelling,
    Claimed,
    Claims,
    Ending,
    JobRecord,
    JobStatus,
    LeftRuns,
    NewJob,
    NewRun,
    OpenedRun,
    Outputs,
    Settled,
    Skipped,
    StoredRun,
)
from ..revival import Revived
from ..run_records import RunFilter, RunRecord
from ..schedule_records import NewSchedule, ScheduleRecord, Submitted
from ..skipping import skip_reason
from ..terms import NO_TERMS
from ..waiting import LeftWork
from . import views
from .admission import admit
from .again import revive
from .instances import MemoryInstances
from .kept import KeptJob, KeptRun, record_of_job, start, told_of
from .line import Line
from .ready import Place, ReadyJobs
from .schedules import MemorySchedules
from .settling import decide_dependants
from .terms import MemoryTerms


class MemoryStore:
    """Keeps jobs for the life of one scheduler.

    A job by itself is forgotten when it has ended. The jobs of a run are kept until `forget`, because those that
    come later need the outputs of those that came before. A method without a docstring does what `Store` says.
    """

    durable = shared = False
    failure = None

    def __init__(self) -> None:
        self.identity = secrets.token_hex(5)
        self._highest = 0  # number of a job
        self._run_numbers = itertools.count(1)
        self._jobs: dict[int, KeptJob] = {}
        self._runs: dict[int, KeptRun] = {}
        self._started: dict[int, Place] = {}  # where those stood that run
        self._ready = ReadyJobs(lambda number: self._jobs[number].place, self._started.values)
        self._delayed: Line[tuple[float, int]] = Line()
        self._instances = MemoryInstances(self._call_off, self._wait_or_ready)
        self._schedules = MemorySchedules(self._submit, self._call_off, lambda run: self._runs[run].behind is not None)
        self._terms = MemoryTerms()
        self._bell = Bell()
        self._latest = 0.0  # the wall clock, when it was looked at last

    def watch(self, tell: Callable[[Trouble], object]) -> None:
        """Do nothing: this store waits for nobody."""

    def attend(self, look: Callable[[], object], stop: Callable[[int, int, str], object]) -> None:
        """Do nothing: nobody else changes anything."""

    async def open(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Drop everything. Idempotent."""
        for kept in (self._schedules, self._instances, self._jobs, self._runs, self._started, self._ready):
            kept.clear()
        self._delayed = Line()
        self._terms = MemoryTerms()

    async def add_job(self, job: NewJob) -> int:
        return self.add(job).id

    async def admit_job(self, job: NewJob) -> Admitted:
        needed = {number: views.find(self._jobs, self._runs, number) for number in (job.terms or NO_TERMS).needs}
        return await admit(self, job, self._jobs.get(self._terms.holder(job)), needed)

    async def adopt_jobs(self, handlers: Collection[str]) -> int:
        return 0

    async def open_run(self, run: NewRun, *, resume: bool, fresh: bool) -> OpenedRun:
        """Store a run; there is never an old one to take over, only one that goes on."""
        same = (other for other in self._runs.values() if (other.new.flow, other.new.params) == (run.flow, run.params))
        if resume and run.bound.max_instances is None and any(other.unfinished for other in same):
            raise RunConflict(f"{run.source}: a run of {run.flow!r} with these parameters is going on; wait for it")
        return views.stored_run(self._add_run(run)).opened

    async def adopt_runs(self, flow: str, digest: str) -> LeftRuns:
        return LeftRuns()

    async def run(self, run_id: int) -> StoredRun | None:
        run = self._runs.get(run_id)
        return None if run is None else views.stored_run(run)

    async def claim(self, limit: int, now: float) -> Claims:
        while (first := self._delayed.first()) is not None and first[0] <= now:
            self._delayed.pop()
            self._make_ready(self._jobs[first[1]])
        chosen, opens = self._ready.choose(limit, now)
        self._started |= {number: self._jobs[number].place for number in chosen}
        claimed = tuple(start(self._jobs[number], now) for number in chosen)
        return Claims(claimed, min((at for at in (first and first[0], opens) if at is not None), default=None))

    async def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Sequence[Claimed]:
        while True:
            now = time.time()
            if now < self._latest:
                self._shorten_waits(now)
            self._latest = now
            expired, due = self._expire(now), self._schedules.fire_due(now)
            if expired or self._terms.untold:
                return ()
            claims = await self.claim(room(), now)
            if claims.jobs:
                return claims.jobs
            dues = (due, claims.next_due, self._terms.next_expiry())
            due = min((at for at in dues if at is not None), default=None)
            await self._bell.wait(None if due is None else min(LONGEST_WAIT, max(0.0, due - time.time())))

    def _expire(self, now: float) -> bool:
        """Cancel what has waited for too long, with notices to the engine; return whether there was any."""
        expired = self._terms.expired(now, AT_ONCE)
        self._terms.call_off([self._jobs[number] for number in expired if number in self._jobs], self.end, now)
        return bool(expired)

    def _shorten_waits(self, now: float) -> None:
        """Let nothing wait for longer than was asked for: the clock was set back."""
        self._schedules.shorten_waits(now)
        for number in [number for _, number in self._delayed]:
            job = self._jobs[number]
            furthest = now + (job.new.backoff[1] if job.failures else job.new.delay)
            if job.due > furthest and (job.failures or job.terms.at is None):
                self._delayed.discard((job.due, number))
                job.due = furthest
                self._delayed.add((furthest, number))

    def look_again(self) -> None:
        self._bell.ring()

    async def give_back(self, jobs: Sequence[Claimed], now: float) -> Collection[int]:
        given = []
        for claimed in jobs:
            if (job := self._running(claimed.id, claimed.attempt)) is not None:
                job.status, job.attempt, job.due = JobStatus.PENDING, job.attempt - 1, 0.0
                del self._started[job.id]
                self._ready.give_back(job.place, job.started or now, now, ready=not job.unmet)
                self._terms.hold(job.id, None, job.expires)
                self._bell.ring()
                given.append(job.id)
        return given

    async def finish(self, job_id: int, attempt: int, ending: Ending, now: float) -> Settled:
        job = self._running(job_id, attempt)
        if job is None:
            return Settled(accepted=False)
        self._bell.ring()
        job.failures += ending.failed
        job.ending, job.shown, job.recorded = ending, None, attempt
        return self.end(job, ending.status, ending.error, now)

    async def retry(self, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
        job = self._running(job_id, attempt)
        if job is None:
            return False
        del self._started[job.id]
        job.status, job.due, job.error = JobStatus.PENDING, due, ending.error
        job.ending, job.shown = ending, None
        job.failures += 1
        job.recorded = attempt
        if not job.unmet:  # else what it needs was repeated meanwhile
            self._delayed.add((due, job.id))
        self._terms.hold(job.id, None, job.expires)
        self._bell.ring()
        return True

    async def report(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if (job := self._running(report.id, report.attempt)) is not None:
                job.shown = report

    async def revive_jobs(self, jobs: Collection[int], known: Collection[str], *, force: bool) -> Revived:
        """Let jobs wait again that have ended and are not forgotten: those of a run that goes on."""
        found = {number: self._instances.revivable(views.find(self._jobs, self._runs, number)) for number in jobs}
        revived, waiting, again = revive(found, force)
        self._jobs = dict(sorted((self._jobs | {job.id: job for job in again}).items()))  # by number, as all are
        for job in again:
            self._instances.reopened(job.run)
            job.expires = None
            self._terms.hold(job.id, None if job.terms.key in self._terms.keys else job.terms.key, None)
        for job in waiting:
            self._ready.discard(job.place)
            self._delayed.discard((job.due, job.id))
            if not job.unmet and job.status is JobStatus.PENDING:
                self._make_ready(job)
        return revived

    async def revive_run(self, run_id: int, known: Collection[str]) -> Revived | None:
        if (run := self._runs.get(run_id)) is None:
            return None
        return await self.revive_jobs([job.id for job in run.jobs.values() if job.ended_badly], known, force=False)

    async def cancel(self, job_id: int, reason: str, now: float) -> Cancelling:
        if (job := self._jobs.get(job_id)) is None:
            return Cancelling(found=False)
        before = job.status
        if before.final or before is JobStatus.RUNNING:
            return Cancelling(True, before)
        return Cancelling(True, before, self.end(job, JobStatus.CANCELLED, reason, now))

    async def cancel_run(self, run_id: int, reason: str, now: float) -> tuple[Settled, tuple[int, ...]]:
        if (run := self._runs.get(run_id)) is None:
            return Settled(False, run_id), ()
        wanted = run.called_off()
        ended = [job for job in wanted if job.status in (JobStatus.PENDING, JobStatus.INTERRUPTED)]
        for job in ended:
            self._leave(job, JobStatus.CANCELLED, reason, now)
        skipped = [told_of(job, reason) for job in ended]
        for job in ended:
            skipped += self._decide_dependants(job, skip_reason(job.new.name, JobStatus.CANCELLED), now)
        running = tuple(job.id for job in wanted if job.status is JobStatus.RUNNING)
        return Settled(True, run_id, tuple(skipped), bool(ended) and run.unfinished == 0), running

    async def set_priority(self, job_id: int, priority: int) -> bool:
        if (job := self._jobs.get(job_id)) is None or job.status is not JobStatus.PENDING:
            return False
        self._place(job, priority)
        return True

    async def put_ahead(self, job_id: int, of: int) -> None:
        job, other = self._jobs.get(job_id), self._jobs.get(of)
        if job is None or other is None or job.priority > other.priority or job.status is JobStatus.RUNNING:
            return
        self._place(job, other.priority + 1)

    def _place(self, job: KeptJob, priority: int) -> None:
        waits = job.place in self._ready
        self._ready.discard(job.place)
        job.place = job.place._replace(order=(-priority, job.id))
        if waits:
            self._make_ready(job)

    async def outputs(self, run_id: int, names: Collection[str]) -> Outputs:
        return views.outputs(self._runs[run_id].jobs, names)

    async def fates(self, run_id: int, names: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
        return views.fates(self._runs[run_id].jobs, names)

    async def notices(self) -> Sequence[Notice]:
        """Return what has expired: no other process can reach this store."""
        return self._terms.told()

    async def jobs_of(self, run_id: int) -> Sequence[JobRecord]:
        openings = self._ready.openings(time.time())
        return [record_of_job(job, openings) for job in self._runs[run_id].jobs.values()]

    async def unfinished(self, limit: int) -> Sequence[str]:
        return [job.new.name for job in itertools.islice(self._jobs.values(), limit)]

    async def left_work(self) -> LeftWork:
        return LeftWork()

    async def job(self, job_id: int) -> JobRecord | None:
        job = self._jobs.get(job_id)
        return record_of_job(job, self._ready.openings(time.time())) if job is not None else None

    async def jobs(self, wanted: JobFilter) -> Sequence[JobRecord]:
        return views.jobs(self._jobs, self._runs, wanted, self._ready.openings(time.time()))

    async def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        return {number: None for number in jobs if number not in self._jobs}

    async def highest_job(self) -> int:
        return self._highest

    async def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        return views.runs(self._runs, wanted)

    async def ended_runs(self, runs: Collection[int]) -> Collection[int]:
        return [number for number in runs if number not in self._runs]

    async def put_schedule(self, new: NewSchedule) -> ScheduleRecord:
        self._bell.ring()
        return self._schedules.put(new, time.time())

    async def schedule(self, name: str) -> ScheduleRecord | None:
        return self._schedules.record(name)

    async def schedules(self) -> Sequence[ScheduleRecord]:
        return self._schedules.records()

    async def remove_schedule(self, name: str) -> bool:
        return self._schedules.remove(name)

    async def pause_schedule(self, name: str) -> bool:
        return self._schedules.pause(name)

    async def resume_schedule(self, name: str) -> bool:
        self._bell.ring()
        return self._schedules.resume(name, time.time())

    async def bound_schedule(self, name: str, bound: Bound) -> bool:
        self._bell.ring()
        return self._schedules.set_bound(name, bound)

    async def trigger_schedule(self, name: str, flows: Collection[str] = ()) -> Submitted | None:
        return self._schedules.trigger(name, flows)

    async def limits(self) -> Sequence[LimitRecord]:
        return self._ready.records()

    async def put_limit(self, new: Limit) -> None:
        self._ready.put_limit(new)
        self._bell.ring()

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        self._bell.ring()
        return self._ready.pause(key, paused)

    def upkeep(self) -> None:
        return None

    def forget(self, run_id: int) -> None:
        if (run := self._runs.get(run_id)) is not None and not run.unfinished:
            del self._runs[run_id]

    def _submit(self, work: NewJob | NewRun) -> Submitted:
        return Submitted(run=self._add_run(work).id) if isinstance(work, NewRun) else Submitted(self.add(work).id)

    def _call_off(self, work: Submitted, reason: str) -> None:
        jobs = [self._jobs[work.job]] if work.job is not None else self._runs[work.run or 0].called_off(once=True)
        self._terms.call_off(jobs, self.end, time.time(), reason)
        self._bell.ring()  # there are notices

    def _add_run(self, new: NewRun) -> KeptRun:
        self._instances.make_room(new)
        run = KeptRun(next(self._run_numbers), new, time.time(), unfinished=len(new.jobs))
        self._runs[run.id] = run
        for job in new.jobs:
            run.jobs[job.name] = self.add(job, int(new.bound.max_instances is not None), run)
        for job in new.jobs:
            for needed in job.needs:
                run.jobs[needed].dependants.append(run.jobs[job.name])
        self._instances.enter(run)
        return run

    def add(self, new: NewJob, unmet: int = 0, run: KeptRun | None = None) -> KeptJob:
        """Keep a job that waits for so many things beside the jobs of its run."""
        now = time.time()
        number = self._highest = self._highest + 1
        place = Place(new.queue, new.handler, (-new.priority, number))
        job = KeptJob(number, new, place, run, now, unmet + len(new.needs))
        self._jobs[job.id] = job
        if new.terms is not None:
            job.expires = new.terms.expiry(now)
            self._terms.hold(job.id, new.terms.key, job.expires)
            self._bell.ring()
        if not job.unmet:
            self._wait_or_ready(job, now)
        return job

    def _wait_or_ready(self, job: KeptJob, now: float) -> None:
        at = now + job.new.delay if job.terms.at is None else job.terms.at
        if at > now:
            job.due = at
            self._delayed.add((job.due, job.id))
            self._bell.ring()
        else:
            self._make_ready(job)

    def _make_ready(self, job: KeptJob) -> None:
        job.due = 0.0
        self._ready.add(job.place)
        self._bell.ring()

    def _running(self, job_id: int, attempt: int) -> KeptJob | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.status is JobStatus.RUNNING and job.attempt == attempt else None

    def _leave(self, job: KeptJob, status: JobStatus, error: str | None, now: float) -> None:
        """Remove a job from every index; those of a run stay in the run."""
        if job.status is JobStatus.RUNNING:
            del self._started[job.id]
        else:
            self._ready.discard(job.place)
            self._delayed.discard((job.due, job.id))
        job.status, job.error, job.finished = status, error, now
        if status in FINAL:
            del self._jobs[job.id]
            if job.new.terms is not None:
                self._terms.leave(job)
            if self._schedules.ended(Submitted(job=job.id), now):
                self._bell.ring()
            if job.run is not None:
                job.run.unfinished -= 1
                if not job.run.unfinished:
                    self._schedules.ended(Submitted(run=job.run.id), now)
                    self._instances.ended(job.run)

    def end(self, job: KeptJob, status: JobStatus, error: str | None, now: float) -> Settled:
        """End a job, and settle what follows."""
        self._leave(job, status, error, now)
        if job.run is None and not job.dependants and job.successor is None:
            return ALONE
        if not status.final:
            return Settled(True, job.run_id)
        skipped = self._decide_dependants(job, skip_reason(job.new.name, status), now)
        return Settled(True, job.run_id, skipped, job.run is not None and job.run.unfinished == 0)

    def _decide_dependants(self, job: KeptJob, reason: str | None, now: float) -> tuple[Skipped, ...]:
        return decide_dependants(job, reason, now, self._leave, self._wait_or_ready)
