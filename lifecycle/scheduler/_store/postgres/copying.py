"""A PostgreSQL database as what is copied, and as what a copy is put into."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ..._ground.errors import StoreError
from ..._ground.values import to_json
from ..copying import FLAGS, NUMBERED, TABLES, Row
from ..records import NewRun, flow_key
from ..store_facts import StoreOwner
from .address import Address
from .connections import Connection, close_connection, open_connection, refused
from .said import job_said, run_said, storable
from .schema import bring_up_to_date, check_version
from .waiting import living
from .work import work_of

_WHAT: Final = "lifecycle store copy"
_AT_ONCE: Final = 1_000
"""Rows that are read at once."""


class PostgresSource:
    """A database that is copied; `opened` makes it.

    Args:
        address: where it is.
        db: a connection in the middle of a transaction that sees one moment.
        beside: another one, which sees what happens.
    """

    def __init__(self, address: Address, db: Connection, beside: Connection) -> None:
        self.shown: str = address.shown
        self._db = db
        self._beside = beside

    @classmethod
    @asynccontextmanager
    async def opened(cls, address: Address) -> AsyncIterator[PostgresSource]:
        """Read a database, as it is now, for the block.

        Cancellation: the connections are closed.

        Raises:
            StoreError: it cannot be reached or used, or there is no store in it.
        """
        async with _connected(address) as db, _connected(address) as beside:
            await check_version(db, address.shown)
            async with db.transaction(isolation="repeatable_read", readonly=True):
                yield cls(address, db, beside)

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it now."""
        return await living(self._beside)

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""
        return await _counts(self._db)

    async def last_numbers(self) -> Mapping[str, int]:
        """Return the last number that was used in each table."""
        query = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM lifecycle.{}_id_seq"
        return {table: await self._db.fetchval(query.format(table)) for table in NUMBERED}

    async def identity(self) -> str:
        """Return which store this is, in full."""
        return str(await self._db.fetchval("SELECT value FROM lifecycle.facts WHERE name = 'token'"))

    async def rows(self, table: str) -> AsyncIterator[Row]:
        """Return the rows of a table."""
        columns = TABLES[table]
        work = columns.index("job") if table == "schedules" else None
        instead = {
            "state": "CASE state WHEN 'running' THEN 'interrupted' ELSE state END",
            "crashes": """
                crashes + (state = 'running' AND owner IN (
                    SELECT id FROM lifecycle.owners WHERE NOT lifecycle.lives(seen, lease)))::integer""",
            "when_": "nullif(when_, 'success')",
        }
        shown = ", ".join(instead.get(column, column) if table == "jobs" else column for column in columns)
        query = f"SELECT {shown} FROM lifecycle.{table} ORDER BY 1, 2"
        async for found in self._db.cursor(query, prefetch=_AT_ONCE):
            row = list(found)
            if work is not None:
                row[work] = work_of(json.loads(row[work]))
            yield tuple(row)


class PostgresTarget:
    """A database that is filled; `opened` makes it.

    Args:
        address: where it is.
        db: a connection in the middle of a transaction, in which nobody else changes anything.
    """

    def __init__(self, address: Address, db: Connection) -> None:
        self.shown: str = address.shown
        self._db = db
        self._doers: dict[int, str] = {}  # what a scheduler must know for each run

    @classmethod
    @asynccontextmanager
    async def opened(cls, address: Address) -> AsyncIterator[PostgresTarget]:
        """Fill a database in the block: all that is done there, or nothing when it fails. The schema is made.

        Cancellation: nothing was done.

        Raises:
            StoreError: it cannot be reached or used.
        """
        async with _connected(address) as db:
            await bring_up_to_date(db, address.shown)
            try:
                await db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                await db.execute("SET LOCAL search_path TO lifecycle, pg_temp")
                await db.execute("SELECT have_gate_alone()")
                yield cls(address, db)
                await db.execute("COMMIT")
            except BaseException:
                # Not ROLLBACK: in the middle of a COPY the connection takes no statement.
                db.terminate()
                raise
            await db.execute(f"ANALYZE {', '.join(f'lifecycle.{table}' for table in TABLES)}")

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it."""
        return await living(self._db)

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""
        return await _counts(self._db)

    async def fill(self, table: str, rows: AsyncIterator[Row]) -> None:
        """Put rows into a table."""
        columns = TABLES[table]
        more = ("doer",) if table in ("runs", "jobs") else ()
        await self._db.copy_records_to_table(
            table, schema_name="lifecycle", columns=[*columns, *more], records=self._as_kept(table, rows)
        )

    async def settle(self, last_numbers: Mapping[str, int], identity: str | None) -> None:
        """Go on from these numbers, as that store, and end what was to be stopped and ran no more."""
        await self._db.execute("UPDATE facts SET value = coalesce($1, value) WHERE name = 'token'", identity)
        for table, number in last_numbers.items():
            await self._db.execute(
                "SELECT setval(pg_get_serial_sequence($1, 'id'), greatest($2::bigint, 1), $2::bigint > 0)",
                f"lifecycle.{table}",
                number,
            )
        await self._db.execute(
            """
            SELECT cancel(id, cancel, clock(), NULL) FROM (
                SELECT id, cancel FROM jobs WHERE state = 'interrupted' AND cancel IS NOT NULL ORDER BY id) AS ours"""
        )
        await self._db.execute("SELECT tell_of_work()")

    async def _as_kept(self, table: str, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
        columns = TABLES[table]
        place = {column: number for number, column in enumerate(columns)}
        flags = [number for column, number in place.items() if column in FLAGS]
        async for row in rows:
            kept = [storable(value) if isinstance(value, str) else value for value in row]
            for number in flags:
                kept[number] = bool(kept[number])
            if table == "runs":
                self._doers[row[0]] = doer = flow_key(kept[place["flow"]], kept[place["digest"]])
                kept.append(doer)
            elif table == "jobs":
                run = row[place["run"]]
                kept.append((kept[place["handler"]] or "") if run is None else self._doers.get(run, ""))
            elif table == "schedules":
                work = row[place["job"]]
                kept[place["job"]] = to_json(run_said(work) if isinstance(work, NewRun) else job_said(work))
            yield tuple(kept)


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[Connection]:
    """Connect for the block; what it meets of the database is told as a fault of the store."""
    try:
        db = await open_connection(address, _WHAT, prepared=False)
        try:
            yield db
        finally:
            await close_connection(db)
    except Exception as error:
        if type(error).__module__.startswith("asyncpg") or (
            isinstance(error, OSError) and not isinstance(error, StoreError)
        ):
            raise refused(address, error) from error
        raise


async def _counts(db: Connection) -> dict[str, Any]:
    return {table: await db.fetchval(f"SELECT count(*) FROM lifecycle.{table}") for table in TABLES}
