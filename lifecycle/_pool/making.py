"""What makes the values of a pool, and the options of one, as type checkers see them.

Protocols rather than ``Callable``: mypy then looks at ``create`` first, and knows what the lambdas beside it are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, Required, TypedDict, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Opens(Protocol[T_co]):
    """Makes a value asynchronously."""

    def __call__(self) -> Awaitable[T_co]:
        """Return what gives the value when it is awaited."""


class Makes(Protocol[T_co]):
    """Makes a value at once."""

    def __call__(self) -> T_co:
        """Return the value."""


class PoolOptions(TypedDict, Generic[T], total=False):
    """The keywords of `Pool`."""

    name: str | None
    max_size: Required[int]
    min_size: int
    max_idle: float | None
    max_lifetime: float | None
    lifetime_jitter: float
    check: Callable[[T], object] | None
    check_bypass: float
    check_every: float | None
    check_timeout: float | None
    reset: Callable[[T], object] | None
    reset_timeout: float | None
    pending_limit: int | None
    acquire_timeout: float | None
    max_creating: int | None
    leak_threshold: float | None
    create_timeout: float | None
    close_timeout: float | None
