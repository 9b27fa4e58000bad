"""Loans: one value of a pool in one borrower's hands.

Entering a loan whose value is at hand, and leaving one, never suspends and makes no coroutine: both return a future
that is done. This is what an uncontended loan costs so little by.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, TimerHandle, current_task
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, TypeVar

from .._lender import Held, Watchers
from .line import Line, Place
from .slot import IDLE, LENT, Slot

T = TypeVar("T")


class LendingPool(Protocol[T]):
    """What a loan needs of its pool: the steps of lending, and what their inlined forms look at."""

    _lends_idle: bool
    _takes_back_idle: bool
    _idle: list[Slot[T]]
    _waiting: OrderedDict[Place[T], TimerHandle | None]
    _watchers: Watchers
    _done: Future[None] | None
    _line: Line[T]
    _loop: AbstractEventLoop | None

    def _lend_idle(self) -> Slot[T] | None:
        """Return a slot whose value may be lent as it is; None where there is none at hand."""

    def _refuse_loan(self) -> NoReturn:
        """Refuse a borrower that does not wait, where nothing is free."""

    def _take_back(self, slot: Slot[T], *, spoiled: bool = False) -> None:
        """Decide what becomes of a value that came back."""

    def _loan_dropped(self, loan: object, slot: Slot[T]) -> None:
        """Tell of a loan that was dropped inside its block, and end its value; called in any thread."""


class Claim(Held[Slot[T]]):
    """What both kinds of loan have in common."""

    __slots__ = ("_pool", "_spoiled")

    def __init__(self, pool: LendingPool[T]) -> None:
        self._pool = pool
        self._held = None
        self._spoiled = False

    def discard(self) -> None:
        """Have the value destroyed when the block is left, instead of lent again.

        Raises:
            RuntimeError: the loan is not inside its block.
        """
        self._thing()
        self._spoiled = True

    def _give_back(self, *, failed: bool) -> None:
        slot, self._held = self._held, None
        if slot is not None:
            spoiled, self._spoiled = self._spoiled or failed, False
            self._pool._take_back(slot, spoiled=spoiled)

    def __repr__(self) -> str:
        return f"<loan of {self._pool}>"

    def __del__(self) -> None:
        if self._held is not None:
            self._pool._loan_dropped(self, self._held)


class Loan(Claim[T]):
    """``async with pool.acquire() as value``."""

    __slots__ = ("_timeout",)

    def __init__(self, pool: LendingPool[T], timeout: float | None) -> None:
        self._pool = pool
        self._held = None
        self._spoiled = False
        self._timeout = timeout

    # Declared as coroutines, which is what users' type checkers ask of a context manager in an exit stack; what they
    # return is awaited and no more, and a future that is done does it for a tenth of the price.

    def __aenter__(self) -> Coroutine[Any, Any, T]:
        """Return the value, from now on lent to this block alone.

        Cancellation: while it waits, the place in line is given up; a value that was handed over in the same moment
        goes to the next in line.
        """
        if self._held is not None:
            self._check_free()
        pool = self._pool
        if pool._lends_idle and pool._idle:  # inlined `_lend_idle`; held equal to it by the tests of a pool with times
            borrower = current_task(pool._loop)
            if borrower is not None:  # as it is in another loop, and outside of tasks
                slot = pool._idle.pop()
                slot.state = LENT
                slot.borrower = borrower
                self._held = slot
                return slot.ready  # type: ignore[return-value]
        found = pool._lend_idle()
        if found is None:
            return self._wait()
        self._held = found
        return found.ready  # type: ignore[return-value]

    def __aexit__(
        self, kind: type[BaseException] | None, error: object, traceback: object
    ) -> Coroutine[Any, Any, None]:
        """Give the value back, in one step that never suspends; after an error it is destroyed, not lent again."""
        pool = self._pool
        slot = self._held
        self._held = None
        done = pool._done
        assert done is not None  # there has been a loop since the loan was made
        if slot is None:
            return done  # type: ignore[return-value]
        if (
            kind is None
            and pool._takes_back_idle
            and not (self._spoiled or pool._waiting or slot.outdated or pool._watchers)
        ):
            slot.state = IDLE  # inlined `_take_back`
            slot.borrower = None
            pool._idle.append(slot)
        else:
            spoiled, self._spoiled = self._spoiled or kind is not None, False
            pool._take_back(slot, spoiled=spoiled)
        return done  # type: ignore[return-value]

    async def _wait(self) -> T:
        slot = await self._pool._line.stand(self._timeout)
        if self._held is not None:  # another task has entered it meanwhile
            self._pool._take_back(slot)
            self._check_free()
        self._held = slot
        return slot.value


class TryLoan(Claim[T]):
    """``with pool.try_acquire() as value``."""

    __slots__ = ()

    def __enter__(self) -> T:
        self._check_free()
        slot = self._pool._lend_idle()
        if slot is None:
            self._pool._refuse_loan()
        self._held = slot
        return slot.value

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        self._give_back(failed=kind is not None)
