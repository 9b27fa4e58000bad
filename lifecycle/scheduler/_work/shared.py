"""What all jobs of a scheduler share: a client, a connection, a watcher, made by the first that needs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

from lifecycle import Registry, Scope

T = TypeVar("T")


_HOST: Final = "host "


def host_key(name: str) -> str:
    """Return under which key jobs share the host of this name."""
    return f"{_HOST}{name}"


def hosts_of(shared: Shared) -> dict[str, dict[str, Any]]:
    """Return what the hosts say of themselves, by their names, as plain data: those with a record of statistics."""
    told = {}
    for key in shared.names():
        host = shared.peek(key) if key.startswith(_HOST) else None
        statistics = getattr(host, "statistics", None)
        record = None if statistics is None else statistics()
        if is_dataclass(record) and not isinstance(record, type):
            told[key.removeprefix(_HOST)] = asdict(record)
    return told


ENTERING: Final = 60.0
"""Seconds that it may take to enter one."""


class Shared:
    """Shared things by key, each entered once, and left after all jobs when the scheduler closes.

    The one that was entered last is left first, so that one may use another that its factory has asked for. One that
    ends by itself is left at once, which is logged, and entered anew for the next that asks.

    Do not use it for what belongs to one job: that is its scope's.

    Args:
        owner: leaves them, at this place in its ledger.
        name: the scheduler's, for logs.
        close_timeout: seconds that leaving each may take; None for no bound.
    """

    def __init__(self, owner: Scope, name: str, close_timeout: float | None) -> None:
        self._close_timeout = close_timeout
        self._context = copy_context()  # not that of the job which asks first: it may outlive that
        self._things: Registry[str, _Thing] = Registry(
            f"shared by jobs of {name}", finalizer=self._give_up, create_timeout=ENTERING, close_timeout=close_timeout
        )
        owner.push_async_callback(self._things.aclose)
        self._scope = owner.child(f"what jobs of {name} share")
        owner.callback(self._things.close)

    async def get(self, key: str, factory: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """Return what is shared under *key*; the first that asks has it entered, the others wait for that.

        Cancellation: ends the waiting; with the last that waits the entering ends, and is undone.

        Args:
            key: of the kind of thing, and whatever tells it from others.
            factory: makes the context manager; called when there is none yet.

        Raises:
            OwnerClosed: the scheduler is closed.
            CreationTimeout: it was not entered within `ENTERING` seconds.
            BaseException: what the factory or the entering raised; the next that asks tries again.
        """
        self._drop_dead(key)
        thing = await self._things.get_or_create(key, partial(self._enter, key, factory))
        return cast(T, thing.value)

    def peek(self, key: str) -> Any | None:
        """Return what is shared under *key* now, None when there is nothing."""
        self._drop_dead(key)
        thing = self._things.get(key)
        return None if thing is None else thing.value

    def names(self) -> list[str]:
        """Return the keys under which something is shared now."""
        return list(self._things)

    def _drop_dead(self, key: str) -> None:
        thing = self._things.get(key)
        if thing is not None and thing.scope.closed:
            self._things.discard(key)

    async def _enter(self, key: str, factory: Callable[[], AbstractAsyncContextManager[Any]]) -> _Thing:
        make = partial(self._make, f"shared {key}", factory)
        return await self._scope.acquire(make, release=_Thing.leave, name=f"shared {key}")

    async def _make(self, name: str, factory: Callable[[], AbstractAsyncContextManager[Any]]) -> _Thing:
        thing = _Thing(Scope(name, close_timeout=self._close_timeout))
        try:
            async with Scope(f"entering of {name}", close_timeout=self._close_timeout) as scope:
                entering = thing.scope.enter(factory(), name=name)
                thing.value = await scope.create_task(entering, name=name, context=self._context.copy())
        except BaseException:
            await thing.scope.aclose()
            raise
        return thing

    async def _give_up(self, thing: _Thing) -> None:
        """Leave one before its turn: nobody has waited for it in the end, or it has ended by itself."""
        if not self._scope.closed:
            await self._scope.release(thing)


class _Thing:
    """One shared thing, and the scope that holds it."""

    __slots__ = ("scope", "value")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.value: Any = None

    async def leave(self) -> None:
        if not self.scope.closed:
            await self.scope.aclose()
