"""Pool: interchangeable values, lent to one borrower at a time, in order of arrival."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar, overload

from typing_extensions import Unpack

from .._ground import kernel
from .._ground.checks import checked_count, checked_timeout
from .._ground.errors import PoolTimeout
from .._ground.roots import Portrait, Thing, enroll
from .._ground.trace import mark_in
from .._lender import CLOSED, OPEN, Closing, Lender
from .admission import Admission
from .counter import Counter
from .line import Line
from .loans import Loan, TryLoan
from .making import Makes, Opens, PoolOptions
from .slot import CHECKING, CREATING, DESTROYING, IDLE, LENT, RESETTING, SlotState
from .statistics import PoolStatistics
from .upkeep import Upkeep
from .workshop import Workshop

T = TypeVar("T")


class Pool(Counter[T], Lender):
    """Keeps interchangeable values (connections, sessions, workers) and lends each to one borrower at a time.

    Borrowers are served first come first served, by direct hand-over: no slot, wake-up or cancellation is ever lost.
    What comes back after an error, a cancellation included, is destroyed and not lent again. Everything that is
    awaited runs in tasks of the pool with a deadline, so that no borrower's cancellation reaches a value half made.

    Do not use it for values with an identity: that is a ``Registry``. Do not use it to bound work that needs no value:
    that is a ``TaskManager`` with a limit, or a semaphore.

    Borrowing a value that is at hand, and returning one, never suspends and is not a checkpoint. All methods belong
    into the loop's thread.

    Example::

        async with Pool(connect, Connection.aclose, max_size=10, max_idle=300.0) as pool:
            async with pool.acquire(timeout=5.0) as connection:
                await connection.execute("select 1")

    Args:
        create: makes a value; synchronous or asynchronous, without arguments.
        destroy: ends one; synchronous or asynchronous.
        name: for logs, errors and statistics.
        max_size: how many values there may be, those included that are being made or ended; from 1.
        min_size: how many to keep ready from the start of the block on.
        max_idle: seconds after which a free value is destroyed, down to ``min_size``; None for no bound.
        max_lifetime: seconds after which a value is destroyed, whether it is found so when it is lent, returned, or
            free; None for no bound. A value is never taken from its borrower.
        lifetime_jitter: the part of ``max_lifetime`` by which a value may die earlier, so that not all do together.
        check: called with a value before it is lent; it fails by raising or by returning False, and is destroyed then.
        check_bypass: seconds for which a returned value counts as good without a check.
        check_every: seconds after which a free value that nobody has used or checked is checked, one at a time, so that
            one that has died is replaced before anybody wants it; None for never.
        check_timeout: seconds that a check may take, and the end of a value that has not answered; no longer than
            ``close_timeout``, None for as long.
        reset: called with a value that came back, before the next borrower gets it; an error destroys the value.
        reset_timeout: seconds that a reset may take; no longer than ``close_timeout``, None for as long.
        pending_limit: how many borrowers may wait in line, from 0; None for no bound.
        acquire_timeout: seconds that a borrower waits in line who does not say how long; None for ever.
        max_creating: how many values may be made at once, from 1; None for no bound. After failures it is one, then
            two, four and so on, in either case.
        leak_threshold: seconds after which a loan is logged, with where it was borrowed and what the borrower does.
        create_timeout: seconds that a creation may take, None for ever.
        close_timeout: seconds that each destruction may take, and that closing waits for loans.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ("__weakref__",)

    @overload
    def __init__(self, create: Opens[T], destroy: Callable[[T], object], **options: Unpack[PoolOptions[T]]) -> None: ...
    @overload
    def __init__(self, create: Makes[T], destroy: Callable[[T], object], **options: Unpack[PoolOptions[T]]) -> None: ...
    def __init__(
        self,
        create: Callable[[], Awaitable[T] | T],
        destroy: Callable[[T], object],
        *,
        name: str | None = None,
        max_size: int,
        min_size: int = 0,
        max_idle: float | None = None,
        max_lifetime: float | None = None,
        lifetime_jitter: float = 0.05,
        check: Callable[[T], object] | None = None,
        check_bypass: float = 0.5,
        check_every: float | None = None,
        check_timeout: float | None = 5.0,
        reset: Callable[[T], object] | None = None,
        reset_timeout: float | None = 5.0,
        pending_limit: int | None = None,
        acquire_timeout: float | None = None,
        max_creating: int | None = None,
        leak_threshold: float | None = None,
        create_timeout: float | None = 60.0,
        close_timeout: float | None = 30.0,
    ) -> None:
        super().__init__(
            max_size=max_size,
            min_size=min_size,
            max_idle=max_idle,
            max_lifetime=max_lifetime,
            check_bypass=check_bypass,
            check_every=check_every,
            needs_checks=check is not None,
            leak_threshold=leak_threshold,
        )
        self._closing = closing = Closing(self, "pool", name, close_timeout)
        self._line = Line(self, closing, pending_limit, acquire_timeout)
        self._workshop = workshop = Workshop(
            self,
            self,
            closing,
            create,
            destroy,
            check,
            reset,
            create_timeout,
            check_timeout,
            reset_timeout,
            lifetime_jitter,
        )
        self._admission = Admission(max_creating, self._use_room, lambda: workshop.random())
        self._upkeep = Upkeep(self, workshop, closing, self._may_create)
        self._resets = reset is not None
        self._open_counter()
        enroll(self)  # last: a snapshot finds it whole

    @property
    def create_timeout(self) -> float:
        """Seconds that a creation may take; infinity for no bound."""
        return self._workshop.timeout

    async def __aenter__(self) -> Self:
        """Start to create ``min_size`` values, in the background; does not suspend."""
        self._closing.enter()
        self._come_home()
        self._upkeep.refill()
        return self

    async def wait_ready(self, *, timeout: float | None = None) -> None:
        """Wait until ``min_size`` values are there, or a first one where that is 0; creations that fail are retried.

        For the start of a program: without it, what keeps values from being made is only logged. It works with and
        without a block around it, and leaves the pool open, whatever comes of it.

        Cancellation: ends the waiting, and changes nothing.

        Args:
            timeout: seconds to wait at most, None for ever.

        Raises:
            PoolTimeout: they were not there in time; the cause is the error of the last creation that failed meanwhile.
            OwnerClosed: the pool is closing or closed, or closed meanwhile.
        """
        limit = checked_timeout(timeout, "timeout")
        self._come_home()
        closing, upkeep = self._closing, self._upkeep
        closing.check_open("a wait until it is ready")
        ready, error = await upkeep.until_ready(limit)
        closing.check_open("a wait until it is ready")
        if not ready:
            raise PoolTimeout(
                f"{self} was not ready within {limit:g} s: {self._account()}, {self._workshop.create_failures} "
                "creations failed. See the cause, or wait longer"
            ) from error

    # Borrowing

    def acquire(self, *, timeout: float | None = None) -> Loan[T]:
        """Return an asynchronous context manager that lends a value to its block.

        Entering it waits in line where nothing is free. Leaving it by an error, a cancellation included, destroys the
        value; so does ``loan.discard()``. Otherwise the value is reset and goes to the next.

        Cancellation: while it waits, nothing is taken; a creation that was started on its behalf goes on, for the
        next in line. Leaving the block never suspends.

        Args:
            timeout: seconds to wait in line at most, None for the pool's ``acquire_timeout``; infinity for no bound.

        Raises (on entering, but for what *timeout* cannot be):
            TypeError, ValueError: *timeout* is not a number of seconds from 0.
            PoolTimeout: nothing became free in time.
            PoolFull: ``pending_limit`` borrowers wait already.
            OwnerClosed: the pool is closing or closed, or closed meanwhile.
            BaseException: what ``create`` raised: a failed creation fails the borrower that is first in line, and from
                the third in a row on all who were in line when it began.
            RuntimeError: all who have a value wait for another one, for ever.
            WrongLoop: the pool has values in another event loop, which is not closed; it is a ``RuntimeError``.
        """
        return Loan(self, None if timeout is None else checked_timeout(timeout, "timeout"))

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
            TypeError, ValueError: *max_size* is not a whole number from 1 and ``min_size``.
        """
        checked_count(max_size, "max_size", least=max(1, self.min_size))
        self._come_home()
        self.max_size = max_size
        with self._workshop.together:
            surplus = max(0, self._number_alive() - max_size)
            leaving, self._idle[:surplus] = self._idle[:surplus], []
            for slot in leaving:
                self._workshop.end(slot)
            self._choose_path()
            self._serve_line()

    def expire(self) -> None:
        """Destroy every value there is: free ones now, lent ones when they come back; after a failover, say."""
        self._come_home()
        for slot in self._slots:
            slot.outdated = True
        self._end_idle()

    def close(self) -> None:
        """Refuse new borrowers from now on; those who wait are served, and what is free is destroyed. Idempotent."""
        if self._closing.state is OPEN:
            super().close()
            self._takes_back_idle = False
            if kernel.has_loop():  # what is left without one is ended by `aclose`
                self._come_home()
                self._end_idle()
                self._closing.progress()

    # Looking

    def statistics(self) -> PoolStatistics:
        """Return what the pool has done and holds at this moment; costs a look at every value."""
        count = dict.fromkeys(SlotState, 0)
        for slot in self._slots:
            count[slot.state] += 1
        return PoolStatistics(
            name=self.name,
            state=self._closing.state.value,
            max_size=self.max_size,
            size=len(self._slots),
            creating=count[CREATING],
            idle=count[IDLE],
            checking=count[CHECKING],
            lent=count[LENT],
            resetting=count[RESETTING],
            destroying=count[DESTROYING],
            waiting=len(self._waiting),
            created=self._created,
            destroyed=self._destroyed,
            create_failures=self._workshop.create_failures,
            check_failures=self._workshop.check_failures,
            destroy_errors=self._workshop.destroy_errors,
            discarded=self._workshop.discarded,
            timeouts=self._line.timeouts,
            refused=self._line.refused,
        )

    def __len__(self) -> int:
        """How many values there are, those included that are being made or ended."""
        return len(self._slots)

    def _portrait(self) -> Portrait:
        """Describe the values, the work on them, and how many wait, for a snapshot."""
        chores, closing = self._workshop.chores.live.values(), self._closing
        things = [
            *(Thing("task", chore.name, "running", task=chore.task) for chore in chores),
            *self._things(closing.account),
        ]
        counts = {"max_size": self.max_size, "waiting": len(self._waiting)}
        return Portrait("pool", self.name, closing.state.value, None, things, counts, mark_in(closing.account))

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        super()._check_invariants()
        if self._closing.state is CLOSED:
            assert all(slot.state in (LENT, DESTROYING) for slot in self._slots)

    def __del__(self) -> None:
        if getattr(self, "_workshop", None) is not None and self._slots and self._closing.state is OPEN:
            warnings.warn(
                f"{self} was dropped with {len(self._slots)} values in it; close it with `await pool.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
