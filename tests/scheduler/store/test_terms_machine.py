"""Keys, needs and expiry under random steps of two schedulers, beside a model read off the definitions; in both stores.

The model is a table of jobs. A step is done to the store and to the model, and then all that has not ended has to be
the same in both: which jobs there are, in which state, with which key. What may begin, and in which order, is compared
whenever a scheduler takes work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.admission import Admitted
from lifecycle.scheduler._store.limits import Openings
from lifecycle.scheduler._store.memory import admission as memory_admission
from lifecycle.scheduler._store.memory import store as memory
from lifecycle.scheduler._store.memory.kept import record_of_job
from lifecycle.scheduler._store.records import Ending, NewJob
from lifecycle.scheduler._store.sqlite import admission, claiming, operations, owners
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.terms import Terms, Twin

from ...properties.at_length import run_lives

BEGAN = 1_000_000.0
FAILED = Ending(JobStatus.FAILED, error="x", failed=True)
ENDINGS = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.TIMED_OUT)
PAYLOAD = {"handler": "h", "args": []}


@dataclass
class Known:
    """A job as the model knows it."""

    id: int
    owner: int | None
    key: str | None
    needs: set[int]
    ahead: int | None
    delay: float
    due: float
    expires: float | None
    status: str = "pending"
    recorded: int = 0
    wanted: bool = True
    lost: bool = False
    trouble: bool = False
    when: str = "success"

    @property
    def ended(self) -> bool:
        return self.status == "skipped" or self.status in {status.value for status in ENDINGS}


@dataclass
class Model:
    """What the definitions say."""

    jobs: dict[int, Known] = field(default_factory=dict)
    now: float = BEGAN

    def unfinished(self) -> Iterator[Known]:
        return (job for job in self.jobs.values() if not job.ended)

    def twin(self, key: str | None) -> Known | None:
        return next((job for job in self.unfinished() if key is not None and job.key == key), None)

    def end(self, job: Known, status: str) -> None:
        job.status = status
        if job.ahead is not None:  # that still runs, and has its key again
            self.jobs[job.ahead].key = job.key
        for other in self.jobs.values():
            if other.ended or not (other.ahead == job.id or job.id in other.needs):
                continue
            if other.ahead == job.id:
                other.ahead = None
            if job.id in other.needs:
                other.needs.discard(job.id)
                other.lost |= status not in ("succeeded", "skipped")
                other.trouble |= other.lost or job.trouble
            self.look(other)

    def look(self, job: Known) -> None:
        """Decide on a job when all that it needs has ended: then it is lost, or its delay begins."""
        if job.needs or job.ahead is not None:
            return
        if job.when == "success" and job.lost:
            self.end(job, "cancelled")
        elif job.when == "failure" and not job.trouble:
            self.end(job, "skipped")
        elif job.delay:
            job.due = self.now + job.delay

    def cancel(self, job: Known) -> None:
        if job.status == "running":
            job.wanted = False
        elif not job.ended:
            self.end(job, "cancelled")

    def expire(self) -> None:
        for job in list(self.jobs.values()):
            if job.status == "pending" and job.expires is not None and job.expires <= self.now:
                self.end(job, "cancelled")

    def ready(self, owner: int) -> list[int]:
        return [
            job.id
            for job in self.jobs.values()
            if job.status == "pending" and job.owner == owner and not job.needs and job.ahead is None
            and job.due <= self.now
        ]  # fmt: skip


class Subject(Protocol):
    """A store, with the clock in the hands of the test."""

    forgets: bool
    now: float

    def admit(self, job: NewJob, owner: int) -> Admitted: ...
    def take(self, owner: int, limit: int) -> list[tuple[int, int, int]]: ...
    def finish(self, job: int, attempt: int, ending: Ending) -> bool: ...
    def retry(self, job: int, attempt: int, due: float) -> bool: ...
    def cancel(self, job: int, owner: int) -> None: ...
    def unfinished(self) -> dict[int, tuple[str, str | None]]: ...


class File:
    """The functions of an SQLite file."""

    forgets = False

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.now = BEGAN

    def admit(self, job: NewJob, owner: int) -> Admitted:
        return admission.admit(self.db, job, owner, self.now)

    def take(self, owner: int, limit: int) -> list[tuple[int, int, int]]:
        while admission.expire(self.db, self.now):
            pass
        return [(one.id, one.attempt, one.first) for one in claiming.claim(self.db, owner, limit, self.now).jobs]

    def finish(self, job: int, attempt: int, ending: Ending) -> bool:
        return operations.finish(self.db, job, attempt, ending, self.now).accepted

    def retry(self, job: int, attempt: int, due: float) -> bool:
        return operations.retry(self.db, job, attempt, FAILED, due)

    def cancel(self, job: int, owner: int) -> None:
        operations.cancel(self.db, job, "why", self.now, owner)

    def unfinished(self) -> dict[int, tuple[str, str | None]]:
        rows = self.db.execute("SELECT id, state, key FROM jobs WHERE finished IS NULL ORDER BY id")
        return {number: (state, key) for number, state, key in rows}


class Memory:
    """The store in memory; it has one scheduler."""

    forgets = True

    def __init__(self) -> None:
        self.store = memory.MemoryStore()
        self.now = BEGAN

    def admit(self, job: NewJob, owner: int) -> Admitted:
        return self._do(self.store.admit_job(job))

    def take(self, owner: int, limit: int) -> list[tuple[int, int, int]]:
        while self.store._expire(self.now):
            pass
        return [(one.id, one.attempt, one.first) for one in self._do(self.store.claim(limit, self.now)).jobs]

    def finish(self, job: int, attempt: int, ending: Ending) -> bool:
        return bool(self._do(self.store.finish(job, attempt, ending, self.now)).accepted)

    def retry(self, job: int, attempt: int, due: float) -> bool:
        return bool(self._do(self.store.retry(job, attempt, FAILED, due)))

    def cancel(self, job: int, owner: int) -> None:
        self._do(self.store.cancel(job, "why", self.now))

    def unfinished(self) -> dict[int, tuple[str, str | None]]:
        records = (record_of_job(job, Openings(())) for job in self.store._jobs.values())
        return {record.id: (record.status.value, record.key) for record in records}

    def _do(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run what never waits."""
        with pytest.MonkeyPatch.context() as patch:
            for module in (memory, memory_admission):
                patch.setattr(module, "time", SimpleNamespace(time=lambda: self.now))
            try:
                step.send(None)
            except StopIteration as returned:
                return returned.value
        raise AssertionError("it waits")


