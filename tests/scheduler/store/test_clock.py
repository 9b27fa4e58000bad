"""A wall clock that is set back: nothing waits for longer than was asked for, nothing is run twice."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.postgres.store import PostgresStore
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Claimed, Ending, NewJob
from lifecycle.scheduler._store.rules import due_after_set_back
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import clock as clock_file
from lifecycle.scheduler._store.sqlite.store import SqliteStore

from ..stores import rows_at

pytestmark = pytest.mark.asyncio

HOURS = 3 * 3600.0
BAD = Ending(JobStatus.FAILED, error="it failed", failed=True)


SHOWN = """
    CREATE OR REPLACE FUNCTION clock() RETURNS double precision LANGUAGE sql AS $$
        SELECT extract(epoch FROM clock_timestamp())::double precision + {ahead} $$"""


class Clock:
    """The wall clock of this process, as much ahead of the real one as the test says; and that of a database.

    Args:
        monkeypatch: for this process.
        database: its address, where there is one.
        store: the store there, which sees it at the next beat: that is at once.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, database: str | None = None, store: Store | None = None
    ) -> None:
        self._ahead = 0.0
        self._database = database
        self._store = store
        really = time.time
        monkeypatch.setattr(time, "time", lambda: really() + self.ahead)

    @property
    def ahead(self) -> float:
        return self._ahead

    @ahead.setter
    def ahead(self, seconds: float) -> None:
        self._ahead = seconds
        if self._database is not None:
            rows_at(self._database, SHOWN.format(ahead=seconds))
        if isinstance(self._store, PostgresStore) and (session := self._store._session) is not None:
            beat = {"clock": time.time(), "registered": True, "dead": False}
            session._thread.call(lambda: session._note_beat(beat, 0.0))


