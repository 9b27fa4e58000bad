"""Destination: what takes in the values that are created."""

from __future__ import annotations

from typing import Protocol, TypeVar

from .lifetimes import Lifetime
from .registrations import Registration, RemovalCause

K = TypeVar("K")
V = TypeVar("V")


class Destination(Protocol[K, V]):
    """What takes in the values that are created."""

    def _put_leased(self, key: K, value: V, ttl: float | Lifetime | None) -> Registration[K, V]:
        """Own *value* under *key*, and lease it in the same step."""

    def _keeps(self, ttl: Lifetime | float | None) -> bool:
        """Whether a value with that time still serves when it is over."""

    def _come_home(self) -> None:
        """See that the owner lives in the running loop."""

    def _check_room(self, key: K) -> None:
        """Refuse one more value where there is no place for it and none is made."""

    def _look_before_puts(self) -> None:
        """Have every put say so, from now on: it may matter to a creation."""

    def _admit(self, key: K, value: V, cause: RemovalCause, leases: int = 0) -> Registration[K, V]:
        """Own a value that is on its way out already."""
