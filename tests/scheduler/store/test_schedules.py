"""Schedules: one job for each due time, whichever process looks and whenever."""

from __future__ import annotations

import itertools
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler, StoreError, handler
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Ending, NewJob
from lifecycle.scheduler._store.rules import BURST, due_after, fire, first_due
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import operations, schedules
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.unreadable import Unreadable

from ..stores import Address, NewAddress, rows_at

ran: Counter[str] = Counter()


@handler("schedules.tick")
async def tick(name: str) -> None:
    ran[name] += 1


def rate(period: float, *, missed: str = "coalesce", grace: float | None = None) -> NewSchedule:
    """Return a schedule at a fixed rate."""
    return a_schedule("fixed_rate", str(period), missed=missed, grace=grace)


def a_schedule(
    kind: str, rule: str, timezone: str | None = None, *, missed: str = "coalesce", grace: float | None = None
) -> NewSchedule:
    """Return a schedule."""
    payload = {"handler": "schedules.tick", "args": ["x"]}
    return NewSchedule("s", kind, rule, timezone, missed, grace, NewJob("s", "call", payload=payload), "schedules.tick")


class TestRules:
    """Which due times are run, by arithmetic alone."""

    def test_a_rate_keeps_its_phase(self) -> None:
        """Due times are multiples of the period after the anchor, however late somebody looks."""
        assert first_due(rate(10.0), 1_003.0) == 1_013.0
        assert due_after(rate(10.0), 1_003.0, 1_013.0) == 1_023.0
        assert due_after(rate(10.0), 1_003.0, 1_019.9) == 1_023.0
        assert due_after(rate(0.1), 0.0, 1e9) > 1e9

    def test_what_is_due_and_not_missed_is_run_whatever_the_policy(self) -> None:
        """A single due time that has passed is run, also a while later."""
        for missed in ("coalesce", "drop", "burst"):
            assert fire(rate(10.0, missed=missed), 0.0, 10.0, 19.9) == ((10.0,), 20.0, 0)

    def test_coalesce_runs_the_newest_of_what_passed(self) -> None:
        """Four due times have passed: the last is run, three are missed."""
        assert fire(rate(10.0), 0.0, 10.0, 45.0) == ((40.0,), 50.0, 3)

    def test_drop_runs_nothing_of_what_passed(self) -> None:
        """More than one due time has passed: the next run is in the future."""
        assert fire(rate(10.0, missed="drop"), 0.0, 10.0, 45.0) == ((), 50.0, 4)

    def test_burst_runs_all_that_passed_so_many_at_a_time(self) -> None:
        """None is missed, and a transaction is bounded."""
        assert fire(rate(10.0, missed="burst"), 0.0, 10.0, 45.0) == ((10.0, 20.0, 30.0, 40.0), 50.0, 0)
        due, now, runs = 1.0, 100_000.5, []
        while due <= now:
            firing = fire(rate(1.0, missed="burst"), 0.0, due, now)
            assert 0 < len(firing.runs) <= BURST
            runs += firing.runs
            assert firing.missed == 0
            assert firing.next_due is not None
            due = firing.next_due
        assert runs == [float(number) for number in range(1, 100_001)]

    @pytest.mark.parametrize(
        ("missed", "runs", "dropped"), [("coalesce", (40.0,), 3), ("drop", (), 4), ("burst", (30.0, 40.0), 2)]
    )
    def test_what_is_later_than_the_grace_is_missed(self, missed: str, runs: tuple[float, ...], dropped: int) -> None:
        """Fifteen seconds late is too late."""
        assert fire(rate(10.0, missed=missed, grace=15.0), 0.0, 10.0, 45.0) == (runs, 50.0, dropped)

    def test_a_burst_that_is_too_late_as_a_whole_goes_on_with_the_future(self) -> None:
        """Nothing is run, and nothing is looked at twice."""
        assert fire(rate(10.0, missed="burst", grace=1.0), 0.0, 10.0, 45.0) == ((), 50.0, 4)

    def test_years_of_missed_seconds_cost_a_bounded_time(self) -> None:
        """A store that was put away for ten years is opened at once."""
        began = time.process_time()
        firing = fire(rate(1.0), 0.0, 1.0, 315_360_000.5)
        assert firing.runs == (315_360_000.0,)
        assert firing.next_due == 315_360_001.0
        assert time.process_time() - began < 5.0

    def test_cron_goes_by_the_wall_clock_of_its_zone(self) -> None:
        """Half past two on the night of the change to summer time is the first instant after the gap."""
        new = a_schedule("cron", "30 2 * * *", "Europe/Berlin")
        assert due_after(new, 0.0, 1_743_289_200.0) == 1_743_296_400.0  # 2025-03-30 00:00 -> 03:00 local time
        assert fire(new, 0.0, 1_743_296_400.0, 1_743_296_401.0).runs == (1_743_296_400.0,)

    def test_a_delay_has_no_next_time_before_its_run_has_ended(self) -> None:
        """And one that is too late begins its delay anew."""
        assert fire(a_schedule("fixed_delay", "10.0"), 0.0, 10.0, 11.0) == ((10.0,), None, 0)
        assert fire(a_schedule("fixed_delay", "10.0", grace=5.0), 0.0, 10.0, 45.0) == ((), 55.0, 1)