@pytest.fixture
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock that can be set; it is put right afterwards."""
    if "address" in request.fixturenames and isinstance(address := request.getfixturevalue("address"), str):
        clock = Clock(monkeypatch, address, request.getfixturevalue("store"))
        yield clock
        clock.ahead = 0.0
    else:
        yield Clock(monkeypatch)


async def taken(store: Store) -> Claimed:
    """Return the next job that a scheduler would begin."""
    with anyio.fail_after(20):
        (claimed,) = await store.take(lambda: 1, lambda: ["tick"])
    return claimed


def schedule(kind: str, rule: float | str, timezone: str | None = None) -> NewSchedule:
    """Return a schedule."""
    job = NewJob("tick", "call", payload={"handler": "tick", "args": []})
    return NewSchedule("s", kind, str(rule), timezone, "coalesce", None, job, "tick")


async def test_delays_and_retries_wait_no_longer_than_was_asked_for(store: Store, clock: Clock) -> None:
    """They were reckoned before the clock was set back by hours."""
    clock.ahead = HOURS
    tick = {"handler": "tick", "args": []}
    await store.add_job(NewJob("now", "call", backoff=(0.01, 0.05), payload=tick))
    now = await taken(store)
    await store.add_job(NewJob("delayed", "call", delay=0.1, payload=tick))
    await store.add_job(NewJob("a year", "call", delay=3e7, payload=tick))
    assert await store.retry(now.id, 1, BAD, time.time() + 0.1)
    clock.ahead = 0.0
    assert {(await taken(store)).name, (await taken(store)).name} == {"now", "delayed"}
    with anyio.move_on_after(0.05) as limit:
        await taken(store)
    assert limit.cancelled_caught, "what was asked to wait for a year does so"


@pytest.mark.parametrize("kind", ["fixed_delay", "fixed_rate"])
async def test_a_schedule_that_was_put_off_begins_anew(store: Store, clock: Clock, kind: str) -> None:
    """And each of its due times is still another one."""
    clock.ahead = HOURS
    await store.put_schedule(schedule(kind, 0.05))
    first = await taken(store)
    if kind == "fixed_delay":
        await store.finish(first.id, 1, BAD, time.time())
    clock.ahead = 0.0
    with anyio.fail_after(20):  # some may have been due before that was seen
        while True:
            following = await taken(store)
            assert following.id != first.id
            record = await store.schedule("s")
            assert record is not None
            assert record.runs >= 2
            assert record.last_due is not None
            if record.last_due < time.time():
                break
            await store.finish(following.id, 1, BAD, time.time())


async def test_a_fixed_rate_keeps_its_phase_when_the_clock_is_set_back_a_little() -> None:
    """It waits for as long as that was; instants of cron are named, and not run again however far back."""
    assert due_after_set_back("fixed_rate", "10.0", 1_065.0, 1_000.0) is None
    assert due_after_set_back("fixed_rate", "10.0", 1_075.0, 1_000.0) == 1_010.0
    assert due_after_set_back("fixed_delay", "10.0", 1_010.0, 1_000.0) is None
    assert due_after_set_back("fixed_delay", "10.0", 1_011.0, 1_000.0) == 1_010.0
    assert due_after_set_back("cron", "* * * * *", 99_999.0, 1_000.0) is None


@pytest.mark.parametrize("ahead", [HOURS, 10 * 365 * 86_400.0])
async def test_a_cron_expression_does_not_wait_for_a_time_that_the_clock_has_shown_by_mistake(
    store: Store, clock: Clock, ahead: float
) -> None:
    """It goes on with the next instant for which it was not run, whether that is in an hour or in ten years."""
    clock.ahead = ahead
    await store.put_schedule(schedule("cron", "* * * * * *", "UTC"))
    await dues(store, clock, 1)
    clock.ahead = 0.0
    with anyio.fail_after(20):  # some may have been due before that was seen
        while (first := (await dues(store, clock, 1))[0]) > time.time():
            pass
    assert time.time() - 60.0 < first


async def test_an_instant_that_the_clock_shows_twice_is_run_once(store: Store, clock: Clock) -> None:
    """It was set back by some seconds, for all of which there was a run."""
    await store.put_schedule(schedule("cron", "* * * * * *", "UTC"))
    before = await dues(store, clock, 2)
    clock.ahead -= 2.0
    assert not set(before) & set(await dues(store, clock, 2))


async def test_an_instant_that_was_run_before_its_time_is_passed_over(store: Store, clock: Clock) -> None:
    """The clock was ahead for a moment: the instants of that moment come again, and are run for already."""
    await store.put_schedule(schedule("cron", "* * * * * *", "UTC"))
    clock.ahead = 2.0
    (early,) = await dues(store, clock, 1)
    clock.ahead -= 2.0
    later = await dues(store, clock, 3)
    assert later[-1] > early
    assert early not in later


async def dues(store: Store, clock: Clock, count: int) -> list[float]:
    """Return the due times of the next runs, while the clock shows ten times as many seconds as pass."""

    async def go_on() -> None:
        while True:
            await anyio.sleep(0.01)
            clock.ahead += 0.1
            store.look_again()

    found: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(go_on)
        while len(found) < count:
            number = (await taken(store)).id
            record = await store.schedule("s")
            assert record is not None
            assert record.last_due is not None
            if record.last_job == number:  # else it has been due again meanwhile
                found.append(record.last_due)
        group.cancel_scope.cancel()
    return found


async def test_a_time_zone_that_has_changed_counts_from_the_next_opening_on(tmp_path: Path, clock: Clock) -> None:
    """What is due later was reckoned by the rules of yesterday."""
    store = SqliteStore(tmp_path / "jobs.sqlite")
    await store.open()
    due = (await store.put_schedule(schedule("cron", "0 3 * * *", "Europe/Berlin"))).next_due
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db, db:
        db.execute("UPDATE schedules SET next_due = next_due + 3600")
    store = SqliteStore(tmp_path / "jobs.sqlite")
    await store.open()
    with anyio.move_on_after(0.2):
        await store.take(lambda: 1, lambda: ["tick"])
    record = await store.schedule("s")
    assert record is not None
    assert record.next_due == due
    await store.aclose()


async def test_what_was_put_off_is_found_by_the_next_process(tmp_path: Path, clock: Clock) -> None:
    """The clock was set back while nobody looked."""
    clock.ahead = HOURS
    before = SqliteStore(tmp_path / "jobs.sqlite")
    await before.open()
    await before.add_job(NewJob("delayed", "call", delay=0.05, payload={"handler": "tick", "args": []}))
    await before.aclose()
    clock.ahead = 0.0
    store = SqliteStore(tmp_path / "jobs.sqlite")
    await store.open()
    assert await store.adopt_jobs(["tick"]) == 1
    assert (await taken(store)).name == "delayed"
    await store.aclose()


async def test_what_is_written_just_after_the_clock_was_set_back_is_found_as_well(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry was reckoned before and is written after the first look at the new time."""
    monkeypatch.setattr(clock_file, "INTERVAL", 0.01)
    store = SqliteStore(tmp_path / "jobs.sqlite")
    await store.open()
    await store.add_job(NewJob("flaky", "call", backoff=(0.01, 0.05)))
    claimed = await taken(store)
    assert await store.retry(claimed.id, 1, BAD, time.time() + HOURS)
    assert (await taken(store)).name == "flaky"
    await store.aclose()
