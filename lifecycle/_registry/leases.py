"""Leases: claims on registered values, under which these cannot be finalized, and the book of those that are out."""

from __future__ import annotations

from asyncio import Task, current_task
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from .._ground.errors import KeyMissing
from .._ground.foreign import in_words
from .._lender import Closing, Held, borrower_in_words
from .departures import Departures
from .lifetimes import Lifetime, Timed
from .registrations import LIVE, Registration
from .shelf import Shelf

K = TypeVar("K")
V = TypeVar("V")


def task_if_any() -> Task[Any] | None:
    """Return the calling task; a synchronous lease may be taken where there is none."""
    try:
        return current_task()
    except RuntimeError:
        return None


class Leases(Generic[K, V]):
    """The leases of one registry that are out.

    Attributes:
        count: how many there are, those included that a creation takes for its callers.
        holders: the task that holds each, None where it was taken outside of one.
    """

    __slots__ = ("_closing", "_departures", "_shelf", "count", "holders")

    def __init__(self, shelf: Shelf[K, V], departures: Departures[K, V], closing: Closing) -> None:
        self._closing = closing
        self._shelf = shelf
        self._departures = departures
        self.count = 0
        self.holders: dict[Claim[K, V], Task[Any] | None] = {}

    def claim(self, registration: Registration[K, V]) -> None:
        """Lease a value: it is not finalized until it is released."""
        registration._leases += 1
        self.count += 1

    def release(self, registration: Registration[K, V]) -> None:
        """Take one lease back; the last one of a retired value finalizes it."""
        registration._leases -= 1
        self.count -= 1
        if registration._state is not LIVE:
            if registration._leases == 0:
                self._departures.finalize_retained(registration)
        elif self._shelf._has_idle_ttl:
            self._shelf._restart_idle_time(registration)
        if self._closing.watchers:
            self._closing.progress()

    def forget_all(self) -> None:
        """Forget all of them: their loop is closed."""
        self.holders.clear()
        self.count = 0

    def retained_by_others(self, exempt: frozenset[Task[Any]]) -> int:
        """Return how many values that have left are leased by others than *exempt* tasks, which wait for the asker."""
        retained = self._departures.retained
        if not retained:
            return 0
        own = Counter(claim.registration for claim, task in self.holders.items() if task in exempt)
        return sum(registration._leases > own[registration] for registration in retained)

    def held_by_others(self, exempt: frozenset[Task[Any]]) -> int:
        """Return how many leases others have than *exempt* tasks."""
        return sum(task not in exempt for task in self.holders.values())

    def by_others(self, exempt: frozenset[Task[Any]]) -> tuple[str, ...]:
        """Name the values that are leased by others than *exempt* tasks, and who leases each."""
        return tuple(
            f"{in_words(claim.registration.key)}, leased by {borrower_in_words(task)}"
            for claim, task in self.holders.items()
            if task not in exempt
        )

    def in_words(self) -> list[str]:
        """Name the values that have left and are still leased, and who leases each."""
        holders: dict[Registration[K, V], list[str]] = {registration: [] for registration in self._departures.retained}
        for claim, task in self.holders.items():
            if claim.registration in holders:
                holders[claim.registration].append(borrower_in_words(task))
        return [
            f"{in_words(registration.key)}, leased by {', '.join(who) or 'those it was made for'}"
            for registration, who in holders.items()
        ]


