"""Which store a scheduler works on: one it was given, one in memory, a PostgreSQL database, or an SQLite file."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from .copying import Copied, Source, Target, copy
from .lease import LEASE
from .memory.store import MemoryStore
from .outside import OutsideStore
from .postgres.address import Address, is_postgres
from .postgres.copying import PostgresSource, PostgresTarget
from .postgres.outside import PostgresOutside
from .postgres.store import PostgresStore
from .postgres.upkeep import PostgresUpkeep
from .protocol import Store
from .retention import Retention
from .sqlite.copying import SqliteSource, SqliteTarget
from .sqlite.outside import StoreFile
from .sqlite.store import SqliteStore
from .sqlite.upkeep import SqliteUpkeep
from .upkeep import OutsideUpkeep


def make_store(
    store: str | os.PathLike[str] | Store | None,
    name: str,
    retention: Retention,
    patience: float | None,
    max_crashes: int | None,
    lease: float = LEASE,
) -> Store:
    """Return the store that a scheduler was given, or one in memory, or one for an address or a path.

    Raises:
        TypeError: it is neither an address, nor a path, nor a store.
        ValueError: it is an address, and wrong.
    """
    if store is None:
        return MemoryStore()
    if is_postgres(store):
        assert isinstance(store, (str, os.PathLike))
        return PostgresStore(
            os.fspath(store),
            name=name,
            retention=retention,
            patience=patience,
            max_crashes=max_crashes,
            lease=lease,
        )
    if isinstance(store, (str, os.PathLike)):
        return SqliteStore(store, name=name, retention=retention, patience=patience, max_crashes=max_crashes)
    if not callable(getattr(store, "take", None)):
        raise TypeError(f"store must be a path, an address, a store or None, got {store!r}")
    return store


def open_outside(store: str | os.PathLike[str] | Address) -> OutsideStore:
    """Return a store to be looked at and changed from outside; a file has to be there."""
    if isinstance(store, Address):
        return PostgresOutside(store)
    return StoreFile(store)


def open_upkeep(store: str | os.PathLike[str] | Address) -> OutsideUpkeep:
    """Return what looks after a store from outside; a file has to be there."""
    if isinstance(store, Address):
        return PostgresUpkeep(store)
    return SqliteUpkeep(store)


def copy_store(
    source: str | os.PathLike[str] | Address,
    target: str | os.PathLike[str] | Address,
    *,
    live: bool = False,
    progress: Callable[[int, int], object] = lambda copied, total: None,
) -> Copied:
    """Copy all that a store knows into an empty one, of either kind, under the same numbers; or nothing when it fails.

    It blocks, in an event loop of its own. What ran is interrupted in the copy. The source stays as it is.

    Args:
        source: what is copied; a file has to be there.
        target: what is filled; a file that is not there is made.
        live: also while schedulers work on the source: as it is at one moment.
        progress: called now and then with how many rows have been copied, of how many.

    Raises:
        StoreError: a scheduler works on one of them, the target is not empty, or one cannot be used.
    """

    async def both() -> Copied:
        like = None if isinstance(source, Address) else Path(source)
        async with AsyncExitStack() as stack:
            if isinstance(source, Address):
                read: Source = await stack.enter_async_context(PostgresSource.opened(source))
            else:
                read = stack.enter_context(SqliteSource.opened(source))
            if isinstance(target, Address):
                write: Target = await stack.enter_async_context(PostgresTarget.opened(target))
            else:
                write = stack.enter_context(SqliteTarget.opened(target, like))
            return await copy(read, write, live=live, progress=progress)

    return anyio.run(both)
