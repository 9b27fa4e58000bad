"""connect with asyncpg to a real PostgreSQL server that is paused, killed and started again meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import asyncpg
import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect, dial

from ..postgres import Postgres, own
from ..servers import leaving_nothing

pytestmark = pytest.mark.slow

APPLICATION = "connect under test"

#: What a server refuses with while it starts or ends, beside what the system says.
PATIENT = Retry(
    timeout=60.0,
    backoff=(0.05, 0.2),
    retry_on=(OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError),
)

Connection = Any  # asyncpg.Connection, which takes a parameter in type checkers only


async def open_connection(postgres: Postgres) -> Connection:
    """Return a new connection."""
    return await asyncpg.connect(postgres.url(), timeout=60.0, server_settings={"application_name": APPLICATION})


async def close(connection: Connection) -> None:
    """Close a connection, also to a server that does not answer."""
    try:
        await connection.close(timeout=1.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


@pytest.fixture(scope="module")
def running() -> Iterator[Postgres]:
    """Start a server."""
    server = own()
    yield server
    server.close()


@pytest.fixture
def postgres(running: Postgres) -> Iterator[Postgres]:
    """Lend the server, and see that it runs afterwards."""
    yield running
    running.start()
    running.resume()


async def nobody_is_left_at(postgres: Postgres) -> None:
    """Check that the server has no connection of ours but the one that asks; it may take a moment to notice."""
    async with connect(dial(partial(open_connection, postgres), close=close), retry=PATIENT, timeout=10.0) as witness:
        question = "select count(*) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()"
        for _ in range(500):
            count = await witness.fetchval(question, APPLICATION)
            if count == 0:
                return
            await asyncio.sleep(0.01)
    raise AssertionError(f"the server still has {count} connections")


async def listener(stages: Stages, postgres: Postgres, channel: str) -> Connection:
    """Connect in three stages: the connection, a setting, and a channel to listen to."""
    connection = await stages.acquire(open_connection, postgres, release=close, name="connection")
    await stages.step(connection.execute("set statement_timeout = 0"), name="setting")
    await stages.step(connection.execute(f"listen {channel}"), name="listen")
    return connection


def test_a_connection_in_stages(postgres: Postgres) -> None:
    """Connected, used, closed."""

    async def main() -> None:
        async with leaving_nothing():
            async with connect(listener, postgres, "jobs", timeout=30.0) as connection:
                assert await connection.fetchval("select pg_listening_channels()") == "jobs"
            await nobody_is_left_at(postgres)

    asyncio.run(main())


def test_a_paused_server_times_out_and_nothing_is_left(postgres: Postgres) -> None:
    """It says nothing; when it goes on, nobody waits for it any more."""

    async def main() -> None:
        async with leaving_nothing():
            postgres.pause()
            with pytest.raises(ConnectTimeout) as caught:
                await connect(listener, postgres, "jobs", timeout=0.2, retry=Retry(attempts=3, backoff=(0.01, 0.01)))
            assert (caught.value.stage, caught.value.attempts) == ("connection", 3)
            assert caught.value.rollback_errors == ()
            postgres.resume()
            await nobody_is_left_at(postgres)

    asyncio.run(main())


def test_a_server_that_is_paused_between_two_stages(postgres: Postgres) -> None:
    """Connected, then no answer: the connection is taken back, though the server does not hear the good-bye."""

    async def connector(stages: Stages) -> None:
        connection = await stages.acquire(open_connection, postgres, release=close, name="connection")
        postgres.pause()
        await stages.step(connection.execute("select 1"), name="question")

    async def main() -> None:
        async with leaving_nothing():
            with pytest.raises(ConnectTimeout) as caught:
                await connect(connector, timeout=0.5, close_timeout=10.0)
            assert caught.value.stage == "question"
            assert caught.value.rollback_errors == ()
            postgres.resume()
            await nobody_is_left_at(postgres)

    asyncio.run(main())


def test_a_server_that_goes_on_is_reached_by_the_next_attempt(postgres: Postgres) -> None:
    """Paused when the connect begins, resumed between two attempts."""

    async def main() -> None:
        async with leaving_nothing():
            postgres.pause()
            asyncio.get_running_loop().call_later(0.7, postgres.resume)
            attempt = connect(listener, postgres, "jobs", timeout=0.5, retry=PATIENT)
            async with attempt as connection:
                assert await connection.fetchval("select 1") == 1
            assert attempt.attempts > 1
            await nobody_is_left_at(postgres)

    asyncio.run(main())


def test_a_server_killed_during_a_stage_fails_that_stage(postgres: Postgres) -> None:
    """A question that is never answered, and then the server is gone."""

    async def connector(stages: Stages) -> None:
        connection = await stages.acquire(open_connection, postgres, release=close, name="connection")
        asyncio.get_running_loop().call_later(0.1, postgres.stop, "immediate")
        await stages.step(connection.execute("select pg_sleep(60)"), name="question")

    async def main() -> None:
        async with leaving_nothing():
            with pytest.raises(ConnectError) as caught:
                await connect(connector, timeout=30.0)
            assert caught.value.stage == "question"
            assert caught.value.rollback_errors == ()
            assert not isinstance(caught.value, ConnectTimeout)

    asyncio.run(main())


def test_a_server_that_comes_back_is_reached(postgres: Postgres) -> None:
    """Killed before the connect, started again while it is tried; what it says while it starts is tried again too."""

    async def main() -> None:
        async with leaving_nothing():
            postgres.stop("immediate")
            attempt = connect(listener, postgres, "jobs", timeout=10.0, retry=PATIENT)
            connecting = asyncio.ensure_future(attempt)
            while attempt.attempts < 3:
                await asyncio.sleep(0.01)
            postgres.start()
            assert await (await connecting).fetchval("select 1") == 1
            await attempt.scope.aclose()
            await nobody_is_left_at(postgres)

    asyncio.run(main())


def test_cancelled_at_any_moment_nothing_is_left_at_the_server(postgres: Postgres) -> None:
    """A hundred connects, awaited and polled, cancelled after a random part of the time that they take, and later."""
    chance = random.Random(6)

    async def awaits() -> None:
        async with connect(listener, postgres, "jobs", close_timeout=10.0) as connection:
            await connection.fetchval("select 1")

    async def polls() -> None:
        attempt = connect(listener, postgres, "jobs", close_timeout=10.0)
        try:
            while not attempt.poll():
                await asyncio.sleep(0)
        finally:
            await attempt.aclose()
        await attempt.scope.aclose()

    async def main() -> None:
        ended = 0
        async with leaving_nothing():
            began = asyncio.get_running_loop().time()
            await awaits()
            takes = asyncio.get_running_loop().time() - began
            for _ in range(100):
                task = asyncio.ensure_future(chance.choice([awaits, polls])())
                await asyncio.sleep(chance.uniform(0, 1.5 * takes))
                task.cancel()
                ended += (await asyncio.gather(task, return_exceptions=True))[0] is None
            await nobody_is_left_at(postgres)
        print(ended, "came to their end")

    asyncio.run(main())
