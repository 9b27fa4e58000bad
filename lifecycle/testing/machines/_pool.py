"""A machine for anything that lends values and takes them back."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from .._look.ledger import Token
from ._base import LoopMachine, pick, picks

#: One number in ten.
SELDOM = 9


class PoolMachine(LoopMachine):
    """Borrows and returns, some of them broken, cancels borrowers, and checks size, order and that nothing stays.

    It closes the pool in any state that a program can: idle, under loans, and with borrowers in line, who may be served
    or refused (with an error of ``expected``). What is lent then has to be ended when it comes back.

    Override :meth:`make`. A pool that is not shaped like ours also overrides :meth:`borrow` and :meth:`close`. Values
    are ledger tokens; the pool makes them with ``create`` and ends them with ``destroy``.

    Attributes:
        max_size: how many values may live at once.
    """

    max_size = 2

    def __init__(self) -> None:
        super().__init__()
        self._alive = 0
        self._lent: list[Token] = []
        self._closer: asyncio.Task[None] | None = None
        self.pool: Any = None
        self.finish(self._open())

    async def _open(self) -> None:
        self.pool = self.make(self.create, self.destroy)

    # To override.

    def make(self, create: Any, destroy: Any) -> Any:
        """Make the pool, of ``max_size`` values."""
        raise NotImplementedError

    def borrow(self) -> AbstractAsyncContextManager[Any]:
        loan: AbstractAsyncContextManager[Any] = self.pool.acquire()
        return loan

    async def close(self) -> None:
        await self.pool.aclose()

    # Values.

    async def create(self) -> Token:
        await asyncio.sleep(0.1)
        self._alive += 1
        return self.bubble.ledger.acquire(f"value {self._alive}", kind="value")

    async def destroy(self, value: Token) -> None:
        assert value not in self._lent, f"{value} is destroyed under its borrower"
        await asyncio.sleep(0.1)
        self._alive -= 1
        value.release()

    # Rules.

    @precondition(lambda self: self._closer is None)
    @rule(tenths=st.integers(0, 5), breaks=st.booleans())
    def begin_loan(self, tenths: int, breaks: bool) -> None:
        self.start(self._borrow(tenths / 10, breaks), "borrower")

    async def _borrow(self, seconds: float, breaks: bool) -> None:
        try:
            async with self.borrow() as value:
                assert value not in self._lent, f"{value} was lent twice"
                assert not value.releases, f"{value} was lent after its end"
                self._lent.append(value)
                try:
                    await asyncio.sleep(seconds)
                    if breaks:
                        raise ConnectionError("broken while it was lent")
                finally:
                    self._lent.remove(value)
        except ConnectionError:
            assert breaks or self._closing

    @precondition(lambda self: self.running())
    @rule(number=picks)
    def cancel_a_borrower(self, number: int) -> None:
        pick(self.running(), number).cancel()

    @precondition(lambda self: self._closer is None and self.running())
    @rule(number=picks)
    def close_under_loans(self, number: int) -> None:
        """Close while values are lent, or wanted; seldom, because it is the end of borrowing."""
        if number == SELDOM:
            self._closing = True
            self._closer = self.bubble.loop.create_task(self.close(), name="closes")

    @invariant()
    def size_is_kept(self) -> None:
        assert self._alive <= self.max_size, f"{self._alive} values are alive, {self.max_size} are allowed"
        check = getattr(self.pool, "_check_invariants", None)
        if check is not None:
            check()

    async def shut_down(self) -> None:
        left = self.running()
        if left:
            await asyncio.wait(left, timeout=1000)
        assert not [task for task in left if not task.done()], "a borrower waits for ever"
        if self._closer is None:
            await self.close()
        else:
            await asyncio.wait([self._closer], timeout=1000)
            assert self._closer.done(), "a close waits for ever"
            self._closer.result()