class TermsMachine(RuleBasedStateMachine):
    """Two schedulers submit, take, end, cancel and die, while time goes on."""

    subject: Subject

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.attempts: dict[int, int] = {}

    def owner(self, number: int) -> int:
        return 1 if self.subject.forgets else number

    @rule(
        owner=st.sampled_from([1, 2]),
        key=st.sampled_from([None, "a", "b"]),
        on_twin=st.sampled_from(["replace", "replace", "refuse", "return"]),
        needs=st.just([]) | st.lists(st.sampled_from(["unfinished"] * 8 + ["ended", "unknown"]), max_size=2),
        which=st.integers(0, 5),
        lifetime=st.sampled_from([None, None, None, 20.0]),
        delay=st.sampled_from([0.0, 0.0, 0.0, 0.0, 10.0]),
        at=st.sampled_from([None, None, None, None, -5.0, 15.0]),
        when=st.sampled_from(["success", "success", "failure", "always"]),
    )
    def submit(
        self,
        owner: int,
        key: str | None,
        on_twin: Twin,
        needs: list[str],
        which: int,
        lifetime: float | None,
        delay: float,
        at: float | None,
        when: str,
    ) -> None:
        """Submit a job, which may need some of the latest."""
        model, owner = self.model, self.owner(owner)
        numbers = tuple(self.one_of(kind, which + place) for place, kind in enumerate(needs))
        instant = None if at is None or delay else model.now + at
        terms = Terms(instant, None, lifetime, key, on_twin, numbers)
        admitted = self.subject.admit(NewJob("x", "call", delay=delay, payload=PAYLOAD, when=when, terms=terms), owner)
        twin = model.twin(key)
        if twin is not None and (on_twin != "replace" or not {twin.id, twin.ahead}.isdisjoint(numbers)):
            assert (admitted.job, admitted.twin and admitted.twin.id) == (None, twin.id)
            return
        missing = {n for n in numbers if n not in model.jobs or (self.subject.forgets and model.jobs[n].ended)}
        if missing:
            assert (admitted.job, set(admitted.unknown)) == (None, missing)
            return
        assert admitted.job is not None
        ahead = None
        if twin is not None:
            ahead = twin.id if twin.status == "running" else twin.ahead
            model.cancel(twin)
            twin.key = None
            if ahead is not None:
                model.jobs[ahead].key = None
        needed = [model.jobs[number] for number in numbers]
        lost = any(one.ended and one.status not in ("succeeded", "skipped") for one in needed)
        waits = {one.id for one in needed if not one.ended} - {ahead}
        expires = None if lifetime is None else model.now + lifetime
        job = Known(admitted.job, owner, key, waits, ahead, delay, instant or 0.0, expires)
        model.jobs[job.id] = job
        job.lost, job.when = lost, when
        job.trouble = lost or any(one.trouble for one in needed)
        model.look(job)
        assert (admitted.unrun is not None) is job.ended

    def one_of(self, kind: str, which: int) -> int:
        """Return the number of one of the latest jobs of a kind; one that no job has where there is none."""
        found = [job.id for job in self.model.jobs.values() if job.ended is (kind == "ended") and kind != "unknown"]
        return found[::-1][which % len(found)] if found else 10_000

    @rule(owner=st.sampled_from([1, 2]), limit=st.integers(2, 6))
    def take(self, owner: int, limit: int) -> None:
        """A scheduler takes what may begin: what has expired may not."""
        owner = self.owner(owner)
        self.model.expire()
        taken = self.subject.take(owner, limit)
        assert [number for number, *_ in taken] == self.model.ready(owner)[:limit]
        for number, attempt, first in taken:
            job = self.model.jobs[number]
            assert (attempt, first) == (self.attempts.get(number, 0) + 1, job.recorded + 1)
            job.status, self.attempts[number] = "running", attempt

    @precondition(lambda self: any(job.status == "running" for job in self.model.jobs.values()))
    @rule(
        which=st.integers(0, 9),
        status=st.sampled_from((JobStatus.SUCCEEDED, *ENDINGS)),
        again=st.sampled_from([False, False, True]),
    )
    def end(self, which: int, status: JobStatus, again: bool) -> None:
        """An attempt ends, for good or to be made again."""
        running = [job for job in self.model.jobs.values() if job.status == "running"]
        job = running[which % len(running)]
        if again:
            due = self.model.now + 1.0
            retried = self.subject.retry(job.id, self.attempts[job.id], due)
            assert retried is (job.wanted or self.subject.forgets)
            if retried:
                job.status, job.due, job.recorded = "pending", due, self.attempts[job.id]
                return
        assert self.subject.finish(job.id, self.attempts[job.id], Ending(status, error="x"))
        self.model.end(job, status.value)

    @precondition(lambda self: len(list(self.model.unfinished())) > 3)
    @rule(which=st.integers(0, 9), owner=st.sampled_from([1, 2]))
    def cancel(self, which: int, owner: int) -> None:
        """Somebody cancels one of the latest jobs."""
        job = list(self.model.jobs.values())[::-1][which % min(10, len(self.model.jobs))]
        self.subject.cancel(job.id, owner)
        self.model.cancel(job)

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        """Time goes on; nobody looks."""
        self.model.now += seconds
        self.subject.now = self.model.now

    @invariant()
    def the_same(self) -> None:
        """What has not ended is the same, and no two have a key."""
        found = self.subject.unfinished()
        assert found == {job.id: (job.status, job.key) for job in self.model.unfinished()}
        keys = [key for _, key in found.values() if key is not None]
        assert len(keys) == len(set(keys))


