"""Lifetimes: how long a value serves, where the caller that has it made says so, or a function of the value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from .._ground.checks import checked_timeout

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long one value serves, in place of what its registry says; None for what that says.

    Give it as the ``ttl`` of a `put`, a `lease`, a `get_or_create`, or have a function of the value return it.

    Attributes:
        ttl: seconds to live, infinity for no bound; less than 0 is 0.
        stale_ttl: seconds after them in which the value is still handed out, while a new one is made.
        stale_on_error: seconds after them in which it is handed out in place of an error of making a new one.

    Raises:
        TypeError, ValueError: one of them is not a number of seconds.
    """

    ttl: float | None = None
    stale_ttl: float | None = None
    stale_on_error: float | None = None

    def __post_init__(self) -> None:
        if type(self.ttl) in (int, float) and self.ttl < 0:  # type: ignore[operator]
            object.__setattr__(self, "ttl", 0.0)
        for what in ("ttl", "stale_ttl", "stale_on_error"):
            seconds = getattr(self, what)
            if seconds is not None:
                object.__setattr__(self, what, checked_timeout(seconds, what))


#: Seconds, or more than that in one, or a function that is given the value and returns such, or None for the
#: registry's own time.
TimeToLive: TypeAlias = float | Lifetime | Callable[[V], float | Lifetime | None]


class Timed(Generic[V]):
    """A factory with the lifetime of what it makes, as one thing: those without one carry nothing for it."""

    __slots__ = ("factory", "ttl")

    def __init__(self, factory: Callable[[], Awaitable[V] | V], ttl: TimeToLive[V]) -> None:
        self.factory: Callable[[], Awaitable[V] | V] = factory
        self.ttl: TimeToLive[V] = ttl if callable(ttl) else checked_lifetime(ttl, "ttl")


def checked_lifetime(ttl: float | Lifetime, what: str) -> float | Lifetime:
    """Return *ttl*, seconds as a float.

    Raises:
        TypeError, ValueError: it is neither a number of seconds nor a Lifetime.
    """
    return ttl if isinstance(ttl, Lifetime) else checked_timeout(ttl, what)


def is_over(ttl: float | Lifetime | None) -> bool:
    """Whether nothing is left of *ttl* when a value comes in."""
    seconds = ttl.ttl if isinstance(ttl, Lifetime) else ttl
    return seconds is not None and seconds <= 0.0


def lifetime_of(value: Any, ttl: Callable[[Any], float | Lifetime | None]) -> float | Lifetime | None:
    """Return what *ttl* gives to *value*, 0 for less than that.

    Raises:
        TypeError, ValueError: it answers with something else than seconds, or a Lifetime.
        BaseException: what it raises.
    """
    seconds = ttl(value)
    if seconds is None:
        return None
    if type(seconds) in (int, float) and seconds < 0:  # type: ignore[operator]
        return 0.0
    return checked_lifetime(seconds, "what ttl returns")
