"""The connections of a scheduler to its database, lent from a pool, and questions that wait for faults to pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio

from lifecycle import Pool, Scope

from ..._ground.errors import StoreError
from ..patience import Patience
from .address import Address
from .connections import Connection, close_connection, open_connection
from .faults import POOLED, Fault, explain, fault_of

T = TypeVar("T")

PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before it is tried again, while a fault may pass; the last one from then on."""

MAX_IDLE: Final = 60.0
MAX_LIFETIME: Final = 3600.0
"""Seconds after which a connection is closed that is not used, and any: what the server keeps for it grows."""


class Traffic:
    """Lends connections; used in the thread of the database alone.

    Args:
        address: of the database.
        application: what the server calls the connections, for people.
        most: connections at most.
        patience: waits for faults that may pass.
    """

    def __init__(self, address: Address, application: str, most: int, patience: Patience) -> None:
        self.patience = patience
        self._address = address
        self._application = application
        self._pool: Pool[Connection] = Pool(
            self._create,
            self._destroy,
            max_size=most,
            max_creating=1,  # where there is no server, one attempt tells as much as several
            max_idle=MAX_IDLE,
            max_lifetime=MAX_LIFETIME,
            name=f"connections to {address.shown}",
        )
        self._in_use: set[Connection] = set()
        # How often all have been given up, and had been when each was opened: an idle one may be as dead as the others.
        self._age = 0
        self._ages: dict[Connection, int] = {}
        self._prepared = True  # until it is seen that a pooler is between, which does not know prepared statements

    async def open(self, scope: Scope) -> None:
        """Have the connections closed with *scope*."""
        await scope.enter_async_context(self._pool)

    async def connect(self) -> Connection:
        """Return a connection of its own, which is not lent."""
        return await open_connection(self._address, self._application, prepared=self._prepared)

    async def _create(self) -> Connection:
        age = self._age
        connection = await self.connect()
        self._ages[connection] = age
        return connection

    async def _destroy(self, connection: Connection) -> None:
        self._ages.pop(connection, None)
        await close_connection(connection)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Connection]:
        """Lend a connection; one in whose use an error was raised is not used again."""
        while True:
            loan = self._pool.acquire()
            async with loan as db:
                if self._ages[db] < self._age:
                    loan.discard()
                    continue
                self._in_use.add(db)
                try:
                    yield db
                except Exception as error:
                    if getattr(error, "sqlstate", None) in POOLED:
                        self._prepared = False
                    if db.is_closed() and fault_of(error) is Fault.OWN:  # the driver has lost its footing
                        raise ConnectionResetError("the connection was given up") from error
                    raise
                finally:
                    self._in_use.discard(db)
                return

    async def ask(self, question: Callable[[Connection], Awaitable[T]], *, patient: bool = False) -> T:
        """Return what *question* answers; asked again and again while there is a fault that may pass.

        Args:
            question: asked with a connection.
            patient: go on for as long as the store waits, instead of giving up before.
        """
        tries = 0
        while True:
            try:
                async with self.lent() as db:
                    answer = await question(db)
            except Exception as error:
                if isinstance(error, StoreError) or fault_of(error) not in (Fault.PASSING, Fault.AGAIN):
                    raise
                self.patience.meet(explain(self._address.shown, error))
                if self.patience.exhausted or (self.patience.refuses and not patient):
                    raise
                await anyio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
            else:
                self.patience.passed()
                return answer

    def hang_up(self) -> None:
        """Give up all connections: there has been no answer, or one has died without a word, and so may the others."""
        self._age += 1
        for connection in list(self._in_use):
            connection.terminate()