class MemoryMachine(TermsMachine):
    """The store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.subject = Memory()


class FileMachine(TermsMachine):
    """An SQLite file, whose schedulers may die, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = TemporaryDirectory()
        db = connect(Path(self.stack.name) / "jobs.sqlite", "jobs.sqlite")
        db.execute("PRAGMA synchronous = OFF")
        self.file = self.subject = File(db)

    @rule(owner=st.sampled_from([1, 2]))
    def die(self, owner: int) -> None:
        """A scheduler dies and another takes over what it had."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owners, "time", SimpleNamespace(time=lambda: self.file.now))
            owners.retire(self.file.db, owner)
        for job in self.left(owner):
            if job.status == "running" and not job.wanted:
                self.model.end(job, "cancelled")
        owners.adopt_jobs(self.file.db, 3 - owner, ["h"], None)
        for job in self.left(owner):
            job.status, job.owner = "pending", 3 - owner

    def left(self, owner: int) -> Iterable[Known]:
        return [job for job in self.model.unfinished() if job.owner == owner]

    def teardown(self) -> None:
        self.file.db.close()
        self.stack.cleanup()


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestFile = FileMachine.TestCase
TestFile.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


@pytest.mark.nightly
@pytest.mark.parametrize("machine", [MemoryMachine, FileMachine])
def test_thousands_of_lives(machine: type[TermsMachine]) -> None:
    """The same at length."""
    run_lives(machine, 3_000, 60)
