"""Destination: what takes in the values that are created."""

from __future__ import annotations

from typing import Protocol, TypeVar

from .registrations import Registration, RemovalCause

K = TypeVar("K")
V = TypeVar("V")


class Destination(Protocol[K, V]):
    """What takes in the values that are created."""

    def put(self, key: K, value: V, *, ttl: float | None = None) -> Registration[K, V]:
        """Own *value* under *key*."""

    def _put_weighed(self, key: K, value: V, ttl: float | None, leases: int) -> Registration[K, V]:
        """Own *value* under *key*, leased that often, where values have weights."""

    def _come_home(self) -> None:
        """See that the owner lives in the running loop."""

    def _check_room(self, key: K) -> None:
        """Refuse one more value where there is no place for it and none is made."""

    def _look_before_puts(self) -> None:
        """Have every put say so, from now on: it may matter to a creation."""

    def _admit(self, key: K, value: V, cause: RemovalCause, leases: int = 0) -> Registration[K, V]:
        """Own a value that is on its way out already."""
