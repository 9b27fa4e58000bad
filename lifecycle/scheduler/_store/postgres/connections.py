"""Connections to the database, each opened as a whole or not at all."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lifecycle import ConnectError, connect

from ..._ground.errors import StoreError
from .address import Address
from .driver import load_driver
from .faults import NEEDS_READ_COMMITTED, Fault, explain, fault_of
from .receiving import receive_in_a_buffer

if TYPE_CHECKING:
    from lifecycle import Stages

Connection: TypeAlias = Any  #: one of asyncpg's, which is not imported where no database is used

STATEMENTS: Final = 32
"""Prepared statements that a connection keeps at most; we have about as many."""

READ_COMMITTED: Final = "SET default_transaction_isolation TO 'read committed'"
"""Whoever has waited for a lock has to see what the one before has done, whatever the role or the database begins with.
Not as a parameter of each connection: a pooler refuses those that it does not know."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for the server to take leave."""


async def open_connection(address: Address, application: str, *, prepared: bool = True) -> Connection:
    """Return a new connection to the database.

    Cancellation: what was half open is closed again.

    Args:
        address: where it is.
        application: what the server calls the connection, for people.
        prepared: keep prepared statements, which saves a round trip each; not behind a pooler that does not know them.

    Raises:
        StoreError: the driver is not installed, or the password file cannot be used.
        OSError, asyncpg.PostgresError: there is no connection now, or it is refused.
    """
    driver = load_driver()
    arguments = address.arguments(application)
    arguments["statement_cache_size"] = STATEMENTS if prepared else 0

    places = _places(arguments)

    async def connector(stages: Stages) -> Connection:
        """Try one host after the other: the driver would let the first that is silent use up the time of all."""
        for place in places[:-1]:
            with contextlib.suppress(OSError, driver.PostgresError, driver.InterfaceError, driver.InternalClientError):
                return await stages.acquire(partial(driver.connect, **arguments | place), release=close_connection)
        return await stages.acquire(partial(driver.connect, **arguments | places[-1]), release=close_connection)

    try:
        timeout = arguments["timeout"] * len(places) + CLOSE_TIMEOUT
        connection = await connect(connector, timeout=timeout, name=address.shown)
    except ConnectError as error:
        # What the driver has met says more than where it was, and what may pass is seen by it.
        raise (error.__cause__ or error) from None
    receive_in_a_buffer(connection)
    return connection


def _places(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the hosts to be tried, each with its port; nothing for the usual one."""
    hosts, ports = arguments.get("host"), arguments.get("port")
    if not isinstance(hosts, list):
        return [{}]
    each = ports if isinstance(ports, list) else [ports] * len(hosts)
    pairs = zip(hosts, each, strict=True)
    return [{"host": host} if port is None else {"host": host, "port": port} for host, port in pairs]


async def fetch_committed(db: Connection, query: str, *values: Any, timeout: float | None = None) -> Any:
    """Return the value of a query which changes something that others may have changed a moment ago."""
    for _ in range(2):  # behind a pooler it may be another connection the second time
        try:
            return await db.fetchval(query, *values, timeout=timeout)
        except Exception as error:
            if getattr(error, "sqlstate", None) != NEEDS_READ_COMMITTED:
                raise
            await db.execute(READ_COMMITTED)
    return await db.fetchval(query, *values, timeout=timeout)


async def close_connection(connection: Connection) -> None:
    """Close a connection, in a moment, whatever the server does."""
    try:
        await connection.close(timeout=CLOSE_TIMEOUT)
    except Exception:
        with contextlib.suppress(Exception):
            connection.terminate()


def refused(address: Address, error: Exception) -> StoreError:
    """Return the error for a database that cannot be used; those that may pass say so."""
    hint = ""
    if fault_of(error) is Fault.FINAL and getattr(error, "sqlstate", "").startswith("28"):
        hint = "; the password comes from PGPASSWORD, a password file, or the address"
    return StoreError(explain(address.shown, error) + hint)
