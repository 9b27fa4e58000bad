"""Lifetimes: how long what a factory makes may live, where its caller says so, or a function of the value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeAlias, TypeVar

from .._ground.checks import checked_timeout

V = TypeVar("V")

#: Seconds, or a function that is given the value and returns seconds, or None for the registry's own time.
Lifetime: TypeAlias = float | Callable[[V], float | None]


class Timed(Generic[V]):
    """A factory with the lifetime of what it makes, as one thing: those without one carry nothing for it."""

    __slots__ = ("factory", "ttl")

    def __init__(self, factory: Callable[[], Awaitable[V] | V], ttl: Lifetime[V]) -> None:
        self.factory: Callable[[], Awaitable[V] | V] = factory
        self.ttl: Lifetime[V] = ttl if callable(ttl) else checked_timeout(ttl, "ttl")


def lifetime_of(value: Any, ttl: Callable[[Any], float | None]) -> float | None:
    """Return the seconds that *ttl* gives to *value*, 0 for less than that.

    Raises:
        TypeError, ValueError: it answers with something else than seconds.
        BaseException: what it raises.
    """
    seconds = ttl(value)
    if seconds is None:
        return None
    if type(seconds) in (int, float) and seconds < 0:
        return 0.0
    return checked_timeout(seconds, "what ttl returns")
