"""The schema: brought up to date while schedulers of an older version work, and refused where it is not ours."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import Iterator

import asyncpg
import pytest

from lifecycle.scheduler import Scheduler, StoreError
from lifecycle.scheduler._store.postgres import schema

from ...postgres import ask
from ...tracked import ROOT
from .tools import Gate, begun, gated, named

pytestmark = pytest.mark.slow

NEWER = """
    ALTER TABLE jobs ADD COLUMN colour text;
    CREATE INDEX jobs_colour ON jobs (colour) WHERE colour IS NOT NULL;
    CREATE TABLE colours (name text);"""
"""What a newer version might add to the tables."""


async def bring_to_newer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what the first scheduler of a newer version does, whose functions are replaced as well."""
    with monkeypatch.context() as patch:
        script = schema.script
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "newer"))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        patch.setattr(schema, "script", lambda name: NEWER if name == "newer" else script(name))
        connection = await asyncpg.connect(url)
        try:
            await schema.bring_up_to_date(connection, "the database")
        finally:
            await connection.close()


def test_an_older_scheduler_works_on_while_a_newer_one_comes(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of both run, before, meanwhile and after; and an older one may come back."""
    begun.clear()

    async def main() -> None:
        async with Scheduler(database, name="older") as older, asyncio.timeout(60):
            before = [await older.submit(named, f"before{number}") for number in range(50)]
            newer = asyncio.create_task(bring_to_newer(database, monkeypatch))
            meanwhile = [await older.submit(named, f"meanwhile{number}") for number in range(50)]
            await newer
            after = [await older.submit(named, f"after{number}") for number in range(50)]
            for job in (*before, *meanwhile, *after):
                assert (await job.wait()).status.value == "succeeded"
        async with Scheduler(database, name="older again") as older, asyncio.timeout(60):
            assert (await (await older.submit(named, "again")).wait()).status.value == "succeeded"

    asyncio.run(main())
    assert len(begun) == 151
    assert set(begun.values()) == {1}
    assert ask(database, "SELECT value FROM lifecycle.facts WHERE name = 'version'") == [(str(schema.VERSION + 1),)]


FIRST_VERSION = (
    "ALTER TABLE lifecycle.jobs DROP COLUMN recorded",
    "UPDATE lifecycle.facts SET value = '1' WHERE name = 'version'",
)
"""What makes a database of this version one of the first, but for its functions."""


def test_a_database_of_the_first_version_is_brought_up_to_date(database: str) -> None:
    """With all that was in it; which store it is has been said from the beginning."""

    async def main() -> None:
        async with Scheduler(database) as scheduler:
            (await (await scheduler.submit(named, "before")).wait()).unwrap()
            waits = (await scheduler.submit(named, "waits", delay=3600.0)).id
        ((token,),) = ask(database, "SELECT value FROM lifecycle.facts WHERE name = 'token'")
        ask(database, *FIRST_VERSION)
        async with Scheduler(database) as scheduler:
            assert [job.id for job in await scheduler.jobs()] == [waits - 1, waits]
            assert scheduler._store.identity == token[:10]
        assert ask(database, "SELECT id, recorded FROM lifecycle.jobs ORDER BY id") == [(waits - 1, 0), (waits, 0)]

    asyncio.run(main())


def test_what_schedulers_of_the_first_version_read_is_as_it_was(database: str) -> None:
    """The attempts that they are to make: arrays of as many columns, also of jobs whose last attempt has failed."""
    ask(
        database,
        "SET search_path TO lifecycle",
        "SELECT enter('older', 'host', 1, 15, 'secret')",
        """
        INSERT INTO jobs (name, kind, state, doer, queue, priority, unmet, delay, due, retries, backoff_first,
                          backoff_longest, created, attempt, recorded)
        VALUES ('failed', 'call', 'pending', 'h', 'default', 0, 0, 0, 0, 9, 0.1, 1, 1, 4, 3)""",
    )
    claims = "SELECT claim(1, 9, NULL, '{}', NULL, 1)"
    ((claimed,),) = ask(database, "SET search_path TO lifecycle", claims)
    ((missed,),) = ask(database, "SELECT lifecycle.missed(1, '{}')")
    assert json.loads(claimed)["jobs"] == json.loads(missed)
    assert [len(row) for row in json.loads(missed)] == [13]
    assert json.loads(claimed)["recorded"] == {"1": 3}


def test_a_version_that_this_one_cannot_work_with_is_refused(database: str) -> None:
    """It is named, and nothing is changed."""
    ask(database, "UPDATE lifecycle.facts SET value = '7'")

    async def main() -> None:
        ours = f"of version 7, which this lifecycle, of version {schema.VERSION}, cannot work with"
        with pytest.raises(StoreError, match=ours):
            async with Scheduler(database):
                pass

    asyncio.run(main())
    assert ask(database, "SELECT count(*) FROM lifecycle.owners") == [(0,)]


def test_the_schema_of_another_program_is_left_alone(database: str) -> None:
    """Its name is ours by chance: nothing of it is touched."""
    ask(
        database,
        "DROP SCHEMA lifecycle CASCADE",
        "CREATE SCHEMA lifecycle",
        "CREATE TABLE lifecycle.stages (name text)",
    )

    async def main() -> None:
        with pytest.raises(StoreError, match="its schema lifecycle is of another program; use another database"):
            async with Scheduler(database):
                pass

    asyncio.run(main())
    assert ask(database, "SELECT relname FROM pg_class WHERE relnamespace = 'lifecycle'::regnamespace") == [("stages",)]


@pytest.fixture
def other(database: str) -> Iterator[str]:
    """The address of a database for a role that has no right in it yet; the role is the name of the database."""
    role = database.partition("?")[0].rpartition("/")[2]
    ask(database, f"CREATE ROLE {role} LOGIN")
    yield database.replace("postgres@", f"{role}@")
    ask(database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def role_of(url: str) -> str:
    """Return the role of an address."""
    return url.removeprefix("postgresql://").partition("@")[0]


def sql_of_the_page() -> list[str]:
    """Return what the reference has in SQL."""
    page = (ROOT / "docs" / "reference" / "postgresql.md").read_text(encoding="utf-8")
    return re.findall(r"```sql\n(.*?)```", page, re.DOTALL)


async def work(url: str, name: str) -> None:
    """Let a job run, and cancel one."""
    async with asyncio.timeout(60), Scheduler(url) as scheduler:
        later = await scheduler.submit(named, "later", delay=3600)
        assert (await (await scheduler.submit(named, name)).wait()).unwrap() == name
        assert await scheduler.cancel(later.id)


def test_who_has_a_schema_needs_no_right_to_create_one(database: str, other: str) -> None:
    """An administrator made it, empty; without one it is said what is missing."""
    ask(database, "DROP SCHEMA lifecycle CASCADE")
    with pytest.raises(StoreError, match=r"permission denied .*; at the beginning, .* a role that may create it"):
        asyncio.run(work(other, "early"))
    ask(database, f"CREATE SCHEMA lifecycle AUTHORIZATION {role_of(other)}")
    asyncio.run(work(other, "ours"))


def test_another_role_works_with_the_rights_that_the_page_gives(
    database: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its owner has brought the schema to a newer version, with one more table; the role itself may not."""
    rights, *_ = sql_of_the_page()
    with pytest.raises(StoreError, match="permission denied for schema lifecycle"):
        asyncio.run(work(other, "early"))
    ask(database, re.sub(r"\bworker\b", role_of(other), rights))
    asyncio.run(work(other, "with rights"))
    with pytest.raises(StoreError, match=r"must be owner .*; from one version to the next, .* a role that owns it"):
        asyncio.run(bring_to_newer(other, monkeypatch))
    asyncio.run(bring_to_newer(database, monkeypatch))
    asyncio.run(work(other, "still with rights"))
    assert ask(other, "SELECT count(*) FROM lifecycle.colours") == [(0,)]


def test_what_an_operator_asks_the_tables_is_answered(database: str) -> None:
    """By the queries of the reference: what waits for how long, which worker runs what, and who is in the way."""

    async def main() -> list[list[tuple[object, ...]]]:
        gate = Gate()
        async with asyncio.timeout(60), Scheduler(database, workers=1) as scheduler:
            await scheduler.submit(gated, gate.name)
            await scheduler.submit("pg.nobody_has_it", delay=3600)
            await scheduler.submit("pg.nobody_has_it")
            await gate.reached()
            answers = [await asyncio.to_thread(ask, database, query) for query in sql_of_the_page()[1:]]
            gate.open()
            return answers

    ((doer, count, _),), ((_, name, _, *where),), _ = asyncio.run(main())
    assert (doer, count, name) == ("pg.nobody_has_it", 1, "pg.gated")
    assert where == [socket.gethostname(), os.getpid()]
