"""Visits to a database: who is no scheduler looks at the store, or changes something, and is blocked meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from ..._ground.errors import StoreError
from ..._ground.values import to_json
from .address import Address
from .connections import Connection, close_connection, fetch_committed, open_connection, refused
from .faults import Fault, explain, fault_of
from .schema import check_version

T = TypeVar("T")

TRIES: Final = 5
"""How often something is tried that comes across what others do."""

PATIENCE: Final = 60.0
"""Seconds for which a server is waited for that could be reached before."""

PAUSE: Final = 0.2
"""Seconds before it is tried again."""


class Visits:
    """Visits a database, one call after the other, in an event loop of its own; the connection stays from call to call.

    That is for who looks every moment until something has ended: a new connection each time costs the server more than
    the look.

    Args:
        address: where the database is.
        what: what the server calls the connection, for people.
    """

    def __init__(self, address: Address, what: str = "lifecycle command line") -> None:
        self.address = address
        self.shown: str = address.shown
        self._what = what
        self._runner: asyncio.Runner | None = None
        self._connection: Connection | None = None
        self._reached = False  # whether there has ever been a connection

    def close(self) -> None:
        """Close the connection and the loop. Idempotent; another call opens them again."""
        runner, self._runner = self._runner, None
        connection, self._connection = self._connection, None
        if runner is not None:
            try:
                if connection is not None:
                    runner.run(close_connection(connection))
            finally:
                runner.close()

    def look(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the answer to a question about the store as it is at one moment.

        A connection that has been lost since the last call is opened anew; a server that is started again meanwhile is
        waited for.

        Raises:
            StoreError: the database cannot be reached or used, or there is no store in it.
        """
        return self.run(lambda: self._look(question))

    def change(self, **said: Any) -> Any:
        """Have one thing done, as one transaction, and return the answer.

        Raises:
            StoreError: the database cannot be reached or used, or there is no store in it.
        """
        text = to_json(said)
        return json.loads(self.run(lambda: self._change(text)))

    def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what *ask* returns, awaited in the loop.

        Raises:
            StoreError: it met a fault of the database.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def asked() -> T:
            return await ask()

        try:
            return self._runner.run(asked())
        except StoreError:
            raise
        except Exception as error:
            if type(error).__module__.startswith("asyncpg") or isinstance(error, OSError):
                raise refused(self.address, error) from error
            raise

    async def connection(self) -> Connection:
        """Return the connection; a new one where there is none, or it is lost."""
        if self._connection is None or self._connection.is_closed():
            # Without prepared statements: nearly everything is asked once, and a pooler may be in between.
            opened = await open_connection(self.address, self._what, prepared=False)
            try:
                await check_version(opened, self.shown)
            except BaseException:
                await close_connection(opened)
                raise
            self._connection, self._reached = opened, True
        return self._connection

    async def _look(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._at_one_moment(await self.connection(), question)
            except Exception as error:
                passing = fault_of(error) is Fault.PASSING and not isinstance(error, StoreError)
                if not (passing and self._reached) or time.monotonic() > until:
                    raise
            await self._hang_up()
            await anyio.sleep(PAUSE)

    @staticmethod
    async def _at_one_moment(db: Connection, question: Callable[[Connection], Awaitable[T]]) -> T:
        async with db.transaction(isolation="repeatable_read", readonly=True):
            return await question(db)

    async def _change(self, text: str) -> str:
        db = await self.connection()
        for _ in range(TRIES - 1):
            try:
                return await self._visit(db, text)
            except Exception as error:
                if fault_of(error) is not Fault.AGAIN:
                    raise
        return await self._visit(db, text)

    async def _visit(self, db: Connection, text: str) -> str:
        try:
            answer: str | None = await fetch_committed(db, "SELECT lifecycle.visit($1)", text)
        except Exception as error:
            if db.is_closed():  # while it was done, or before
                await self._hang_up()
                raise StoreError(f"{explain(self.shown, error)}; it is not known whether it was done") from error
            raise
        return "null" if answer is None else answer

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_connection(connection)
