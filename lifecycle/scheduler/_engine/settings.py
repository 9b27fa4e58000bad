"""What a scheduler was given, checked before any effect, and the store that it means.

A wrong type is a TypeError, a value out of its range a ValueError.
"""

from __future__ import annotations

import math
import os

from .._language.table import integer_problem, seconds_problem
from .._store.memory import MemoryStore
from .._store.protocol import Store
from .._store.retention import Retention
from .._store.sqlite import SqliteStore


def make_store(store: str | os.PathLike[str] | Store | None, name: str, retention: Retention) -> Store:
    """Return the store that a scheduler was given, or one in memory, or one for a path.

    Raises:
        TypeError: it is neither a path nor a store.
    """
    if store is None:
        return MemoryStore()
    if isinstance(store, (str, os.PathLike)):
        return SqliteStore(store, name=name, retention=retention)
    if not callable(getattr(store, "take", None)):
        raise TypeError(f"store must be a path, a store or None, got {store!r}")
    return store


def checked_retention(keep_for: float | None, keep_jobs: int | None) -> Retention:
    """Return how long what has ended is kept.

    Raises:
        TypeError, ValueError: a bound is not right.
    """
    check_seconds("keep_for", keep_for)
    if keep_jobs is not None:
        check_integer("keep_jobs", keep_jobs, 0, 2**53)
    return Retention(keep_for, keep_jobs)


def checked_count(value: int, what: str) -> int:
    """Return a number of at least 1.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an integer of at least 1, got {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be an integer of at least 1, got {value!r}")
    return value


def checked_name(name: str | None) -> str | None:
    """Return a name.

    Raises:
        TypeError: it is neither a string nor None.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a string or None, got {name!r}")
    return name


def check_callable(what: str, value: object) -> None:
    """Check that *value* can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{what} must be callable, got {value!r}")


def check_integer(what: str, value: int, least: int, most: int) -> None:
    """Check an integer.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is out of its range.
    """
    if problem := integer_problem(value, least, most):
        _refuse(f"{what}: {problem}", isinstance(value, int) and not isinstance(value, bool))


def check_seconds(what: str, value: float | None, *, positive: bool = False, needed: bool = False) -> None:
    """Check a number of seconds; None is no bound, unless one is *needed*. So is infinity.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, zero where it must be *positive*, or more than a century.
    """
    if value in (None, math.inf) and not needed:
        return
    if problem := seconds_problem(value, positive=positive):
        _refuse(f"{what}: {problem}", isinstance(value, (int, float)) and not isinstance(value, bool))


def _refuse(message: str, right_type: bool) -> None:
    raise (ValueError if right_type else TypeError)(message)
