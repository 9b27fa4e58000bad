"""Leases: a claim on one registered value, under which it cannot be finalized."""

from __future__ import annotations

from asyncio import Task, current_task
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from .registrations import Registration

K = TypeVar("K")
V = TypeVar("V")


def task_if_any() -> Task[Any] | None:
    """Return the calling task; a synchronous lease may be taken where there is none."""
    try:
        return current_task()
    except RuntimeError:
        return None


class Lessor(Protocol[K, V]):
    """What a lease needs of its registry."""

    _holders: dict[Claim[K, V], Task[Any] | None]  # who has a lease out

    def _claim_live(self, key: K) -> Registration[K, V] | None:
        """Lease the live value under *key*; None where there is none."""

    async def _obtain(self, key: K, factory: Callable[[], Awaitable[V] | V]) -> Registration[K, V]:
        """Lease the value under *key*, made where there is none."""

    def _release(self, registration: Registration[K, V]) -> None:
        """Take one lease back."""

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take this very registration out; return whether it was there."""


class Claim(Generic[K, V]):
    """What both kinds of lease have in common; each may be used again after its block, but not inside it."""

    __slots__ = ("_key", "_registration", "_registry")

    def __init__(self, registry: Lessor[K, V], key: K) -> None:
        self._registry = registry
        self._key = key
        self._registration: Registration[K, V] | None = None

    @property
    def registration(self) -> Registration[K, V]:
        """The registration of the leased value.

        Raises:
            RuntimeError: the lease is not inside its block.
        """
        if self._registration is None:
            raise RuntimeError(f"{self!r} is not held; use it inside its with block")
        return self._registration

    def discard(self) -> bool:
        """Take the leased value out of the registry: nobody else gets it, and it is finalized after its last lease.

        Raises:
            RuntimeError: the lease is not inside its block.
        """
        return self._registry.remove(self.registration)

    def _check_free(self) -> None:
        if self._registration is not None:
            raise RuntimeError(f"{self!r} is held already; ask the registry for another lease")

    def _give_back(self) -> None:
        registration, self._registration = self._registration, None
        if registration is not None:
            del self._registry._holders[self]
            self._registry._release(registration)

    def __repr__(self) -> str:
        return f"<lease of {self._key!r} in {self._registry}>"


class Lease(Claim[K, V]):
    """``async with registry.lease(key, factory) as value``."""

    __slots__ = ("_factory",)

    def __init__(self, registry: Lessor[K, V], key: K, factory: Callable[[], Awaitable[V] | V] | None) -> None:
        self._registry = registry
        self._key = key
        self._registration = None
        self._factory = factory

    async def __aenter__(self) -> V:
        """Return the value, from now on leased.

        Cancellation: as in `Registry.get_or_create`; nothing is leased then.
        """
        if self._registration is not None:
            self._check_free()
        registry = self._registry
        registration = registry._claim_live(self._key)
        if registration is None:
            if self._factory is None:
                raise KeyError(self._key)
            registration = await registry._obtain(self._key, self._factory)
            if self._registration is not None:  # another task has entered it meanwhile
                registry._release(registration)
                self._check_free()
        self._registration = registration
        registry._holders[self] = current_task()
        return registration.value

    async def __aexit__(self, *_: object) -> None:
        """Give the lease back, in one step that never suspends."""
        self._give_back()


class TryLease(Claim[K, V]):
    """``with registry.try_lease(key) as value``."""

    __slots__ = ()

    def __enter__(self) -> V:
        self._check_free()
        registration = self._registry._claim_live(self._key)
        if registration is None:
            raise KeyError(self._key)
        self._registration = registration
        self._registry._holders[self] = task_if_any()
        return registration.value

    def __exit__(self, *_: object) -> None:
        self._give_back()
