"""The schema: brought up to date while schedulers of an older version work, and refused where it is not ours."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from lifecycle.scheduler import Scheduler, StoreError
from lifecycle.scheduler._store.postgres import schema

from ...postgres import ask
from .tools import begun, named

pytestmark = pytest.mark.slow

NEWER = """
    ALTER TABLE jobs ADD COLUMN colour text;
    CREATE INDEX jobs_colour ON jobs (colour) WHERE colour IS NOT NULL;"""
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


def test_a_version_that_this_one_cannot_work_with_is_refused(database: str) -> None:
    """It is named, and nothing is changed."""
    ask(database, "UPDATE lifecycle.facts SET value = '7'")

    async def main() -> None:
        with pytest.raises(StoreError, match="of version 7, which this lifecycle, of version 1, cannot work with"):
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
