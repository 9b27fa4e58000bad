"""The functions in the database, called one by one in a transaction that is undone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg

SEQUENCES = ("owners", "runs", "jobs", "schedules", "notices")


class Functions:
    """A connection to a database with our schema, for tests that have no loop; used by one thread."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._db: asyncpg.Connection[Any] = self._await(asyncpg.connect(address))
        codec = {"encoder": json.dumps, "decoder": json.loads, "schema": "pg_catalog"}
        self._await(self._db.set_type_codec("jsonb", **codec))
        self.execute("SET search_path TO lifecycle, pg_temp")

    def close(self) -> None:
        """Close the connection."""
        self._await(self._db.close())
        self._loop.close()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo all that is done meanwhile, with the gate alone; numbers begin at one."""
        self.execute("BEGIN")
        try:
            self.execute("SELECT have_gate_alone()")
            for table in SEQUENCES:
                self.execute(f"ALTER SEQUENCE {table}_id_seq RESTART")
            yield
        finally:
            self.execute("ROLLBACK")

    def value(self, expression: str, *values: Any) -> Any:
        """Return what an expression gives, as the call of a function."""
        return self._await(self._db.fetchval(f"SELECT {expression}", *values))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return [tuple(row) for row in self._await(self._db.fetch(query, *values))]

    def execute(self, statement: str, *values: Any) -> None:
        """Execute a statement."""
        self._await(self._db.execute(statement, *values))

    def many(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        """Execute a statement for each of these."""
        self._await(self._db.executemany(statement, values))

    def _await(self, awaitable: Any) -> Any:
        return self._loop.run_until_complete(awaitable)
