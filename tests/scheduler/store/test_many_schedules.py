"""Schedules beside each other: one that cannot be read, and many that have no room, hold up none of the others."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from lifecycle.scheduler import JobStatus, Scheduler, handler
from lifecycle.scheduler._store.pace import Pace
from lifecycle.scheduler._store.records import Ending, NewJob
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import claiming, operations, schedules
from lifecycle.scheduler._store.sqlite.schema import bring_up_to_date
from lifecycle.scheduler._store.sqlite.unreadable import Unreadable

from ..stores import Address, rows_at

BREAK_ZONE = "UPDATE schedules SET timezone = 'Europe/Newtown', next_due = 1 WHERE name = '{}'"


@handler("many_schedules.nothing")
async def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """The tables of a store."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        bring_up_to_date(db, "x")
        yield db


def named(name: str, kind: str, rule: str, timezone: str | None = None, pace: Pace | None = None) -> NewSchedule:
    """Return a schedule."""
    work = NewJob(name, "call", payload={"handler": "many_schedules.nothing", "args": []})
    values = (name, kind, rule, timezone, "coalesce", None, work, "many_schedules.nothing")
    return NewSchedule(*values, pace or Pace())


def break_zone(db: sqlite3.Connection, name: str) -> None:
    """Give a schedule that is due a time zone that this machine does not have."""
    db.execute(BREAK_ZONE.format(name))


def test_a_schedule_that_cannot_be_read_here_holds_up_no_other(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of once, is left as it is for those who can read it, and is looked at again when it was changed."""
    schedules.put(db, named("bad", "cron", "* * * * *", "UTC"), 0.0)
    schedules.put(db, named("good", "fixed_rate", "10.0"), 0.0)
    break_zone(db, "bad")
    unreadable = Unreadable()
    with caplog.at_level(logging.ERROR, "lifecycle.scheduler"):
        for now in (10.5, 20.5, 30.5):
            assert schedules.fire_due(db, 1, ["many_schedules.nothing"], now, unreadable) == now + 9.5
    assert [record.getMessage() for record in caplog.records] == ["schedule cannot be read here"]
    assert "'Europe/Newtown' is not known" in caplog.records[0].__dict__["error"]
    assert db.execute("SELECT next_due, missed_runs FROM schedules WHERE name = 'bad'").fetchone() == (1, 0)
    schedules.put(db, named("bad", "cron", "* * * * *", "UTC"), 35.0)
    schedules.fire_due(db, 1, ["many_schedules.nothing"], 61.0, unreadable)
    runs = dict(db.execute("SELECT name, runs FROM schedules"))
    assert runs == {"good": 4, "bad": 1}


@pytest.mark.asyncio
async def test_a_scheduler_goes_on_beside_a_schedule_that_it_cannot_read(durable: Address) -> None:
    """It ended with the error, and so did every scheduler that was started after it."""
    path = durable
    async with Scheduler(path) as scheduler:
        await scheduler.schedule("bad", nothing, cron="0 0 1 1 *")
    rows_at(path, BREAK_ZONE.format("bad"))
    async with Scheduler(path) as scheduler:
        schedule = await scheduler.schedule("good", nothing, fixed_rate=0.05)
        outcome = await (await scheduler.submit(nothing)).wait()
        assert outcome.status is JobStatus.SUCCEEDED
        while (await schedule.record()).runs < 2:
            await (await scheduler.submit(nothing, delay=0.02)).wait()


def test_a_run_that_waits_and_has_room_is_not_held_up_by_many_that_have_none(db: sqlite3.Connection) -> None:
    """However many there are before it."""
    names = [f"s{number:03}" for number in range(schedules.AT_ONCE + 5)]
    for name in names:
        schedules.put(db, named(name, "fixed_rate", "10.0", pace=Pace(max_instances=1, overlap="queue")), 0.0)
    for now in (10.5, 11.0, 20.5, 21.0):  # each runs, and then each has one that waits
        schedules.fire_due(db, 1, ["many_schedules.nothing"], now, Unreadable())
    last = {job.name: job for job in claiming.claim(db, 1, 1_000, 22.0).jobs}[names[-1]]
    operations.finish(db, last.id, last.attempt, Ending(JobStatus.SUCCEEDED), 23.0)
    schedules.fire_due(db, 1, ["many_schedules.nothing"], 24.0, Unreadable())
    assert db.execute("SELECT name FROM schedules WHERE waiting IS NULL").fetchall() == [(names[-1],)]
