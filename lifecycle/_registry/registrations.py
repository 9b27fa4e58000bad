"""Registration: one value's life in a registry, and the token that stands for it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .._ground.foreign import in_words

K = TypeVar("K")
V = TypeVar("V")


class RemovalCause(enum.Enum):
    """Why a value left its registry."""

    EXPIRED = "expired"  #: its time to live since it was put had passed
    IDLE = "idle"  #: it had not been used for the idle time
    SIZE = "size"  #: the registry was full, and others had been used more recently
    REPLACED = "replaced"  #: another value was put under its key
    EXPLICIT = "explicit"  #: it was removed, discarded, popped or cleared
    CLOSED = "closed"  #: its registry closed
    UNWANTED = "unwanted"  #: its factory finished after all callers had gone

    if not TYPE_CHECKING:  # Enum's own is a Python function; this one is a key in the books of every removal
        __hash__ = object.__hash__


class RegistrationState(enum.Enum):
    """Where a registered value is in its life; it only ever moves down this list."""

    LIVE = "live"  #: found under its key
    RETIRED = "retired"  #: no longer found; leased, or about to be finalized
    CLOSED = "closed"  #: finalized, or handed out by `pop`


# Bound to names of modules because an attribute of an enum class costs a look-up on every use.
LIVE, RETIRED, CLOSED = RegistrationState
EXPIRED, IDLE, SIZE, REPLACED, EXPLICIT, SHUT, UNWANTED = RemovalCause


class RegistrationLease(Protocol[K, V]):
    """``with registration.lease() as value``, or ``async with``: nothing of it suspends.

    The same of ``registry.put_and_lease(key, value)``. A block at a time: inside it a second one gets a RuntimeError.
    """

    @property
    def registration(self) -> Registration[K, V]:
        """The registration of the leased value; a RuntimeError outside of the block."""

    def discard(self) -> bool:
        """Take the leased value out of the registry; it is finalized after its last lease."""

    def __enter__(self) -> V:
        """Return the value, from now on leased."""

    def __exit__(self, *_: object) -> None:
        """Give the lease back."""

    async def __aenter__(self) -> V:
        """Return the value, from now on leased; does not suspend."""

    async def __aexit__(self, *_: object) -> None:
        """Give the lease back, in one step that never suspends."""


class Home(Protocol[K, V]):
    """What a registration needs of its registry."""

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take this very registration out; return whether it was there."""

    def _lease_of(self, registration: Registration[K, V]) -> RegistrationLease[K, V]:
        """Return a lease of this very registration, to be entered."""

    async def _wait_closed(self, registration: Registration[K, V]) -> None:
        """Wait until its value has been finalized or handed out."""


class Registration(Generic[K, V]):
    """One value under one key, from `Registry.put` to the end of its finalizer.

    It is the token that removal goes by: a registration removes the very value it stands for, or nothing when that
    value has been replaced or removed already, whatever its key and value claim to be equal to.

    Attributes:
        key: the key it was put under.
        value: the value; kept as long as you keep the registration.
        expires_at: when it expires, in seconds on the registry's clock; infinity for never.
    """

    # `_limit`, `_weight` and `_cause` are set only where they mean something: a slot that is left alone costs nothing.
    __slots__ = (
        "_bucket",
        "_cause",
        "_leases",
        "_limit",
        "_registry",
        "_state",
        "_weight",
        "expires_at",
        "key",
        "value",
    )

    if TYPE_CHECKING:  # no more than a word to checkers: who asks at run time asks for what is public
        _cause: RemovalCause
        _limit: float
        _weight: int

    def __init__(self, registry: Home[K, V], key: K, value: V, expires_at: float) -> None:
        self._registry = registry
        self.key: K = key
        self.value: V = value
        self.expires_at: float = expires_at
        self._bucket: dict[Registration[K, V], None] | None = None  # of the expiry wheel
        self._leases = 0
        self._state = LIVE

    @property
    def cause(self) -> RemovalCause | None:
        """Why the value left its registry, None while it is there."""
        return None if self._state is LIVE else self._cause

    @property
    def leases(self) -> int:
        """How many leases of the value are out."""
        return self._leases

    def remove(self) -> bool:
        """Take this very value out of its registry; see `Registry.remove`."""
        return self._registry.remove(self)

    def lease(self) -> RegistrationLease[K, V]:
        """Return a context manager, ``with`` or ``async with``, over this very value, which cannot be finalized inside.

        Entering it counts as a use, never suspends, and raises KeyMissing where the value has left its registry, also
        where another one is under its key.
        """
        return self._registry._lease_of(self)

    async def closed(self) -> None:
        """Wait until the value has been finalized, or handed out by `pop`.

        Called by its finalizer, or by what that waits for, it returns at once: it would wait for itself.

        Cancellation: ends the waiting, nothing else.
        """
        if self._state is not CLOSED:
            await self._registry._wait_closed(self)

    def __repr__(self) -> str:
        return f"<Registration {in_words(self.key)} {self._state.value}>"


class Lasting(Registration[K, V]):
    """A registration whose value still serves for a while when its time is over, as an old one.

    Attributes:
        _stale_ttl: seconds after its time in which it is handed out while a new one is made.
        _stale_on_error: seconds after its time in which it is handed out where that has failed.
        _leaves_at: when it leaves its registry, where that is not before its time is over.
    """

    __slots__ = ("_leaves_at", "_stale_on_error", "_stale_ttl")

    _leaves_at: float
    _stale_ttl: float
    _stale_on_error: float