async def taken(store: Store) -> list[int]:
    """Return the numbers of the next jobs that a scheduler would begin."""
    with anyio.fail_after(20):
        return [claimed.id for claimed in await store.take(lambda: 100, lambda: ["schedules.tick"])]


@pytest.mark.asyncio
class TestStores:
    """What every store does."""

    async def test_a_due_time_becomes_one_job(self, store: Store) -> None:
        """The schedule has moved on when the job is there."""
        await store.put_schedule(rate(0.05))
        first, *more = await taken(store)
        record = await store.schedule("s")
        assert record is not None
        # On a slow machine there may be more than one of each by now; jobs are numbered from 1.
        assert first == 1
        assert record.runs == record.last_job
        assert record.last_due is not None
        assert record.next_due == pytest.approx(record.last_due + 0.05)
        assert not {first, *more} & set(await taken(store))

    async def test_the_next_run_of_a_delay_waits_for_the_end_of_the_last(self, store: Store) -> None:
        """However it ends: cancelled before it begins counts as well."""
        await store.put_schedule(a_schedule("fixed_delay", "0.05"))
        (first,) = await taken(store)
        record = await store.schedule("s")
        assert record is not None
        assert record.next_due is None
        await store.finish(first, 1, Ending(JobStatus.FAILED, error="e"), time.time())
        (second,) = await taken(store)
        assert second != first

    async def test_putting_it_again_changes_it_and_keeps_its_times(self, store: Store) -> None:
        """Only a change of the timing begins anew."""
        before = await store.put_schedule(rate(1000.0))
        after = await store.put_schedule(rate(1000.0, missed="drop"))
        assert (after.missed, after.next_due) == ("drop", before.next_due)
        changed = await store.put_schedule(rate(2000.0))
        assert before.next_due is not None
        assert changed.next_due is not None
        assert changed.next_due > before.next_due + 900.0
        assert len(await store.schedules()) == 1

    async def test_a_pause_holds_and_nothing_is_made_up_for(self, store: Store) -> None:
        """After it the next due time is in the future."""
        await store.put_schedule(rate(0.5, missed="burst"))
        assert await store.pause_schedule("s")
        await anyio.sleep(0.7)
        assert await store.trigger_schedule("s") is not None
        assert len(await taken(store)) == 1, "only the one that was triggered"
        before = time.time()
        assert await store.resume_schedule("s")
        assert len(await taken(store)) >= 1
        record = await store.schedule("s")
        assert record is not None
        assert record.last_due is not None
        assert record.last_due > before
        assert record.missed_runs == 0

    async def test_what_is_not_there_is_told(self, store: Store) -> None:
        """Every method says whether there is such a schedule."""
        assert await store.schedule("s") is None
        assert not await store.pause_schedule("s")
        assert not await store.resume_schedule("s")
        assert not await store.remove_schedule("s")
        assert await store.trigger_schedule("s") is None
        await store.put_schedule(rate(0.05))
        assert await store.remove_schedule("s")
        assert await store.schedules() == []


def test_two_owners_of_one_file_fire_a_due_time_once(tmp_path: Path) -> None:
    """Who comes second finds the schedule moved on; and the database refuses a second job for one due time."""
    with closing(connect(tmp_path / "jobs.sqlite", "x")) as db:
        schedules.put(db, rate(10.0), 0.0)
        assert schedules.fire_due(db, 1, ["schedules.tick"], 10.5, Unreadable()) == 20.0
        assert schedules.fire_due(db, 2, ["schedules.tick"], 10.5, Unreadable()) == 20.0
        assert db.execute("SELECT owner, scheduled FROM jobs").fetchall() == [(1, 10.0)]
        operations.insert_job(db, NewJob("another", "call"), None, 2, 0.0)
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("UPDATE jobs SET schedule = 1, scheduled = 10.0 WHERE name = 'another'")


def test_a_schedule_whose_handler_is_not_known_here_is_left_alone(tmp_path: Path) -> None:
    """Another process may know it."""
    with closing(connect(tmp_path / "jobs.sqlite", "x")) as db:
        schedules.put(db, rate(10.0), 0.0)
        assert schedules.fire_due(db, 1, ["other"], 10.5, Unreadable()) is None
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


