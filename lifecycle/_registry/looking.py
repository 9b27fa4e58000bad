"""Looking: what a registry holds, seen without using it: no time begins anew, no order changes, nothing is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from .keyed import first_in
from .registrations import Registration
from .shelf import K, Shelf, V

D = TypeVar("D")


class Looking(Shelf[K, V], Generic[K, V]):
    """A shelf that can be looked at. What is due is not there, swept or not."""

    __slots__ = ()

    @overload
    def peek(self, key: K, *, stale: bool = False) -> V | None: ...
    @overload
    def peek(self, key: K, default: V | D, *, stale: bool = False) -> V | D: ...
    def peek(self, key: K, default: Any = None, *, stale: bool = False) -> Any:
        """Return the live value under *key*, *default* where there is none; unlike `get` it counts as no use.

        Its idle time goes on, it is as likely to make room as before, and neither a hit nor a miss is counted. The
        value is not leased. With *stale* an old value is returned as well, as long as the registry keeps it.
        """
        registration = self._live.get(key)
        if registration is None:
            return default
        if self._is_due(registration) and not (stale and self._is_kept(registration, self._clock())):
            return default
        return registration.value

    def __contains__(self, key: object) -> bool:
        """Return whether *key* has a live value; counts as no use."""
        registration = self._live.get(key)  # type: ignore[arg-type]
        return registration is not None and not self._is_due(registration)

    def __len__(self) -> int:
        """How many values are live; some of them may be due and not yet swept."""
        return len(self._live)

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys of the live values, least recently used first where there is a ``max_size``."""
        return iter([registration.key for registration in self._present()])

    def values(self) -> list[V]:
        """Return the live values, in the order of the keys; counts as no use, and leases none of them."""
        return [registration.value for registration in self._present()]

    def items(self) -> list[tuple[K, V]]:
        """Return the keys and values of what is live, in the order of the keys; counts as no use, leases nothing."""
        return [(registration.key, registration.value) for registration in self._present()]

    def _present(self) -> list[Registration[K, V]]:
        return [registration for registration in first_in(self._live) if not self._is_due(registration)]
