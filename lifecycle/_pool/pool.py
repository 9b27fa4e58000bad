"""Pool: interchangeable values, lent to one borrower at a time, in order of arrival."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

from .._ground import trace
from .._ground.checks import checked_callable, checked_limit, checked_timeout
from .._ground.closing import OwnerState
from .._ground.roots import enroll
from .books import OPEN
from .lending import Lending
from .loans import IDLE, LENT, Loan, SlotState, TryLoan
from .statistics import PoolStatistics

T = TypeVar("T")


class Pool(Lending[T]):
    """Keeps interchangeable values (connections, sessions, workers) and lends each to one borrower at a time.

    Borrowers are served first come first served, by direct hand-over: no slot, wake-up or cancellation is ever lost.
    What comes back after an error, a cancellation included, is destroyed and not lent again. Everything that is
    awaited runs in tasks of the pool with a deadline, so that no borrower's cancellation reaches a value half made.

    Do not use it for values with an identity: that is a ``Registry``. Do not use it to bound work that needs no value:
    that is a ``TaskManager`` with a limit, or a semaphore.

    Borrowing a value that is at hand, and returning one, never suspends and is no checkpoint. All methods belong into
    the loop's thread.

    Example::

        async with Pool(connect, Connection.aclose, max_size=10, max_idle=300.0) as pool:
            async with pool.acquire(timeout=5.0) as connection:
                await connection.execute("select 1")

    Args:
        create: makes a value; synchronous or asynchronous, without arguments.
        destroy: ends one; synchronous or asynchronous.
        max_size: how many values there may be, those included that are being made or ended; from 1.
        min_size: how many to keep ready from the start of the block on.
        max_idle: seconds after which a free value is destroyed, down to ``min_size``; None for no bound.
        max_lifetime: seconds after which a value is destroyed, whether it is found so when it is lent, returned, or
            free; None for no bound. A value is never taken from its borrower.
        lifetime_jitter: the part of ``max_lifetime`` by which a value may die earlier, so that not all do together.
        check: called with a value before it is lent; it fails by raising or by returning False, and is destroyed then.
        check_bypass: seconds for which a returned value counts as good without a check.
        reset: called with a value that came back, before anybody else gets it; an error destroys the value.
        max_waiting: how many borrowers may wait in line, from 0; None for no bound.
        leak_threshold: seconds after which a loan is logged, with where it was borrowed and what the borrower does.
        name: for logs, errors and statistics.
        create_timeout: seconds that a creation may take, None for ever.
        close_timeout: seconds that each check, reset and destruction may take, and that closing waits for loans.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ()

    def __init__(
        self,
        create: Callable[[], Awaitable[T] | T],
        destroy: Callable[[T], object],
        *,
        max_size: int,
        min_size: int = 0,
        max_idle: float | None = None,
        max_lifetime: float | None = None,
        lifetime_jitter: float = 0.05,
        check: Callable[[T], object] | None = None,
        check_bypass: float = 0.5,
        reset: Callable[[T], object] | None = None,
        max_waiting: int | None = None,
        leak_threshold: float | None = None,
        name: str | None = None,
        create_timeout: float | None = 60.0,
        close_timeout: float | None = 30.0,
    ) -> None:
        checked_callable(create, "create")
        checked_callable(destroy, "destroy")
        super().__init__(
            create,
            destroy,
            max_size=max_size,
            min_size=min_size,
            max_idle=max_idle,
            max_lifetime=max_lifetime,
            lifetime_jitter=lifetime_jitter,
            check=check,
            check_bypass=check_bypass,
            reset=reset,
            max_waiting=max_waiting,
            leak_threshold=leak_threshold,
            name=name or "pool",
            create_timeout=create_timeout,
            close_timeout=close_timeout,
        )
        enroll(self)  # last: whoever looks finds it whole

    async def __aenter__(self) -> Self:
        """Start to create ``min_size`` values, in the background."""
        self._check_open("an async with block")
        if trace.sink is not None and self._token is None:
            self._token = trace.opened("pool", self.name)
        self._refill()
        return self

    # Borrowing

    def acquire(self, *, timeout: float | None = None) -> Loan[T]:
        """Return an asynchronous context manager that lends a value to its block.

        Entering it waits in line where nothing is free. Leaving it by an error, a cancellation included, destroys the
        value; so does ``loan.discard()``. Otherwise the value is reset and goes to the next.

        Cancellation: while it waits, nothing is taken; a creation that was started on its behalf goes on, for the
        next in line. Leaving the block never suspends.

        Args:
            timeout: seconds to wait in line at most, None for ever.

        Raises (on entering):
            PoolTimeout: nothing became free in time.
            PoolFull: ``max_waiting`` borrowers wait already.
            OwnerClosed: the pool is closing or closed, or closed meanwhile.
            BaseException: what ``create`` raised: a failed creation fails the borrower that is first in line.
        """
        return Loan(self, timeout)

    def try_acquire(self) -> TryLoan[T]:
        """Return a synchronous context manager that lends a value that is free now and needs no check.

        Raises (on entering):
            PoolFull: there is none.
            OwnerClosed: the pool is closing or closed.
        """
        return TryLoan(self)

    # Changing and closing

    def resize(self, max_size: int) -> None:
        """Change how many values there may be. A higher number serves waiting borrowers at once.

        A lower number destroys free values at once and lent ones when they come back.

        Raises:
            TypeError, ValueError: *max_size* is no whole number from 1 and ``min_size``.
        """
        checked_limit(max_size, what="max_size", least=max(1, self.min_size))
        self.max_size = max_size
        self._simple = False
        while self._is_too_big() and self._idle:
            self._end(self._idle.pop(0))
        self._pump()

    def expire(self) -> None:
        """Destroy every value there is: free ones now, lent ones when they come back; after a failover, say."""
        for slot in self._slots:
            slot.outdated = True
        idle, self._idle = self._idle, []
        for slot in idle:
            self._end(slot)

    def close(self) -> None:
        """Refuse new borrowers from now on; who waits or has borrowed goes on. Idempotent."""
        if self._state is OPEN:
            self._state = OwnerState.CLOSING
            self._simple = False
            idle, self._idle = self._idle, []
            for slot in idle:
                self._end(slot)

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until every loan has come back and nobody waits; return whether that came true in time.

        New borrowers are served meanwhile; call `close` first to keep them out.

        Cancellation: ends the waiting; no loan is touched.

        Args:
            timeout: seconds to wait at most, None for as long as it takes.
        """
        limit = checked_timeout(timeout, "timeout")
        return await self._wait_until(self._is_drained, limit)

    # The books

    def statistics(self) -> PoolStatistics:
        """Return what the pool has done and holds at this moment; costs a look at every value."""
        count = dict.fromkeys(SlotState, 0)
        for slot in self._slots:
            count[slot.state] += 1
        return PoolStatistics(
            name=self.name,
            state=self._state.value,
            max_size=self.max_size,
            size=len(self._slots),
            creating=count[SlotState.CREATING],
            idle=count[IDLE],
            checking=count[SlotState.CHECKING],
            lent=count[LENT],
            resetting=count[SlotState.RESETTING],
            destroying=count[SlotState.DESTROYING],
            waiting=len(self._line),
            created=self._created,
            destroyed=self._destroyed,
            create_failures=self._create_failures,
            check_failures=self._check_failures,
            destroy_errors=self._destroy_errors,
            discarded=self._discarded,
            timeouts=self._timeouts,
            refused=self._refused,
        )

    def __len__(self) -> int:
        """How many values there are, those included that are being made or ended."""
        return len(self._slots)

    def __repr__(self) -> str:
        return f"pool {self.name!r}"

    def __del__(self) -> None:
        if getattr(self, "_idle", None) and self._state is OPEN:
            warnings.warn(
                f"{self} was dropped with {len(self._idle)} values in it; close it with `await pool.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