@pytest.mark.asyncio
async def test_a_schedule_is_run_paused_resumed_triggered_and_removed(address: Address | None) -> None:
    """The whole life of one, by its handle."""
    ran.clear()
    async with Scheduler(address) as scheduler:
        schedule = await scheduler.schedule("beat", tick, "beat", fixed_rate=0.02, priority=3)
        with anyio.fail_after(20):
            while ran["beat"] < 3:
                await anyio.sleep(0.01)
        await schedule.pause()
        assert (await schedule.record()).paused
        outcome = await (await schedule.trigger()).wait()
        assert outcome.succeeded
        await schedule.resume()
        before = ran["beat"]
        with anyio.fail_after(20):
            while ran["beat"] == before:
                await anyio.sleep(0.01)
        assert [record.name for record in await scheduler.schedules()] == ["beat"]
        await scheduler.schedule_named("beat").remove()
        with pytest.raises(LookupError, match="beat"):
            await schedule.record()


@pytest.mark.asyncio
async def test_wrong_settings_are_refused_before_anything_is_written() -> None:
    """Each with what is wrong."""
    async with Scheduler() as scheduler:
        for settings, match in [
            ({}, "one of cron"),
            ({"fixed_rate": 1.0, "cron": "* * * * *"}, "got 2"),
            ({"fixed_rate": 0.0}, "fixed_rate"),
            ({"fixed_delay": 0.001}, "0.01"),
            ({"cron": "no"}, "cannot be read"),
            ({"cron": "* * * * *", "timezone": "Nowhere/Land"}, "not known"),
            ({"cron": 5}, "expression"),
            ({"fixed_rate": 1.0, "missed": "twice"}, "coalesce"),
            ({"fixed_rate": 1.0, "misfire_grace": -1.0}, "misfire_grace"),
            ({"fixed_rate": 1.0, "retries": -1}, "retries"),
            ({"fixed_rate": 1.0, "colour": "red"}, "colour"),
        ]:
            with pytest.raises((TypeError, ValueError), match=match):
                await scheduler.schedule("s", tick, "x", **settings)  # type: ignore[arg-type]
        for wrong in ({"misfire_grace": "x"}, {"missed": 3}, {"retries": "x"}, {"fixed_rate": "1"}):
            with pytest.raises(TypeError, match=next(iter(wrong))):
                await scheduler.schedule("s", tick, "x", **{"fixed_rate": 1.0, **wrong})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="name"):
            await scheduler.schedule(3, tick, "x", fixed_rate=1.0)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="name"):
            await scheduler.schedule("  ", tick, "x", fixed_rate=1.0)
        assert await scheduler.schedules() == []


PROGRAM = """
import asyncio, sys
from lifecycle.scheduler import Scheduler, handler

@handler("tick")
async def tick():
    pass

async def main():
    async with Scheduler(sys.argv[1], keep_for=None, keep_jobs=None) as scheduler:
        for number in range(3):
            await scheduler.schedule(f"burst{number}", tick, fixed_rate=0.02 + number / 100, missed="burst")
        await scheduler.schedule("newest", tick, fixed_rate=0.03)
        await scheduler.schedule("second", tick, cron="* * * * * *", missed="burst")
        await scheduler.schedule("delay", tick, fixed_delay=0.01)
        print("up", flush=True)
        await asyncio.sleep(float(sys.argv[2]))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        pytest.param("sqlite", 5, marks=pytest.mark.slow),
        pytest.param("sqlite", 300, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)]),
        pytest.param("postgres", 100, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)]),
    ],
)
def test_kills_neither_skip_nor_double_a_due_time(new_address: NewAddress, kind: str, kills: int) -> None:
    """SIGKILL at random moments of a process that fires schedules; every due time has exactly one job."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    database = new_address(kind)
    assert database is not None
    for _ in range(kills):
        process = start(database, 60.0)
        time.sleep(chance.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(database, 0.5)
    assert last.communicate(timeout=60)[1] == ""
    check_due_times(database)


def start(database: Address, seconds: float) -> subprocess.Popen[str]:
    """Start the program and wait until its schedules are there."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(database), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "up\n":
        raise StoreError(process.communicate()[1])
    return process


def check_due_times(database: Address) -> None:
    """Check that each schedule's jobs are those of its due times, from the first to the last."""
    if not isinstance(database, str):
        assert rows_at(database, "PRAGMA integrity_check") == [("ok",)]
    rows = rows_at(database, "SELECT id, name, rule, anchor, last_due, runs, missed_runs FROM schedules")
    for number, name, rule, anchor, last_due, runs, missed in rows:
        found = rows_at(database, f"SELECT scheduled FROM jobs WHERE schedule = {number} ORDER BY scheduled")
        times = [at for (at,) in found]
        assert len(times) == len(set(times)) == runs > 0
        assert times[-1] == last_due
        if name == "delay":
            continue
        period = 1.0 if name == "second" else float(rule)
        if name == "second":
            assert [round(b - a, 6) for a, b in itertools.pairwise(times)] == [1.0] * (len(times) - 1)
            continue
        steps = [round((at - anchor) / period, 3) for at in times]
        assert steps == [float(round(step)) for step in steps], "each is on the grid"
        if name.startswith("burst"):
            assert steps == [float(step) for step in range(1, len(steps) + 1)], "none is skipped"
            assert missed == 0
        else:
            assert steps[-1] == len(steps) + missed, "what has no job is counted"
