"""Slot: one place of a pool and the value in it, and where that value is in its life."""

from __future__ import annotations

import enum
from asyncio import Future, Task
from typing import Any, Generic, TypeVar

from .._chores import Chore, Rest
from .._ground.frames import Frames

T = TypeVar("T")


class SlotState(enum.Enum):
    """What is happening to a slot of a pool."""

    CREATING = "creating"  #: its value is being made
    IDLE = "idle"  #: its value is free
    CHECKING = "checking"  #: its value is looked at before it is lent
    LENT = "lent"  #: its value is in a borrower's hands
    RESETTING = "resetting"  #: its value came back and is made ready for the next
    DESTROYING = "destroying"  #: its value is being ended
    GONE = "gone"  #: it has left the pool


# Bound to names of modules because an attribute of an enum class costs a look-up on every loan.
CREATING, IDLE, CHECKING, LENT, RESETTING, DESTROYING, GONE = SlotState


class Slot(Generic[T]):
    """One place of a pool and the value in it: the token that every step goes by.

    Attributes:
        number: counts the pool's slots.
        state: see `SlotState`; every move is made by the pool.
        creation: the chore that makes the value, while it does.
        value: the value, once it is there.
        ready: a future that is done with the value.
        dies_at: when its lifetime is over, on the loop's clock.
        renew_at: when it is to be replaced, ahead of that.
        since: when it was lent, came back, or has passed a check, where the pool looks at the time.
        idle_since: when it came back, or was new; a check is no use of it.
        outdated: whether it is to be destroyed when it comes back.
        overdue: whether the work on it takes so long that nobody should count on it any more.
        ageing: whether its lifetime is nearly over, so that it does not count as one to keep.
        hopeless: whether it has not answered, so that its end should not be waited for any longer than that.
        behalf: the borrowers that all are told if its creation fails; None where only the first in line is.
        rest: what else of the connect that made it has to be closed after it.
        borrower: the task that has it, where it is lent.
        site: where it was borrowed, innermost call first, where the pool has a leak threshold.
    """

    __slots__ = (
        "ageing",
        "behalf",
        "borrower",
        "creation",
        "dies_at",
        "hopeless",
        "idle_since",
        "number",
        "outdated",
        "overdue",
        "ready",
        "renew_at",
        "reported",
        "rest",
        "since",
        "site",
        "state",
        "value",
    )

    value: T
    ready: Future[T]

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = SlotState.CREATING
        self.dies_at = self.renew_at = float("inf")
        self.since = self.idle_since = 0.0
        self.outdated = self.overdue = self.ageing = self.hopeless = False
        self.reported = False
        self.behalf: tuple[Future[Any], ...] | None = None
        self.rest: Rest | None = None
        self.creation: Chore[T] | None = None
        self.borrower: Task[Any] | None = None
        self.site: Frames = ()

    def __repr__(self) -> str:
        return f"<slot {self.number} {self.state.value}>"
