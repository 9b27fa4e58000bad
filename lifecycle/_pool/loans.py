"""Loans: one value of a pool in one borrower's hands, and the slot that it lives in.

Entering a loan whose value is at hand, and leaving one, never suspends and makes no coroutine: both return a future
that is done. This is what an uncontended loan costs so little by.
"""

from __future__ import annotations

import enum
from asyncio import Future, Task, current_task
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .._chores import Chore
from .._ground import trace
from .._ground.errors import PoolFull
from .._ground.frames import Frames

T = TypeVar("T")


class SlotState(enum.Enum):
    """What is happening to a slot of a pool."""

    CREATING = "creating"  #: its value is being made
    IDLE = "idle"  #: its value is free
    CHECKING = "checking"  #: its value is looked at before it is lent
    LENT = "lent"  #: its value is in somebody's hands
    RESETTING = "resetting"  #: its value came back and is made ready for the next
    DESTROYING = "destroying"  #: its value is being ended
    GONE = "gone"  #: it is no slot any more


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
        since: when it was lent, or became idle, where the pool looks at the time.
        outdated: whether it is to be destroyed when it comes back.
        borrower: the task that has it, where it is lent.
        site: where it was borrowed, innermost call first, where the pool has a leak threshold.
    """

    __slots__ = (
        "borrower",
        "creation",
        "dies_at",
        "number",
        "outdated",
        "ready",
        "reported",
        "since",
        "site",
        "state",
        "token",
        "value",
    )

    value: T
    ready: Future[T]

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = SlotState.CREATING
        self.dies_at = float("inf")
        self.since = 0.0
        self.outdated = False
        self.reported = False
        self.creation: Chore[T] | None = None
        self.borrower: Task[Any] | None = None
        self.site: Frames = ()
        self.token: trace.Token | None = None

    def __repr__(self) -> str:
        return f"<slot {self.number} {self.state.value}>"


class Lending(Protocol[T]):
    """What a loan needs of its pool: the steps of lending, and what the inlined path looks at."""

    _untimed: bool  # whether a free value may be lent without a look at the time
    _simple: bool  # whether what comes back well is idle, and that is all
    _idle: list[Slot[T]]
    _line: OrderedDict[Future[Slot[T] | BaseException], None]
    _nothing: Future[None] | None

    @property
    def _watchers(self) -> Sequence[object]:
        """Those who wait for something to come true."""

    def _lend_idle(self) -> Slot[T] | None:
        """Return a slot whose value may be lent as it is; None where there is none at hand."""

    async def _stand_in_line(self, timeout: float | None) -> Slot[T]:
        """Wait for a slot in order of arrival."""

    def _take_back(self, slot: Slot[T], *, spoiled: bool = False) -> None:
        """Decide what becomes of a value that came back."""

    def _check_open(self, offer: str) -> None:
        """Refuse *offer* where the pool is not open."""

    def _account(self) -> str:
        """Say how many values there are, and how many wait."""


class Claim(Generic[T]):
    """What both kinds of loan have in common; each may be used again after its block, but not inside it."""

    __slots__ = ("_pool", "_slot", "_spoiled")

    def __init__(self, pool: Lending[T]) -> None:
        self._pool = pool
        self._slot: Slot[T] | None = None
        self._spoiled = False

    def discard(self) -> None:
        """Have the value destroyed when the block is left, instead of lent again.

        Raises:
            RuntimeError: the loan is not inside its block.
        """
        if self._slot is None:
            raise RuntimeError(f"{self!r} is not held; use it inside its with block")
        self._spoiled = True

    def _check_free(self) -> None:
        if self._slot is not None:
            raise RuntimeError(f"{self!r} is held already; ask the pool for another loan")

    def _give_back(self, *, failed: bool) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            spoiled, self._spoiled = self._spoiled or failed, False
            self._pool._take_back(slot, spoiled=spoiled)

    def __repr__(self) -> str:
        return f"<loan of {self._pool}>"


class Loan(Claim[T]):
    """``async with pool.acquire() as value``."""

    __slots__ = ("_timeout",)

    def __init__(self, pool: Lending[T], timeout: float | None) -> None:
        self._pool = pool
        self._slot = None
        self._spoiled = False
        self._timeout = timeout

    # Declared as coroutines, which is what users' type checkers ask of a context manager in an exit stack; what they
    # return is awaited and no more, and a future that is done does it for a tenth of the price.

    def __aenter__(self) -> Coroutine[Any, Any, T]:
        """Return the value, from now on lent to this block alone.

        Cancellation: while it waits, the place in line is given up; a value that was handed over in the same moment
        goes to the next in line.
        """
        if self._slot is not None:
            self._check_free()
        pool = self._pool
        if pool._untimed and pool._idle:  # what `_lend_idle` comes to, without the call
            slot = pool._idle.pop()
            slot.state = LENT
            slot.borrower = current_task()
            self._slot = slot
            return slot.ready  # type: ignore[return-value]
        found = pool._lend_idle()
        if found is None:
            return self._wait()
        self._slot = found
        return found.ready  # type: ignore[return-value]

    def __aexit__(
        self, kind: type[BaseException] | None, error: object, traceback: object
    ) -> Coroutine[Any, Any, None]:
        """Give the value back, in one step that never suspends; after an error it is destroyed, not lent again."""
        pool = self._pool
        slot = self._slot
        self._slot = None
        nothing = pool._nothing
        assert nothing is not None  # there has been a loop since the loan was made
        if slot is None:
            return nothing  # type: ignore[return-value]
        if kind is None and pool._simple and not (self._spoiled or pool._line or slot.outdated or pool._watchers):
            slot.state = IDLE  # what `_take_back` comes to, without the call
            slot.borrower = None
            pool._idle.append(slot)
        else:
            spoiled, self._spoiled = self._spoiled or kind is not None, False
            pool._take_back(slot, spoiled=spoiled)
        return nothing  # type: ignore[return-value]

    async def _wait(self) -> T:
        slot = await self._pool._stand_in_line(self._timeout)
        if self._slot is not None:  # another task has entered it meanwhile
            self._pool._take_back(slot)
            self._check_free()
        self._slot = slot
        return slot.value


class TryLoan(Claim[T]):
    """``with pool.try_acquire() as value``."""

    __slots__ = ()

    def __enter__(self) -> T:
        self._check_free()
        slot = self._pool._lend_idle()
        if slot is None:
            self._pool._check_open("a loan")
            raise PoolFull(f"{self._pool} has nothing free for a borrower that does not wait: {self._pool._account()}")
        self._slot = slot
        return slot.value

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._give_back(failed=kind is not None)
