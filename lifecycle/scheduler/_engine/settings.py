"""What a scheduler was given, checked, and the store that it means."""

from __future__ import annotations

import os

from .._language.table import integer_problem, seconds_problem
from .._store.memory import MemoryStore
from .._store.protocol import Store
from .._store.retention import Retention
from .._store.sqlite import SqliteStore


def make_store(store: str | os.PathLike[str] | Store | None, name: str, retention: Retention) -> Store:
    """Return the store that a scheduler was given, or one in memory, or one for a path."""
    if store is None:
        return MemoryStore()
    if isinstance(store, (str, os.PathLike)):
        return SqliteStore(store, name=name, retention=retention)
    return store


def checked_retention(keep_for: float | None, keep_jobs: int | None) -> Retention:
    """Return how long what has ended is kept.

    Raises:
        ValueError: a bound is not right.
    """
    if keep_for is not None and (problem := seconds_problem(keep_for)):
        raise ValueError(f"keep_for: {problem}")
    if keep_jobs is not None and (problem := integer_problem(keep_jobs, 0, 2**53)):
        raise ValueError(f"keep_jobs: {problem}")
    return Retention(keep_for, keep_jobs)


def checked_count(value: int, what: str) -> int:
    """Return a number of at least 1.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} must be an integer of at least 1, got {value!r}")
    return value
