"""Plan: what a user has asked for, of every connection that is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .._connect.stages import Stages
from .._retry.retry import Retry
from .records import ConnectionDown, ConnectionUp

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Plan(Generic[T]):
    """The arguments of `keep_connected`, checked; times in seconds, infinite where there is no bound."""

    name: str
    connect: Callable[[Stages], Awaitable[T]]
    retry: Retry
    timeout: float
    minimum_uptime: float
    replay: Callable[[T], object] | None
    on_up: Callable[[ConnectionUp[T]], object] | None
    on_down: Callable[[ConnectionDown[T]], object] | None
    close_timeout: float
