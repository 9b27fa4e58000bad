"""Overlap, jitter, start and end of schedules: the same in both stores, beside a model of what may go on at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._store.memory import store as memory
from lifecycle.scheduler._store.pace import Overlap, Pace
from lifecycle.scheduler._store.records import Ending, NewJob
from lifecycle.scheduler._store.rules import first_due, starting_at
from lifecycle.scheduler._store.schedule_records import NewSchedule, ScheduleRecord
from lifecycle.scheduler._store.sqlite import claiming, operations, schedules
from lifecycle.scheduler._store.sqlite.schema import bring_up_to_date
from lifecycle.scheduler._store.sqlite.unreadable import Unreadable

from ...properties.at_length import at_length
from ..stores import Address

OK = Ending(JobStatus.SUCCEEDED)


@handler("overlap.nothing")
async def nothing() -> None:
    """Do nothing."""


def every(seconds: float, pace: Pace, kind: str = "fixed_rate") -> NewSchedule:
    """Return a schedule."""
    work = NewJob("s", "call", payload={"handler": "overlap.nothing", "args": []})
    return NewSchedule("s", kind, str(seconds), None, "coalesce", None, work, "overlap.nothing", pace)


class File:
    """Schedules of an SQLite file, looked at by two schedulers in turn."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        bring_up_to_date(self.db, "x")
        self.turn = 0

    def put(self, new: NewSchedule, now: float) -> None:
        schedules.put(self.db, new, now)

    def look(self, now: float) -> None:
        self.turn += 1
        schedules.fire_due(self.db, 1 + self.turn % 2, ["overlap.nothing"], now, Unreadable())

    def start(self, now: float) -> list[tuple[int, int]]:
        return [(one.id, one.attempt) for owner in (1, 2) for one in claiming.claim(self.db, owner, 9, now).jobs]

    def end(self, job: int, attempt: int, now: float) -> None:
        operations.finish(self.db, job, attempt, OK, now)

    def record(self) -> ScheduleRecord:
        record = schedules.record(self.db, "s")
        assert record is not None
        return record

    def close(self) -> None:
        self.db.close()

    def unfinished(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM jobs WHERE finished IS NULL").fetchone()[0])


class Memory:
    """Schedules of the store in memory."""

    def __init__(self) -> None:
        self.store = memory.MemoryStore()

    def _do(self, now: float, step: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "time", SimpleNamespace(time=lambda: now))
            try:
                step().send(None)
            except StopIteration as returned:
                return returned.value

    def put(self, new: NewSchedule, now: float) -> None:
        self.store._schedules.put(new, now)

    def look(self, now: float) -> None:
        async def look() -> None:
            self.store._schedules.fire_due(now)

        self._do(now, look)

    def start(self, now: float) -> list[tuple[int, int]]:
        return [(one.id, one.attempt) for one in self._do(now, lambda: self.store.claim(9, now)).jobs]

    def end(self, job: int, attempt: int, now: float) -> None:
        self._do(now, lambda: self.store.finish(job, attempt, OK, now))

    def record(self) -> ScheduleRecord:
        record = self.store._schedules.record("s")
        assert record is not None
        return record

    def close(self) -> None:
        pass

    def unfinished(self) -> int:
        return len(self.store._jobs)


PROGRAMS = (
    st.integers(1, 3),  # how many at once
    st.sampled_from(["skip", "queue", "cancel_running"]),
    st.lists(st.sampled_from(["due", "due", "end", "start", "look"]), min_size=10, max_size=60),
)


@pytest.mark.parametrize("make", [File, Memory])
@given(*PROGRAMS)
@settings(max_examples=40, deadline=None)
def test_no_more_go_on_at_once_and_every_due_time_is_accounted_for(
    make: type[File | Memory], limit: int, overlap: Overlap, steps: list[str]
) -> None:
    """Each due time was run, is waiting, or was skipped; what waits is run when there is room, and first."""
    with closing(make()) as subject:
        follow(subject, limit, overlap, steps)


@pytest.mark.parametrize("make", [File, Memory])
@at_length(3_000, *PROGRAMS)
def test_the_same_at_length(make: type[File | Memory], limit: int, overlap: Overlap, steps: list[str]) -> None:
    """Thousands of programs."""
    with closing(make()) as subject:
        follow(subject, limit, overlap, steps)


def follow(subject: File | Memory, limit: int, overlap: Overlap, steps: list[str]) -> None:
    """Take the steps, and hold what the schedule says against what was due."""
    now, due = 1_000.0, 0
    subject.put(every(10.0, Pace(limit, overlap)), now)
    running: list[tuple[int, int]] = []
    last = 0.0
    for step in steps:
        if step == "due":
            now += 10.0
            due += 1
            subject.look(now)
        elif step == "look":
            subject.look(now)
        elif step == "start":
            running += subject.start(now)
        elif running:
            subject.end(*running.pop(0), now)
        record = subject.record()
        waits = record.waiting is not None
        assert subject.unfinished() <= limit
        assert record.runs + record.skipped_runs + waits + record.missed_runs == due
        assert record.missed_runs == 0
        assert not (waits and subject.unfinished() < limit and step in ("due", "look"))
        assert (record.last_due or 0.0) >= last, "the one that waits is first"
        last = record.last_due or 0.0
        assert not (waits and overlap == "skip")


def test_a_jitter_is_the_same_for_all_and_within_its_bound() -> None:
    """It is drawn from the name and the due time."""
    new = every(10.0, Pace(jitter=4.0))
    starts = [new.pace.start_of("s", float(due)) - due for due in range(1_000)]
    assert starts == [new.pace.start_of("s", float(due)) - due for due in range(1_000)]
    assert all(0 <= start < 4.0 for start in starts)
    assert max(starts) > 3.5 > 0.5 > min(starts)
    assert starts[5] != new.pace.start_of("other", 5.0) - 5
    work = starting_at(new, 1_000.0, 1_000.0)
    assert isinstance(work, NewJob)
    assert work.delay == new.pace.start_of("s", 1_000.0) - 1_000.0


@pytest.mark.parametrize("jitter", [0.0, 4.0])
def test_what_has_waited_while_the_clock_was_set_back_waits_no_longer(jitter: float) -> None:
    """Than for the jitter: its due time is in the future now."""
    work = starting_at(every(10.0, Pace(1, "queue", jitter)), 9_000.0, 1_000.0)
    assert isinstance(work, NewJob)
    assert work.terms is None
    assert work.delay <= jitter


@pytest.mark.parametrize("make", [File, Memory])
@pytest.mark.parametrize("kind", ["fixed_rate", "fixed_delay"])
def test_a_schedule_is_due_from_its_start_to_its_end(make: type[File | Memory], kind: str) -> None:
    """The first time at its start, and never after its end."""
    with closing(make()) as subject:
        subject.put(every(10.0, Pace(starts=2_000.0, ends=2_025.0), kind), 1_000.0)
        assert subject.record().next_due == 2_000.0
        runs = 0
        for now in range(1_000, 2_100, 5):
            subject.look(float(now))
            for job, attempt in subject.start(float(now)):
                subject.end(job, attempt, float(now))
                runs += 1
        assert (runs, subject.record().next_due) == (3, None)
    assert first_due(every(10.0, Pace(starts=500.0)), 1_003.0) == 1_010.0


@pytest.mark.asyncio
async def test_a_scheduler_replaces_what_runs_for_too_long(address: Address | None) -> None:
    """The oldest is stopped, and the next begins when it has ended: never two at once."""
    at_once = most = ended = 0

    @handler("overlap.slow")
    async def slow() -> None:
        nonlocal at_once, most, ended
        at_once += 1
        most = max(most, at_once)
        try:
            await anyio.sleep(30)
        finally:
            at_once -= 1
            ended += 1

    async with Scheduler(address, drain_timeout=0.0) as scheduler:
        schedule = await scheduler.schedule(
            "slow", slow, fixed_rate=0.3, max_instances=1, overlap="cancel_running", jitter=0.01
        )
        with anyio.fail_after(60):
            while ended < 2:
                await anyio.sleep(0.02)
        assert most == 1
        await schedule.remove()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_instances": 0}, ValueError),
        ({"max_instances": 1, "overlap": "both"}, ValueError),
        ({"overlap": "queue"}, TypeError),
        ({"jitter": -1.0}, ValueError),
        ({"starts": 10.0, "ends": 5.0}, ValueError),
        ({"starts": "noon"}, TypeError),
    ],
)
async def test_what_is_not_right_is_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    """Before anything was stored."""
    async with Scheduler() as scheduler:
        with pytest.raises(error):
            await scheduler.schedule("s", nothing, fixed_rate=5.0, **settings)
        assert await scheduler.schedules() == []
