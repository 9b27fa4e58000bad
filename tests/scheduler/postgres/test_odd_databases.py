"""Databases, roles and numbers that are odd: refused in plain words, or they make no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from lifecycle.scheduler import Scheduler, StoreError
from lifecycle.scheduler._store.postgres.connections import fetch_committed
from lifecycle.scheduler._store.postgres.faults import Fault, fault_of
from lifecycle.scheduler._store.postgres.lifeline import Lifeline

from ...postgres import Postgres, ask
from .calls import Functions
from .test_others_sessions import settings_of
from .tools import ended_well, value

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_text_is_refused(postgres: Postgres, encoding: str) -> None:
    """There the first error with a letter that it does not have would have ended the scheduler."""
    url = postgres.url("odd")
    ask(postgres.url(), f"CREATE DATABASE odd TEMPLATE template0 ENCODING {encoding} LOCALE 'C'")

    async def main() -> None:
        with pytest.raises(StoreError, match=f"encoding is {encoding}.*UTF8"):
            async with Scheduler(url):
                pass

    try:
        asyncio.run(main())
    finally:
        postgres.drop_database(url)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_who_has_waited_for_a_lock_sees_what_was_done_meanwhile(database: str, level: str) -> None:
    """Else the limits of a store do not hold: what another has begun meanwhile is not counted."""
    settings_of(database, default_transaction_isolation=f"'{level}'")

    async def main() -> None:
        db = await asyncpg.connect(database)
        try:
            for call in (
                "SELECT lifecycle.turn(1, 1, false, '{}', NULL, NULL, NULL, NULL)",
                """SELECT lifecycle.visit('{"do": "expire"}')""",
                "SELECT lifecycle.purge(0, 0, 0, NULL, false, 1, true)",
            ):
                with pytest.raises(asyncpg.PostgresError, match=f"begin as {level} here") as refused:
                    await db.execute(call)
                assert fault_of(refused.value) is Fault.FINAL  # as it is behind a pooler, where nothing helps
                await fetch_committed(db, call)
                await db.execute(f"SET default_transaction_isolation TO '{level}'")
        finally:
            await db.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "a\0options\0-c search_path=evil\0"},
        {"name": "\n\u2028\x1b[31m" * 20},
        {"workers": 2**31, "threads": 2},
        {"max_crashes": 2**70},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_a_scheduler_with_odd_settings_works(database: str, settings: dict[str, Any]) -> None:
    """A name is no part of what is said to the server when it is connected to; no number is too large for it."""

    async def main() -> None:
        async with asyncio.timeout(20), Scheduler(database, **settings) as scheduler:
            assert await ended_well([await scheduler.submit(value, 1)]) == [1]
            (found,) = ask(database, "SELECT DISTINCT application_name FROM pg_stat_activity WHERE " + OURS)
            assert str(found[0]).isprintable()

    asyncio.run(main())


OURS = "datname = current_database() AND application_name LIKE 'lifecycle %'"


class Refused(Exception):
    """What the driver raises for a database that only reads."""

    sqlstate = "25006"


class Refusing:
    """A connection to a database that takes no beat."""

    async def add_listener(self, channel: str, listener: object) -> None:
        """Listen to nothing."""

    async def execute(self, query: str, timeout: float) -> None:
        """Do nothing."""

    async def fetchval(self, query: str, number: int, timeout: float) -> str:
        """Refuse it."""
        raise Refused("it only reads")

    async def close(self, timeout: float) -> None:
        """Do nothing."""

    def terminate(self) -> None:
        """Do nothing."""


def test_a_database_that_takes_no_beat_is_not_asked_all_the_time() -> None:
    """A hundred times a second it was connected to, and each time all other connections were given up."""
    connected: list[Refusing] = []
    given_up: list[None] = []

    async def connect() -> Refusing:
        connected.append(Refusing())
        return connected[-1]

    async def main() -> None:
        lifeline = Lifeline(
            connect,
            lambda: 1,
            15.0,
            heard=lambda message: None,
            beaten=lambda answer, took: None,
            silent=lambda: given_up.append(None),
        )
        living = asyncio.ensure_future(lifeline.run())
        await asyncio.sleep(0.3)
        living.cancel()
        await asyncio.wait([living])

    asyncio.run(main())
    assert 1 < len(connected) < 5
    assert not given_up


# In the database


@pytest.fixture
def functions(functions: Functions) -> Iterator[Functions]:
    """They, with the gate alone; what they do is undone."""
    with functions.undone():
        yield functions


JOB = {"name": "j", "kind": "call", "handler": "h", "queue": "default", "priority": 0, "retries": 0, "backoff": [1, 2]}


def put(functions: Functions, sender: int, **more: Any) -> int:
    """Store a job."""
    number: int = functions.value("put_job($1, NULL, 'h', 0, $2, clock())", {**JOB, **more}, sender)
    return number


def test_a_rate_counts_what_has_begun(functions: Functions) -> None:
    """Not what was chosen, and would have made the answer too long: most of the rate was lost for large arguments."""
    me = functions.value("enter('me', '', 1, 15)")
    functions.value(
        "put_limit($1)",
        {"kind": "handler", "name": "h", "number": 10, "per": 60.0, "burst": 10, "weight": 1.0, "whole_at": 0.0},
    )
    for _ in range(10):
        put(functions, me, payload="x" * 60_000)
    begun = 0
    for _ in range(10):
        taken = functions.value("claim($1, 20, '{h}', NULL, 3, 1000.0)", me)["jobs"]
        assert len(taken) <= 2, "they are not handed out at once"
        begun += len(taken)
        assert functions.rows("SELECT whole_at FROM limits") == [(1000.0 + 6.0 * begun,)]
    assert begun == 10


def test_nobody_is_left_a_notice_who_has_gone(functions: Functions) -> None:
    """It would stay for ever."""
    here, gone = functions.value("enter('here', '', 1, 15)"), functions.value("enter('gone', '', 1, 15)")
    jobs = [put(functions, sender) for sender in (here, gone)]
    functions.value("retire($1, false, clock())", gone)
    for job in jobs:
        functions.value("cancel($1, 'why', clock(), NULL)", job)
    assert functions.rows("SELECT owner, job FROM notices") == [(here, jobs[0])]


@pytest.mark.parametrize("hours", [-1, 1])
def test_who_has_died_is_dead_although_the_clock_was_set(functions: Functions, hours: int) -> None:
    """What it ran would wait until the clock shows again when it was seen last."""
    judge, dead = functions.value("enter('judge', '', 1, 15)"), functions.value("enter('dead', '', 1, 15)")
    functions.execute("UPDATE owners SET contact = contact - 60 WHERE id = $1", judge)
    assert functions.value("beat($1)", judge)["dead"] is False
    functions.execute("UPDATE owners SET seen = seen - $2::integer * 3600.0 WHERE id = $1", dead, hours)
    assert functions.value("beat($1)", judge)["dead"] is True
    assert functions.value("bury($1, clock())", judge) == 1


def test_nobody_is_judged_when_the_clock_has_just_been_set_back(functions: Functions) -> None:
    """The others have been seen later than it is now, until they are heard of again; also by one with a long lease."""
    judge, other = functions.value("enter('judge', '', 1, 600)"), functions.value("enter('other', '', 1, 1)")
    functions.execute("UPDATE owners SET seen = seen + 60, contact = contact - 6000")
    assert functions.value("beat($1)", judge)["dead"] is False
    assert functions.value("bury($1, clock())", judge) == 0
    assert functions.value("beat($1)", other)["registered"] is True


def test_no_number_is_given_twice_when_an_older_copy_is_put_in_place(database: str) -> None:
    """Two that had one number got each other's answers: of a hundred jobs that were submitted twelve were not there."""
    # What a restored copy is, to those who live: none of them is registered, and the sequences are where they were.
    older = "TRUNCATE lifecycle.owners, lifecycle.turns, lifecycle.jobs RESTART IDENTITY"

    async def main() -> None:
        async with asyncio.timeout(30), Scheduler(database, name="one") as one:
            assert await ended_well([await one.submit(value, 0)]) == [0]
            ask(database, older)
            async with Scheduler(database, name="two") as two:
                jobs = [await (one, two)[number % 2].submit(value, number) for number in range(40)]
                assert await ended_well(jobs) == list(range(40))
                assert len({job.id for job in jobs}) == 40
                assert [name for (name,) in ask(database, "SELECT name FROM lifecycle.owners ORDER BY name")] == [
                    "one",
                    "two",
                ]

    asyncio.run(main())
