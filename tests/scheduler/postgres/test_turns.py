"""Turns whose connection breaks: what was sent is done once, and what was claimed in a lost answer is run once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from lifecycle.scheduler import JobStatus, Scheduler
from lifecycle.scheduler._store.postgres.session import Session
from lifecycle.scheduler._store.postgres.store import PostgresStore
from lifecycle.scheduler._store.records import Ending, NewJob

from ...postgres import ask
from .tools import begun, named

pytestmark = pytest.mark.slow

COUNT = 120

OURS = "pid <> pg_backend_pid() AND application_name LIKE 'lifecycle %' AND datname = current_database()"


async def break_connections(url: str, chance: float, seed: int) -> None:
    """End the connections of schedulers again and again, in whatever they are doing; not for ever.

    On a machine where a turn takes longer than they live, nothing would be done any more.
    """
    chosen = random.Random(seed)
    connection = await asyncpg.connect(url)
    try:
        for _ in range(200):
            await asyncio.sleep(chosen.uniform(0.0, 0.02))
            await connection.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS} AND state = 'active' "
                f"AND random() < {chance}"
            )
    finally:
        await connection.close()


async def submit_and_run_all(url: str, disturbing: Coroutine[Any, Any, None] | None) -> None:
    """Submit jobs and run them while something disturbs that; each is stored, and run, once."""
    async with Scheduler(PostgresStore(url, lease=5.0), workers=20) as scheduler:
        trouble = None if disturbing is None else asyncio.create_task(disturbing)
        async with asyncio.timeout(90):
            jobs = await asyncio.gather(*(scheduler.submit(named, f"t{number}") for number in range(COUNT)))
            outcomes = [await job.wait() for job in jobs]
        if trouble is not None:
            trouble.cancel()
            await asyncio.wait([trouble])
        assert {outcome.status for outcome in outcomes} == {JobStatus.SUCCEEDED}
        assert len({job.id for job in jobs}) == COUNT
        listed = await scheduler.jobs(limit=1000)
        assert len(listed) == COUNT, "one was stored twice"
        assert Counter(record.attempts for record in listed) == {1: COUNT}
    assert set(begun.values()) == {1}


@pytest.fixture(autouse=True)
def nothing_has_begun() -> None:
    """Begin with an empty note."""
    begun.clear()


@pytest.mark.parametrize("seed", range(2))
def test_what_is_under_way_when_a_connection_breaks_is_done_once(database: str, seed: int) -> None:
    """Its transaction is rolled back, and it is sent again."""
    asyncio.run(submit_and_run_all(database, break_connections(database, 0.3, seed)))


@pytest.mark.parametrize("seed", range(2))
def test_what_was_done_is_not_done_again_when_the_answer_is_lost(
    database: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent again under the same number, and answered as the first time; what was claimed is found."""
    chosen = random.Random(seed)
    send = Session._send_turn

    async def lose_some(session: Session, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        text = await send(session, arguments, sent)
        if chosen.random() < 0.4:
            raise ConnectionResetError("the answer is lost")
        return text

    monkeypatch.setattr(Session, "_send_turn", lose_some)
    asyncio.run(submit_and_run_all(database, None))


def test_what_was_given_back_and_taken_again_is_handed_over_once(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by one and the same turn: an answer that is lost afterwards makes nobody look for it."""
    send = Session._send_turn
    losing = False

    async def lose_one(session: Session, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        nonlocal losing
        text = await send(session, arguments, sent)
        if losing:
            losing = False
            raise ConnectionResetError("the answer is lost")
        return text

    monkeypatch.setattr(Session, "_send_turn", lose_one)

    async def main() -> None:
        nonlocal losing
        store = PostgresStore(database)
        await store.open()
        try:
            first = await store.add_job(NewJob("first", "call", payload={"handler": "pg.named"}))
            taken = await store.take(lambda: 1, lambda: ["pg.named"])
            assert [job.id for job in taken] == [first]
            again = asyncio.create_task(store.take(lambda: 1, lambda: ["pg.named"]))
            await asyncio.sleep(0.05)
            assert await store.give_back(taken, time.time()) == [first]
            assert [job.id for job in await again] == [first]
            losing = True
            second = asyncio.create_task(store.take(lambda: 1, lambda: ["pg.named"]))
            other = await store.add_job(NewJob("other", "call", payload={"handler": "pg.named"}))
            assert [job.id for job in await second] == [other]
        finally:
            await store.aclose()

    asyncio.run(main())


def test_what_was_done_before_others_took_us_for_dead_is_not_done_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and meanwhile we are buried: under our new number it is asked what became of the old turn."""
    send = Session._send_turn

    async def lose_one(session: Session, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        text = await send(session, arguments, sent)
        if arguments[4] is not None and not lost:  # plain jobs
            lost.append(arguments[0])
            ask(
                database,
                f"UPDATE lifecycle.owners SET seen = 0 WHERE id = {arguments[0]}",
                "INSERT INTO lifecycle.owners (name, host, pid, started, seen, contact, lease) "
                "VALUES ('judge', '', 1, 0, lifecycle.clock(), 0, 60)",
                BURY,
            )
            raise ConnectionResetError("the answer is lost")
        return text

    lost: list[int] = []
    monkeypatch.setattr(Session, "_send_turn", lose_one)
    begun.clear()

    async def main() -> None:
        async with Scheduler(PostgresStore(database, lease=60.0), workers=2) as scheduler, asyncio.timeout(30):
            job = await scheduler.submit(named, "once")
            assert (await job.wait()).status is JobStatus.SUCCEEDED
            assert [record.id for record in await scheduler.jobs()] == [job.id]
        ask(database, "DELETE FROM lifecycle.owners")

    asyncio.run(main())
    assert lost
    assert begun["once"] == 1


BURY = """
    DO $$ BEGIN
        SET LOCAL search_path = lifecycle, pg_temp;
        PERFORM have_gate_alone();
        IF bury((SELECT id FROM owners WHERE name = 'judge'), clock()) <> 1 THEN RAISE 'nobody was buried'; END IF;
    END $$"""


def test_an_attempt_that_was_lost_is_not_confused_with_the_next_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped before anything is claimed, and its end makes nobody forget that the next one is ours as well."""
    send = Session._send_turn
    losing = False

    async def lose_one(session: Session, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        nonlocal losing
        text = await send(session, arguments, sent)
        if losing:
            losing = False
            raise ConnectionResetError("the answer is lost")
        return text

    monkeypatch.setattr(Session, "_send_turn", lose_one)
    over = Ending(JobStatus.CANCELLED)

    async def main() -> None:
        nonlocal losing
        store = PostgresStore(database, lease=60.0)
        await store.open()
        try:
            first = await store.add_job(NewJob("first", "call", payload={"handler": "pg.named"}))
            assert [job.attempt for job in await store.take(lambda: 1, lambda: ["pg.named"])] == [1]
            ask(
                database,
                "UPDATE lifecycle.owners SET seen = 0",
                "INSERT INTO lifecycle.owners (name, host, pid, started, seen, contact, lease) "
                "VALUES ('judge', '', 1, 0, lifecycle.clock(), 0, 60)",
                BURY,
                "UPDATE lifecycle.jobs SET state = 'pending'",
            )
            again = asyncio.create_task(store.take(lambda: 1, lambda: ["pg.named"]))
            assert not (await store.finish(first, 1, over, time.time())).accepted
            await asyncio.sleep(0.1)
            assert not again.done(), "it was claimed before the lost attempt was stopped"
            assert [(notice.job_id, notice.attempt) for notice in await store.notices()] == [(first, 1)]
            assert await store.notices() == []
            assert [(job.id, job.attempt) for job in await again] == [(first, 2)]
            assert not (await store.finish(first, 1, over, time.time())).accepted
            losing = True
            other = asyncio.create_task(store.take(lambda: 1, lambda: ["pg.named"]))
            number = await store.add_job(NewJob("other", "call", payload={"handler": "pg.named"}))
            assert [job.id for job in await other] == [number]
        finally:
            await store.aclose()
            ask(database, "DELETE FROM lifecycle.owners")

    asyncio.run(main())
