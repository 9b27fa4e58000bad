"""Addresses that others' drivers and queues have not understood, or have told everybody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from lifecycle.scheduler import Scheduler, StoreError

from ...postgres import Postgres, ask
from ..storms.fleet.cable import Cable
from ..storms.fleet.machines import Machine
from .tools import ended_well, name_of, value


async def works(url: str) -> None:
    """Check that a job runs there."""
    async with asyncio.timeout(30), Scheduler(url, workers=1) as scheduler:
        assert await ended_well([await scheduler.submit(value, 1)]) == [1]


@pytest.fixture
def at_port(database: str) -> Iterator[Machine]:
    """The database at a TCP port."""
    machine = Machine(database, 0.0)
    yield machine
    machine.close()


ODD_NAMES = ["with space", "a/b", "a@b", "a:b", "a#b", "100%", "Ünïcode", 'quo"te', "a?b&c=d", "UPPER", "a+b", "[x]"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_may_be_anything_when_they_are_encoded(postgres: Postgres, name: str) -> None:
    """Of a user and of a database: asyncpg#436, #593, #598, #637."""
    quoted = name.replace('"', '""')
    ask(postgres.url(), f'CREATE DATABASE "{quoted}" TEMPLATE template0', f'CREATE ROLE "{quoted}" SUPERUSER LOGIN')
    try:
        place = quote(str(postgres.directory / "data"), safe="")
        written = quote(name, safe="")
        asyncio.run(works(f"postgresql://{written}@/{written}?host={place}"))
    finally:
        ask(postgres.url(), f'DROP DATABASE "{quoted}" WITH (FORCE)', f'DROP ROLE "{quoted}"')


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:sec/ret@127.0.0.1:1/db",
        "postgresql://user:sec#ret@127.0.0.1:1/db",
        "postgresql://user:sec@ret@127.0.0.1:1/db",
        "postgresql://user:sec?ret@127.0.0.1:1/db",
        "postgresql://user:sec[ret]@127.0.0.1:1/db",
        "postgresql://user:sec%ret@127.0.0.1:1/db",
        "postgresql://user:secret@127.0.0.1:port/db",
        "postgresql://user:secret@127.0.0.1:99999/db",
        "postgresql://user:secret@[::1/db",
        "postgresql://user:secret@127.0.0.1:1/db?sslmode=maybe",
        "postgresql://user:secret@127.0.0.1:1/db?password=secret2&password=secret3",
        "postgresql+asyncpg://user:secret@127.0.0.1:1/db",
        "postgresql://user:secret@no-such-host.invalid/db",
        "postgresql://user:secret@127.0.0.1:1/db",
    ],
)
def test_an_error_about_an_address_tells_no_secret(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A piece of the password was "an invalid port": asyncpg#1151, PR 1159."""

    async def main() -> BaseException:
        with pytest.raises((ValueError, TypeError, StoreError)) as wrong:
            async with asyncio.timeout(60), Scheduler(url, store_patience=0.2):
                pass
        return wrong.value

    error: BaseException | None = asyncio.run(main())
    said = [record.getMessage() for record in caplog.records]
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for text in said:
        assert "sec" not in text.replace("second", ""), text
        assert "ret@" not in text, text


def test_of_several_hosts_the_one_that_is_there_is_taken(at_port: Machine, database: str) -> None:
    """The first is away: asyncpg#352, pg-boss#447."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    asyncio.run(works(f"postgresql://postgres@127.0.0.1:{port},127.0.0.1:{at_port.cable.port}/{name_of(database)}"))


def test_of_several_hosts_one_that_says_nothing_is_passed_over(at_port: Machine, database: str) -> None:
    """It takes the connection, and no more: porsager/postgres#815."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{at_port.cable.port}"
        asyncio.run(works(f"postgresql://postgres@{hosts}/{name_of(database)}?connect_timeout=1"))


@pytest.mark.slow
def test_of_several_hosts_the_one_that_takes_writes_is_taken(
    at_port: Machine, database: str, own_server: Postgres
) -> None:
    """A standby comes first: pg-boss#447, porsager/postgres#815."""
    name = name_of(database)
    ask(own_server.url(), f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    first = Machine(own_server.url(name), 0.0)
    try:
        asyncio.run(works(f"postgresql://postgres@127.0.0.1:{first.cable.port},127.0.0.1:{at_port.cable.port}/{name}"))
        assert first.cable.carried > 0
    finally:
        first.close()


def test_the_other_host_is_used_when_the_first_goes_away(database: str) -> None:
    """A failover: both lead to the data, as they do where a standby has become the primary."""
    first, second = Machine(database, 0.0), Machine(database, 0.0)
    try:
        hosts = f"127.0.0.1:{first.cable.port},127.0.0.1:{second.cable.port}"

        async def main() -> None:
            async with Scheduler(f"postgresql://postgres@{hosts}/{name_of(database)}", workers=2) as scheduler:
                for gone, back in ((first, second), (second, first)):
                    await ended_well([await scheduler.submit(value, number) for number in range(10)])
                    back.cable.mend()
                    gone.cable.tear()
                    await ended_well([await scheduler.submit(value, number) for number in range(10)])

        asyncio.run(main())
    finally:
        first.close()
        second.close()


def test_an_ipv6_address_is_one(database: str) -> None:
    """In brackets, with a port."""
    try:
        cable = Cable(f"{parse_qs(urlsplit(database).query)['host'][0]}/.s.PGSQL.5432", "::1")
    except OSError:
        pytest.skip("there is no IPv6 here")
    try:
        asyncio.run(works(f"postgresql://postgres@[::1]:{cable.port}/{name_of(database)}"))
    finally:
        cable.close()
