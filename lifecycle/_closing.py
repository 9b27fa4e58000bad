"""What all owners share about closing: states, refusals, timeouts, and who waits for whom."""

from __future__ import annotations

import enum
import math
from asyncio import Task
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from . import _kernel as kernel
from ._errors import OwnerClosed


class OwnerState(enum.Enum):
    """Where an owner is in its life; it only ever moves down this list."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


def refuse(owner: object, offer: str, why: str) -> NoReturn:
    """Raise the error that an owner answers a late offer with.

    Raises:
        OwnerClosed: always.
    """
    raise OwnerClosed(f"{owner} does not take {offer}: {why}; offer it before the owner closes, or to another owner")


def checked_timeout(seconds: float | None, what: str) -> float:
    """Return *seconds* as a float, infinity for None.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or not a number.
    """
    if type(seconds) is float and seconds >= 0.0:
        return seconds
    if seconds is None:
        return kernel.FOREVER
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{what} must be seconds or None, got {seconds!r}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"{what} must be 0 or more seconds, or None for no bound, got {seconds}")
    return float(seconds)


_stops: WeakKeyDictionary[Coroutine[Any, Any, Any], Callable[[], object]] = WeakKeyDictionary()


def stop_with_owner(coro: Coroutine[Any, Any, Any], stop: Callable[[], object]) -> None:
    """Have *stop* called by an owner that drains the task of *coro*: such a task never ends by itself."""
    _stops[coro] = stop


def stop_endless(coro: Coroutine[Any, Any, Any]) -> None:
    """Stop what *coro* runs, if it never ends by itself, so that it can be drained."""
    stop = _stops.get(coro)
    if stop is not None:
        stop()


_closers: ContextVar[frozenset[Task[Any]]] = ContextVar("lifecycle_closers", default=frozenset())


def closing_tasks() -> frozenset[Task[Any]]:
    """Return the calling task and every task that waits, through releases, for what the calling task does.

    An owner that closes must wait for none of them: it would wait for itself.
    """
    return _closers.get() | {kernel.current_task()}


def adopt_closers(tasks: frozenset[Task[Any]]) -> None:
    """Make *tasks* and the calling task part of `closing_tasks` for all that runs in this context from here on."""
    _closers.set(tasks | {kernel.current_task()})
