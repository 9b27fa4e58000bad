"""What all owners share about closing: states, refusals, timeouts, and what never ends by itself."""

from __future__ import annotations

import enum
from asyncio import Future
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NoReturn, Protocol
from weakref import WeakKeyDictionary

from . import kernel
from .errors import OwnerClosed
from .waking import wake


class OwnerState(enum.StrEnum):
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


class Awaited(Protocol):
    """An owner as far as those know it who wait for its end."""

    _over: Future[None] | None  # done in the step in which it is closed; made by the first who waits

    @property
    def closed(self) -> bool: ...


async def wait_closed(owner: Awaited) -> None:
    """Wait until *owner* is closed, by whomever; it calls `tell_closed` then.

    Cancellation: ends the waiting, and changes nothing.
    """
    if not owner.closed:
        owner._over = owner._over or kernel.new_future()
        await kernel.wait(owner._over)


def tell_closed(owner: Awaited) -> None:
    """Wake those who wait for the end of *owner*; costs nothing where nobody does."""
    over, owner._over = owner._over, None
    if over is not None:
        wake(over)


_stops: WeakKeyDictionary[Coroutine[Any, Any, Any], Callable[[], object]] = WeakKeyDictionary()


def stop_with_owner(coro: Coroutine[Any, Any, Any], stop: Callable[[], object]) -> None:
    """Have *stop* called by an owner that drains the task of *coro*: such a task never ends by itself."""
    _stops[coro] = stop


def stop_endless(coros: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Stop those of *coros* that never end by themselves, so that they can be drained."""
    if not _stops:
        return
    for stop in [_stops.get(coro) for coro in coros]:
        if stop is not None:
            stop()
