"""What is asked of a store while it is closed, or falls over, has an answer: nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from lifecycle.scheduler import StoreBusy, StoreError
from lifecycle.scheduler._store import patience
from lifecycle.scheduler._store.patience import Patience
from lifecycle.scheduler._store.postgres import session
from lifecycle.scheduler._store.postgres.store import PostgresStore
from lifecycle.scheduler._store.postgres.turns import Owner, Turns
from lifecycle.scheduler._store.postgres.wishes import Wish
from lifecycle.scheduler._store.records import NewJob

from ...postgres import ask

pytestmark = pytest.mark.slow


@asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    """Keep everybody out of a table, so that what is asked stays under way."""
    stranger = await asyncpg.connect(url)
    try:
        await stranger.execute(f"BEGIN; LOCK TABLE lifecycle.{table} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        await stranger.close()


async def waits_for_lock(url: str, count: int = 1) -> None:
    """Return when so many of the others wait for the stranger."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(20):
        while ask(url, question)[0][0] < count:
            await asyncio.sleep(0.01)


def test_a_look_that_is_under_way_when_the_store_is_closed_is_refused(database: str) -> None:
    """Its connection is given up with all others."""

    async def main() -> None:
        store = PostgresStore(database)
        await store.open()
        ours = store._session
        assert ours is not None
        async with locked(database, "schedules"):
            look = asyncio.ensure_future(store.schedules())
            await waits_for_lock(database)
            async with asyncio.timeout(20):
                await store.aclose()
                with pytest.raises(StoreError, match="closed before"):
                    await look
        # Nor does anybody wait who had hold of the session.
        async with asyncio.timeout(20):
            with pytest.raises(StoreError, match="closed before"):
                await ours.wish("other", {"do": "expire"})
            with pytest.raises(StoreError, match="closed before"):
                await ours.read(lambda db: db.fetchval("SELECT 1"), patient=True)
            with pytest.raises(StoreError, match="closed before"):
                await ours.take(lambda: 1, tuple)

    asyncio.run(main())


def test_a_store_is_closed_although_somebody_has_locked_it(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left as it is: who is not heard of any more is looked after by the others."""
    monkeypatch.setattr(session, "LAST_TURN_TIMEOUT", 0.1)
    monkeypatch.setattr(patience, "AT_THE_END", 0.1)

    async def main() -> None:
        store = PostgresStore(database)
        await store.open()
        async with locked(database, "jobs"), asyncio.timeout(20):
            wish = asyncio.ensure_future(store.add_job(JOB))
            await waits_for_lock(database)
            with pytest.raises(StoreBusy):
                await store.aclose()
            with pytest.raises(StoreBusy):
                await wish
        assert ask(database, "SELECT count(*) FROM lifecycle.jobs") == [(0,)]

    asyncio.run(main())


def test_what_is_under_way_when_a_part_of_the_store_falls_over_is_refused(database: str) -> None:
    """Somebody drops a function: all that was asked is told why, and so is what is asked later."""

    async def main() -> None:
        store = PostgresStore(database)
        await store.open()
        try:
            taking = asyncio.ensure_future(store.take(lambda: 0, lambda: ["pg.named"]))
            ours = store._session
            assert ours is not None
            async with locked(database, "turns"):
                wish = asyncio.ensure_future(store.add_job(JOB))
                await waits_for_lock(database)
                ask(database, "ALTER FUNCTION lifecycle.look_at_schedules RENAME TO gone")
                ours.look_at_schedules()
                async with asyncio.timeout(20):
                    for asked in (lambda: taking, lambda: wish, lambda: store.add_job(JOB), store.schedules):
                        with pytest.raises(StoreError, match="look_at_schedules"):
                            await asked()
        finally:
            await store.aclose()

    asyncio.run(main())


JOB = NewJob("name", "call", payload={"handler": "pg.named"})


class Denied(Exception):
    """What the driver raises when a right was taken away."""

    sqlstate = "42501"


def turns_with(send: Callable[[], str]) -> Turns:
    """Return turns of a scheduler whose database is this function."""

    async def send_turn(arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        sent()
        return send()

    async def enter() -> int:
        return 1

    return Turns(
        send_turn,
        lambda known: asyncio.sleep(0, []),
        lambda owner, number: asyncio.sleep(0, None),
        Owner(enter, lambda running: None),
        Patience(None),
        shown="it",
        now=lambda: 0.0,
        max_crashes=None,
        internal=lambda looks, names: ([], 1.0),
        tell=lambda messages: None,
    )


def test_of_wishes_that_are_sent_one_by_one_each_has_an_answer() -> None:
    """One in a batch is wrong, so that each is sent by itself; the database is lost while the first of them is."""
    failed: list[tuple[int, str]] = []
    errors: list[Exception] = [Denied("lost"), ValueError("wrong")]

    def send() -> str:
        raise errors.pop()

    async def main() -> None:
        turns = turns_with(send)
        for number in range(3):
            turns.ask(Wish("other", "{}", lambda answer: None, lambda e, n=number: failed.append((n, str(e)))))
        async with asyncio.timeout(10):
            await turns.run()

    asyncio.run(main())
    assert sorted(failed) == [(0, "it: lost"), (1, "it: lost"), (2, "it: lost")]


class Full(Exception):
    """What the driver raises when there is no room on the disk of the server."""

    sqlstate = "53100"


@pytest.mark.parametrize("error", [Full("full"), ConnectionResetError("torn")])
def test_what_the_server_has_refused_does_not_wait_with_what_is_not_known(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New work is refused after a while, but for what may have been done: the connection broke under it."""
    monkeypatch.setattr(patience, "LOCK_TIMEOUT", 0.0)
    failed: list[BaseException] = []

    def send() -> str:
        raise error

    async def main() -> None:
        turns = turns_with(send)
        turns.ask(Wish("other", "{}", lambda answer: None, failed.append))
        turning = asyncio.ensure_future(turns.run())
        await asyncio.sleep(0.2)
        turning.cancel()
        await asyncio.wait([turning])

    asyncio.run(main())
    assert [type(one) for one in failed] == ([StoreBusy] if isinstance(error, Full) else [])
