"""The schema of the store in a database: installed, brought up to date, and checked.

The tables are only ever added to, and the functions of a newer version keep what those of an older one did for whoever
calls them: so schedulers of an older version go on working while a newer one brings the schema up to date, and all of
them go by the same rules from then on.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from ..._ground.errors import StoreError
from .connections import Connection
from .faults import explain

MIGRATIONS: Final[tuple[str, ...]] = ("tables", "recorded")
"""The scripts that bring the tables from version n to n + 1; never changed once released, only added to."""

FUNCTIONS: Final = (
    *("locks", "settling", "jobs", "ending", "cancelling", "flows", "owners", "claiming", "lanes", "sweeping"),
    *("again", "schedules", "clock", "limits", "turns", "purging"),
)
"""The scripts of the functions, which are all replaced when the version changes."""

VERSION: Final = len(MIGRATIONS)

OLDEST: Final = 1
"""The oldest version whose schedulers can work on the tables and call the functions of this one."""


NOT_ALLOWED: Final = "42501"
"""What the server says to a role that lacks a right."""


async def bring_up_to_date(db: Connection, shown: str) -> None:
    """Make the schema where there is none, or bring an older one to this version, in one transaction.

    Cancellation: it is done or not.

    Raises:
        StoreError: it is of another program, of a version that this one cannot work with, or of another role, and
            would have to be changed; it has not been.
    """
    version = await _version(db, shown)
    if version >= VERSION:
        return
    try:
        await _bring_up_to_date(db, shown)
    except Exception as error:
        if getattr(error, "sqlstate", None) != NOT_ALLOWED:
            raise
        may = "owns it" if version else "may create it in this database, or owns an empty one"
        raise StoreError(
            f"{explain(shown, error)}; {'from one version to the next' if version else 'at the beginning'}, "
            f"one scheduler has to work as a role that {may}, the schema lifecycle"
        ) from error


async def _bring_up_to_date(db: Connection, shown: str) -> None:
    async with db.transaction(isolation="read_committed"):
        await db.execute("SELECT pg_advisory_xact_lock(7811887835453255)")
        # Once more: another process may have done it while this one waited.
        version = await _version(db, shown)
        if version >= VERSION:
            return
        # IF NOT EXISTS would ask for the right to create schemas, where there is one as well.
        if await db.fetchval("SELECT to_regnamespace('lifecycle') IS NULL"):
            await db.execute("CREATE SCHEMA lifecycle")
        await db.execute("SET LOCAL search_path TO lifecycle, pg_temp")
        await db.execute("SET LOCAL check_function_bodies TO off")  # they call each other, in whatever order
        for name in (*MIGRATIONS[version:], *FUNCTIONS):
            await db.execute(script(name))
        await db.execute(
            f"""
            INSERT INTO facts VALUES ('version', '{VERSION}'), ('oldest', '{OLDEST}')
            ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
        )


def script(name: str) -> str:
    """Return a script of the schema."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


async def check_version(db: Connection, shown: str) -> int:
    """Return the version of the schema, without changing anything.

    Raises:
        StoreError: there is no store, or this version cannot work with it.
    """
    version = await _version(db, shown)
    if version == 0:
        raise StoreError(f"{shown}: there is no store in the database; a scheduler makes it, or `lifecycle worker`")
    if version < VERSION:
        raise StoreError(
            f"{shown}: the store is of version {version}, older than {VERSION}; open it once with a scheduler"
        )
    return version


async def _version(db: Connection, shown: str) -> int:
    """Return the version of the schema, 0 where there is none."""
    found = await db.fetchrow(
        """
        SELECT to_regclass('lifecycle.facts') IS NOT NULL AS facts, current_setting('server_encoding') AS encoding,
               EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('lifecycle')) AS used"""
    )
    if found["encoding"] != "UTF8":
        raise StoreError(
            f"{shown}: its encoding is {found['encoding']}, which cannot hold every text that a job may have; a store "
            "needs a database whose encoding is UTF8: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    if not found["facts"]:
        if found["used"]:
            raise StoreError(f"{shown}: its schema lifecycle is of another program; use another database")
        return 0
    rows = await db.fetch("SELECT name, value FROM lifecycle.facts WHERE name IN ('version', 'oldest')")
    facts = {row["name"]: int(row["value"]) for row in rows}
    if facts.get("oldest", 0) > VERSION:
        raise StoreError(
            f"{shown}: the store is of version {facts['version']}, which this lifecycle, of version {VERSION}, cannot "
            "work with; use a newer lifecycle"
        )
    return facts.get("version", 0)
