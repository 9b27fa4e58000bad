"""What a server, a role or a database may have set, and how others fell over it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.scheduler import Scheduler, StoreBusy, StoreError

from ...postgres import Postgres, ask
from .tools import connections, end_connections, ended_well, name_of, named, open_sender, until, value

pytestmark = pytest.mark.slow


SETTINGS = [
    {"timezone": "'Asia/Kathmandu'"},
    {"idle_session_timeout": "'200ms'"},
    {"idle_in_transaction_session_timeout": "'50ms'"},
    {"statement_timeout": "'500ms'"},
    {"search_path": "pg_temp"},
    {"default_transaction_isolation": "serializable"},
    {"extra_float_digits": "0"},
    {"standard_conforming_strings": "off"},
    {"plpgsql.variable_conflict": "use_column"},
    {"session_replication_role": "replica"},
]

RARER = [
    {"timezone": "'America/Sao_Paulo'"},
    {"lock_timeout": "'200ms'"},
    {"transaction_timeout": "'500ms'"},
    {"search_path": "''"},
    {"default_transaction_isolation": "'repeatable read'"},
    {"default_transaction_deferrable": "on"},
    {"datestyle": "'German, DMY'"},
    {"intervalstyle": "sql_standard"},
    {"bytea_output": "escape"},
    {"row_security": "off"},
    {"plan_cache_mode": "force_generic_plan"},
    {"jit_above_cost": "0"},
    {"client_min_messages": "debug5"},
    {"xmlbinary": "hex"},
    {"check_function_bodies": "off"},
    {"transform_null_equals": "on"},
    {"array_nulls": "off"},
    {"quote_all_identifiers": "on"},
    {"plpgsql.extra_errors": "'all'"},
    {"enable_indexscan": "off"},
    {"synchronous_commit": "off"},
    {"lifecycle.alone": "'yes'"},
]


def settings_of(url: str, **settings: str) -> None:
    """Set what every new session of a database begins with."""
    for name, text in settings.items():
        ask(url, f"ALTER DATABASE {name_of(url)} SET {name} = {text}")


async def works(url: str, count: int = 20) -> None:
    """Check that jobs submitted by one are run by another."""
    async with open_sender(url) as sender, Scheduler(url, workers=3):
        assert len(await ended_well([await sender.submit(value, number) for number in range(count)])) == count


@pytest.mark.parametrize(
    "settings",
    [*SETTINGS, *(pytest.param(one, marks=pytest.mark.nightly) for one in RARER)],
    ids=lambda settings: "-".join(f"{name}={text}" for name, text in settings.items()),
)
def test_jobs_run_whatever_a_session_begins_with(database: str, settings: dict[str, str]) -> None:
    """oban#790, proletarian#26, on-call-health#506, superplane#4457, procrastinate#1428."""
    settings_of(database, **settings)
    asyncio.run(works(database))


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Kathmandu", "UTC"])
def test_a_moment_is_a_moment_in_every_time_zone(database: str, zone: str) -> None:
    """Jobs came hours early, late or never: oban#790, raystack/entropy#91, caveman#37, delayed_job#1021."""
    settings_of(database, timezone=f"'{zone}'", datestyle="'SQL, DMY'")

    async def main() -> None:
        async with Scheduler(database) as scheduler:
            before = time.time()
            at = datetime.now(UTC) + timedelta(seconds=1.0)
            due, late, never = (
                await scheduler.submit(value, 1, at=at),
                await scheduler.submit(value, 1, at=at + timedelta(hours=5)),
                await scheduler.submit(value, 1, delay=3600.0, expires=7200.0),
            )
            await ended_well([due])
            records = [await scheduler.job(job.id) for job in (due, late, never)]
            assert all(record is not None and before - 5 <= record.created <= time.time() + 5 for record in records)
            assert records[0] is not None
            assert records[0].started is not None
            assert records[0].started >= at.timestamp() - 0.001
            assert records[1] is not None
            assert records[1].due == pytest.approx((at + timedelta(hours=5)).timestamp(), abs=0.01)
            assert records[1].status.value == "pending"

    asyncio.run(main())


