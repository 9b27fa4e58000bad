"""Which store a scheduler works on: the one it was given, one in memory, or an SQLite file for a path."""

from __future__ import annotations

import os

from .memory.store import MemoryStore
from .protocol import Store
from .retention import Retention
from .sqlite.store import SqliteStore


def make_store(
    store: str | os.PathLike[str] | Store | None,
    name: str,
    retention: Retention,
    patience: float | None,
    max_crashes: int | None,
) -> Store:
    """Return the store that a scheduler was given, or one in memory, or one for a path.

    Raises:
        TypeError: it is neither a path nor a store.
    """
    if store is None:
        return MemoryStore()
    if isinstance(store, (str, os.PathLike)):
        return SqliteStore(store, name=name, retention=retention, patience=patience, max_crashes=max_crashes)
    if not callable(getattr(store, "take", None)):
        raise TypeError(f"store must be a path, a store or None, got {store!r}")
    return store