class Lessor(Protocol[K, V]):
    """What a lease needs of its registry."""

    _leases: Leases[K, V]

    def _claim_live(self, key: K) -> Registration[K, V] | None:
        """Lease the live value under *key*; None where there is none."""

    async def _obtain(self, key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V]) -> Registration[K, V]:
        """Lease the value under *key*, made where there is none."""

    def _claim_this(self, registration: Registration[K, V]) -> bool:
        """Lease the very value of *registration*; return whether it was there."""

    def _put_leased(self, key: K, value: V, ttl: float | Lifetime | None) -> Registration[K, V]:
        """Put a value in, and lease it in the same step."""

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take this very registration out; return whether it was there."""


class Claim(Held[Registration[K, V]], Generic[K, V]):
    """What both kinds of lease have in common."""

    __slots__ = ("_key", "_registry")

    def __init__(self, registry: Lessor[K, V], key: K) -> None:
        self._registry = registry
        self._key = key
        self._held = None

    @property
    def registration(self) -> Registration[K, V]:
        """The registration of the leased value.

        Raises:
            RuntimeError: the lease is not inside its block.
        """
        return self._thing()

    def discard(self) -> bool:
        """Take the leased value out of the registry: no newcomer gets it, and it is finalized after its last lease.

        Raises:
            RuntimeError: the lease is not inside its block.
        """
        return self._registry.remove(self.registration)

    def _give_back(self) -> None:
        registration, self._held = self._held, None
        if registration is not None:
            leases = self._registry._leases
            try:
                del leases.holders[self]
            except KeyError:  # it was taken in a loop that is closed
                return
            leases.release(registration)

    def __repr__(self) -> str:
        return f"<lease of {in_words(self._key)} in {self._registry}>"


class Lease(Claim[K, V]):
    """``async with registry.lease(key, factory) as value``."""

    __slots__ = ("_factory",)

    def __init__(
        self, registry: Lessor[K, V], key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V] | None
    ) -> None:
        self._registry = registry
        self._key = key
        self._held = None
        self._factory = factory

    async def __aenter__(self) -> V:
        """Return the value, from now on leased.

        Cancellation: as in `Registry.get_or_create`; nothing is leased then.
        """
        if self._held is not None:
            self._check_free()
        registry = self._registry
        registration = registry._claim_live(self._key)
        if registration is None:
            if self._factory is None:
                raise KeyMissing(self._key)
            registration = await registry._obtain(self._key, self._factory)
            if self._held is not None:  # another task has entered it meanwhile
                registry._leases.release(registration)
                self._check_free()
        self._held = registration
        registry._leases.holders[self] = current_task()
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
            raise KeyMissing(self._key)
        self._held = registration
        self._registry._leases.holders[self] = task_if_any()
        return registration.value

    def __exit__(self, *_: object) -> None:
        self._give_back()


class VeryLease(Claim[K, V]):
    """``with registration.lease() as value``, or ``async with``: nothing of it suspends."""

    __slots__ = ("_registration",)

    def __init__(self, registry: Lessor[K, V], registration: Registration[K, V]) -> None:
        super().__init__(registry, registration.key)
        self._registration = registration

    def __enter__(self) -> V:
        """Return the value, from now on leased."""
        self._check_free()
        registration = self._begin()
        self._held = registration
        self._registry._leases.holders[self] = task_if_any()
        return registration.value

    def __exit__(self, *_: object) -> None:
        self._give_back()

    async def __aenter__(self) -> V:
        """Return the value, from now on leased; does not suspend."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """Give the lease back, in one step that never suspends."""
        self._give_back()

    def _begin(self) -> Registration[K, V]:
        """Lease what is to be leased."""
        if not self._registry._claim_this(self._registration):
            raise KeyMissing(self._key)
        return self._registration


class PutLease(VeryLease[K, V]):
    """``with registry.put_and_lease(key, value) as value``, or ``async with``: nothing of it suspends.

    Entered once more, it leases the same registration, if that is still there.
    """

    __slots__ = ("_ttl", "_value")

    _registration: Registration[K, V] | None  # type: ignore[assignment]

    def __init__(self, registry: Lessor[K, V], key: K, value: V, ttl: float | Lifetime | None) -> None:
        Claim.__init__(self, registry, key)
        self._registration = None
        self._value = value
        self._ttl = ttl

    def _begin(self) -> Registration[K, V]:
        if self._registration is not None:
            return super()._begin()
        registration = self._registry._put_leased(self._key, self._value, self._ttl)
        self._registration = registration
        del self._value
        return registration