@pytest.mark.nightly
def test_who_is_idle_is_not_cut_off_again_and_again(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that ends idle sessions soon: a worker with nothing to do says little of it, and takes the next job."""
    settings_of(database, idle_session_timeout="'100ms'")

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=2):
            await asyncio.sleep(1.5)
            await ended_well([await sender.submit(named, "idle")])

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert len(caplog.records) < 20, [record.getMessage() for record in caplog.records]


@pytest.fixture
def role(database: str) -> Iterator[str]:
    """A role that may do nothing yet; it is gone afterwards."""
    ask(database, "DROP ROLE IF EXISTS plain", "CREATE ROLE plain LOGIN PASSWORD 's3cr:t/@'")
    yield "plain"
    ask(database, "DROP OWNED BY plain CASCADE", "DROP ROLE plain")


def test_a_role_that_may_create_schemas_is_enough(postgres: Postgres, database: str, role: str) -> None:
    """No extension, no superuser: pg-boss#91."""
    ask(postgres.url(), "CREATE DATABASE plainly TEMPLATE template0")
    try:
        ask(postgres.url(), f"GRANT CREATE, CONNECT ON DATABASE plainly TO {role}")
        url = postgres.url("plainly").replace("postgres@", f"{role}@")
        asyncio.run(works(url))
        assert ask(url, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'lifecycle'") == [(role,)]
        asyncio.run(works(url))
    finally:
        ask(postgres.url(), "DROP DATABASE plainly WITH (FORCE)")


def test_a_role_that_may_use_what_another_has_installed_is_enough(database: str, role: str) -> None:
    """The one who installs need not be the one who works."""
    for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        ask(database, f"GRANT ALL ON ALL {what} IN SCHEMA lifecycle TO {role}")
    ask(database, f"GRANT USAGE ON SCHEMA lifecycle TO {role}")
    asyncio.run(works(database.replace("postgres@", f"{role}@")))


def test_a_role_that_may_not_is_told_so_without_its_password(database: str, role: str) -> None:
    """Once, in words, and before anything has happened."""
    url = database.replace("postgres@", f"{role}:s3cr%3At%2F%40@")

    async def main() -> str:
        with pytest.raises(StoreError) as refused:
            async with Scheduler(url):
                pass
        return str(refused.value)

    said = asyncio.run(main())
    assert "permission" in said or "may not" in said or "right" in said, said
    for secret in ("s3cr", "t/@", "t%2F"):
        assert secret not in said


def test_a_database_that_takes_no_writes_is_refused_at_the_beginning(database: str) -> None:
    """As a standby would be, or a failed-over primary: graphile/worker#224, #449."""
    settings_of(database, default_transaction_read_only="on")

    async def main() -> None:
        with pytest.raises(StoreError, match=r"read-only|standby|written"):
            async with asyncio.timeout(30), Scheduler(database, store_patience=1.0):
                pass

    asyncio.run(main())


def test_a_database_that_takes_no_writes_for_a_while_is_waited_for(database: str) -> None:
    """And what has ended meanwhile is recorded when it takes them again."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=2):
            await ended_well([await sender.submit(named, "before")])
            settings_of(database, default_transaction_read_only="on")
            end_connections(database)
            submitting = asyncio.ensure_future(sender.submit(named, "during"))
            await asyncio.sleep(1.0)
            ask(database, "SET default_transaction_read_only = off")
            writable = f"ALTER DATABASE {name_of(database)} RESET default_transaction_read_only"
            await asyncio.to_thread(ask_writing, database, writable)
            try:
                await ended_well([await submitting])
            except StoreBusy:
                await ended_well([await sender.submit(named, "again")])
            await ended_well([await sender.submit(named, "after")])

    asyncio.run(main())


def ask_writing(url: str, statement: str) -> None:
    """Run a statement where sessions begin read-only."""
    ask(url.replace(f"/{name_of(url)}?", "/postgres?"), statement)


def test_a_look_alike_in_the_search_path_is_not_asked(database: str) -> None:
    """Tables and functions of the same names, in a schema that comes first, are nobody's business."""
    ask(
        database,
        "CREATE SCHEMA evil",
        "CREATE TABLE evil.jobs (id text)",
        "CREATE TABLE evil.owners (id text)",
        "CREATE FUNCTION evil.clock() RETURNS text LANGUAGE sql AS $$ SELECT 'never' $$",
        "CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ SELECT $$",
        "CREATE FUNCTION evil.now() RETURNS text LANGUAGE sql AS $$ SELECT 'never' $$",
    )
    settings_of(database, search_path="evil, pg_catalog, public")
    asyncio.run(works(database))
    assert ask(database, "SELECT count(*) FROM evil.jobs") == [(0,)]


def test_nothing_is_held_at_rest(database: str) -> None:
    """No lock and no transaction: what a pooler hands to the next is clean. good_job#52, netbox#23009, que#309."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=2) as scheduler:
            await scheduler.limits.set(queue="narrow", limit=1)
            jobs = [await sender.submit(named, f"{number}", queue="narrow", key=f"k{number}") for number in range(20)]
            await ended_well(jobs)
            held = "SELECT locktype, mode FROM pg_locks JOIN pg_database ON oid = database "
            ours = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            await until(lambda: not ask(database, held + ours), "a rest without locks")
            assert {one["state"] for one in connections(database)} == {"idle"}

    asyncio.run(main())


def test_no_connection_is_left_after_the_end(database: str) -> None:
    """Nor a statement that goes on at the server: psycopg#608."""

    async def main() -> None:
        async with Scheduler(database, workers=2) as scheduler:
            await ended_well([await scheduler.submit(named, "one")])
            assert connections(database)
        await until(lambda: connections(database) == [], "the end of all connections")

    asyncio.run(main())
