"""What is told of a kept connection: that it came up, that it went down, and how it stands."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ConnectionUp(Generic[T]):
    """A connection that came up, for ``on_up``; it does not change, whatever happens later.

    Attributes:
        value: what the connector returned.
        generation: which connection this is, from 1.
        gap: seconds since the one before it was lost: what the peer has sent in between is gone. None for the first.
    """

    value: T
    generation: int
    gap: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ConnectionDown(Generic[T]):
    """A connection that went down, for ``on_down``; it does not change, whatever happens later.

    Attributes:
        value: what the connector returned; it is not released yet.
        generation: which connection this was.
        error: what it was lost by: what a task of it, or a user, has met, or a `ConnectionLost`. None where it was
            ended on purpose: by `KeptConnection.reconnect` or a close.
        reason: the same in words.
        uptime: the seconds that it lived.
    """

    value: T
    generation: int
    error: BaseException | None
    reason: str
    uptime: float


@dataclass(frozen=True, slots=True)
class KeptStatistics:
    """How a kept connection stands at one moment.

    The accounts close at every await: ``attempts == ups + failures``, and one more while an attempt is in progress or
    was ended by a close; ``ups == losses``, and one more while a connection is up or was ended by a close.

    Attributes:
        name: its name.
        state: the value of its `KeptState`, such as ``"up"``.
        attempts: how many attempts have begun.
        failures: how many of them have failed, the replay included.
        failures_in_a_row: failed attempts and short lives since the last connection that lived for ``minimum_uptime``.
        ups: how many connections there were; the number of the last one.
        losses: how many of them were lost, or dropped by ``reconnect``.
        short_lives: how many of these had lived less than ``minimum_uptime``. Two clients that evict each other,
            because they have one identity, show here.
        hook_errors: how often ``on_up`` or ``on_down`` has raised.
        release_errors: how many errors the releases of lost connections have met.
        waiting: how many callers wait for the next connection.
        up_since: the loop time at which the present connection came up, None where there is none.
        down_since: the loop time since which there is none, None where there is one, or it has not begun.
        next_attempt_at: the loop time of the next attempt, during a pause.
        last_error: what the last attempt or connection failed with, in words.
    """

    name: str
    state: str
    attempts: int
    failures: int
    failures_in_a_row: int
    ups: int
    losses: int
    short_lives: int
    hook_errors: int
    release_errors: int
    waiting: int
    up_since: float | None
    down_since: float | None
    next_attempt_at: float | None
    last_error: str | None
