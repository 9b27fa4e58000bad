"""The functions in the database, called one by one in a transaction that is undone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

SEQUENCES = ("owners", "runs", "jobs", "schedules", "notices")


class Functions:
    """A connection to a database with our schema, for tests whose loop, if they have one, may wait."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="functions", daemon=True)
        self._thread.start()
        self._db: asyncpg.Connection[Any] = self._await(asyncpg.connect(address))
        codec = {"encoder": json.dumps, "decoder": json.loads, "schema": "pg_catalog"}
        self._await(self._db.set_type_codec("jsonb", **codec))
        self.execute("SET search_path TO lifecycle, pg_temp")

    def close(self) -> None:
        """Close the connection."""
        self._await(self._db.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Do all that is done meanwhile in one transaction, with the gate alone."""
        self.execute("BEGIN")
        try:
            self.execute("SELECT have_gate_alone()")
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def enter_as_one(self) -> None:
        """Have a scheduler, with the number 1."""
        self.execute("SELECT enter('x', 'here', 1, 10)")
        self.execute("UPDATE owners SET id = 1")

    def value(self, expression: str, *values: Any) -> Any:
        """Return what an expression gives, as the call of a function."""
        return self._await(self._db.fetchval(f"SELECT {expression}", *values))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return [tuple(row) for row in self._await(self._db.fetch(query, *values))]

    def execute(self, statement: str, *values: Any) -> None:
        """Execute a statement."""
        self._await(self._db.execute(statement, *values))

    def _await(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()
