"""Pool: interchangeable values, lent to one borrower at a time, in order of arrival."""

from __future__ import annotations

import warnings
from asyncio import Future, Task
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Self, TypeVar, overload

from typing_extensions import Unpack

from .._ground import kernel
from .._ground.checks import checked_count
from .._ground.errors import CreationTimeout, PoolFull, TaskCancelled
from .._ground.roots import Portrait, Thing, enroll
from .._ground.trace import mark_in
from .._lender import CLOSED, OPEN, Closing, ComeBack, Lender, ReturnReport
from .line import Line
from .loans import Loan, TryLoan
from .making import Makes, Opens, PoolOptions
from .slot import CHECKING, CREATING, DESTROYING, IDLE, LENT, RESETTING, Slot, SlotState
from .statistics import PoolStatistics
from .stock import Stock
from .upkeep import Upkeep
from .workshop import Workshop

T = TypeVar("T")


class Pool(Stock[T], Lender):
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
        reset: called with a value that came back, before the next borrower gets it; an error destroys the value.
        pending_limit: how many borrowers may wait in line, from 0; None for no bound.
        leak_threshold: seconds after which a loan is logged, with where it was borrowed and what the borrower does.
        create_timeout: seconds that a creation may take, None for ever.
        close_timeout: seconds that each check, reset and destruction may take, and that closing waits for loans.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = (
        "__weakref__",
        "_closing",
        "_done",
        "_lends_idle",
        "_line",
        "_resets",
        "_serving_line",
        "_takes_back_idle",
        "_upkeep",
        "_waiting",
        "_watchers",
        "_workshop",
    )

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
        reset: Callable[[T], object] | None = None,
        pending_limit: int | None = None,
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
            needs_checks=check is not None,
            leak_threshold=leak_threshold,
        )
        self._closing = closing = Closing(self, "pool", name, close_timeout)
        self._line = Line(self, closing, pending_limit)
        self._workshop = workshop = Workshop(
            self, self, closing, create, destroy, check, reset, create_timeout, lifetime_jitter
        )
        self._upkeep = Upkeep(self, workshop, closing)
        self._serving_line = False
        self._resets = reset is not None
        # What the shortest path of a loan looks at: the line and the watchers, without a look-up; whether what is free
        # may be lent as it is; whether what comes back well is free, and that is all; and what leaving a loan returns,
        # a future that is done, once there is a loop.
        self._waiting = self._line.places
        self._watchers = closing.watchers
        self._lends_idle = not self._timed
        self._takes_back_idle = not (self._timed or self._resets)
        self._done: Future[None] | None = None
        enroll(self)  # last: a snapshot finds it whole

    @property
    def create_timeout(self) -> float:
        """Seconds that a creation may take; infinity for no bound."""
        return self._workshop.timeout

    async def __aenter__(self) -> Self:
        """Start to create ``min_size`` values, in the background; does not suspend."""
        self._closing.enter()
        self._upkeep.refill()
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
            PoolFull: ``pending_limit`` borrowers wait already.
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
            TypeError, ValueError: *max_size* is not a whole number from 1 and ``min_size``.
        """
        checked_count(max_size, "max_size", least=max(1, self.min_size))
        self.max_size = max_size
        self._takes_back_idle = False
        surplus = max(0, len(self._slots) - max_size - self._count_in(DESTROYING))
        leaving, self._idle[:surplus] = self._idle[:surplus], []
        for slot in leaving:
            self._workshop.end(slot)
        self._serve_line()

    def expire(self) -> None:
        """Destroy every value there is: free ones now, lent ones when they come back; after a failover, say."""
        for slot in self._slots:
            slot.outdated = True
        self._end_idle()

    def close(self) -> None:
        """Refuse new borrowers from now on; those who wait are served, and what is free is destroyed. Idempotent."""
        if self._closing.state is OPEN:
            super().close()
            self._takes_back_idle = False
            self._end_idle()

    # Supply and demand

    def _serve_line(self) -> None:
        """Start as many creations and checks as the line needs and the pool has room for.

        What ends at once comes back here, as deep as there are values; so only the outermost call does the work.
        """
        if self._serving_line or not self._waiting or not (self._idle or len(self._slots) < self.max_size):
            return
        self._serving_line = True
        try:
            while self._idle and self._count_in(CREATING, CHECKING) < len(self._waiting):
                self._check_or_lend(self._idle.pop())
            while self._has_room() and self._count_in(CREATING, CHECKING, RESETTING) < len(self._waiting):
                self._workshop.make()
        finally:
            self._serving_line = False

    def _has_room(self) -> bool:
        return len(self._slots) < self.max_size and not self._closing.begun

    def _use_room(self) -> None:
        self._serve_line()
        self._upkeep.refill()
        self._closing.progress()

    def _check_or_lend(self, slot: Slot[T]) -> None:
        """Lend an idle value to the line, checked first where it needs to be."""
        now = self._now()
        if self._has_expired(slot, now):
            self._workshop.end(slot)
        elif self._needs_check(slot, now):
            self._workshop.check(slot)
        else:
            self._lend_or_keep(slot)

    def _lend_or_keep(self, slot: Slot[T]) -> None:
        """Give a value that is ready to the first in line, or make it idle; unless its time is over."""
        now = self._now()
        if slot.outdated or self._closing.begun or slot.dies_at <= now or self._is_too_big():
            self._workshop.end(slot)
            return
        place = self._line.first()
        if place is not None:
            self._move(slot, LENT)
            slot.since = now
            place.set_result(slot)
        elif self._closing.state is not OPEN:  # no borrower will come any more
            self._workshop.end(slot)
        else:
            self._move(slot, IDLE)
            slot.since = now
            self._idle.append(slot)
            if self._timed:
                self._upkeep.wake_by(min(slot.dies_at, now + self._max_idle))
            self._closing.progress()

    def _creation_succeeded(self, slot: Slot[T]) -> None:
        self._upkeep.retry_at_once()
        if self._done is None:
            self._done = kernel.running_loop().create_future()
            self._done.set_result(None)
        self._lend_or_keep(slot)

    def _creation_failed(self, slot: Slot[T], error: BaseException) -> None:
        """Tell the first in line, and try for the others; where the line is empty, try again later for ``min_size``."""
        place = self._line.first()
        if place is not None:
            place.set_result(error)
        elif not self._closing.begun:
            self._closing.report_error("creation failed", error, slot=slot.number)
            self._upkeep.retry_later()
        elif not isinstance(error, (TaskCancelled, CreationTimeout)):  # our own words for one that was stopped
            self._closing.report_error("creation failed", error, slot=slot.number)

    # Lending

    def _lend_idle(self) -> Slot[T] | None:
        while self._idle:
            slot = self._idle.pop()
            if self._timed:
                now = self._clock()
                if self._has_expired(slot, now):
                    self._workshop.end(slot)
                    continue
                if self._needs_check(slot, now):
                    self._idle.append(slot)
                    return None
                self._upkeep.watch_loan(slot, now)
            slot.state = LENT
            slot.borrower = kernel.current_task()
            return slot
        return None

    def _note_borrower(self, slot: Slot[T]) -> None:
        slot.borrower = kernel.current_task()
        if self._timed:
            self._upkeep.watch_loan(slot, self._clock())

    def _refuse_loan(self) -> NoReturn:
        self._closing.check_open("a loan")
        raise PoolFull(f"{self} has nothing free for a borrower that does not wait: {self._account()}")

    def _values_to_come(self) -> int:
        room = max(0, self.max_size - len(self._slots))
        return self._count_in(CREATING, CHECKING, RESETTING) + len(self._idle) + room

    def _take_back(self, slot: Slot[T], *, spoiled: bool = False) -> None:
        slot.borrower = None
        if self._takes_back_idle and not spoiled and not slot.outdated:
            place = self._line.first()
            if place is not None:
                place.set_result(slot)
                return
            slot.state = IDLE
            self._idle.append(slot)
        elif spoiled:
            self._workshop.discard(slot)
        elif not self._resets or slot.outdated or self._closing.begun:
            self._lend_or_keep(slot)
        else:
            self._workshop.reset(slot)
        if self._watchers:
            self._closing.progress()

    # Closing

    def _end_idle(self) -> None:
        for slot in self._take_idle():
            self._workshop.end(slot)

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        self._takes_back_idle = False
        self._upkeep.stop()
        self._line.refuse_all()
        self._workshop.stop_creations(exempt)
        self._end_idle()

    def _has_come_back(self, exempt: frozenset[Task[Any]], *, closing: bool) -> Callable[[], bool]:
        return ComeBack(self._number_lent, lambda: len(self._lent_to_others(exempt)))

    def _is_quiet(self, exempt: frozenset[Task[Any]]) -> bool:
        return self._workshop.chores.idle(exempt)

    def _lent_to_others(self, exempt: frozenset[Task[Any]]) -> list[Slot[T]]:
        return [slot for slot in self._lent() if slot.borrower not in exempt]

    def _borrowers(self) -> set[Task[Any]]:
        return {slot.borrower for slot in self._lent() if slot.borrower is not None}

    def _still_out(self, exempt: frozenset[Task[Any]]) -> ReturnReport:
        lent = tuple(self._borrower_of(slot) for slot in self._lent_to_others(exempt))
        return ReturnReport(lent, (f"{len(self._waiting)} borrowers in line",) if self._waiting else ())

    def _borrowed(self) -> list[str]:
        return [self._borrower_of(slot) for slot in self._lent()]

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

    def _account(self) -> str:
        lent, waiting = self._number_lent(), len(self._waiting)
        return f"{len(self._slots)} of {self.max_size} values, {lent} of them lent, {waiting} waiting"

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
        waiting = sum(not place.done() for place in self._waiting)
        coming = self._count_in(CREATING, CHECKING, RESETTING)
        assert not self._idle or waiting <= self._count_in(CREATING, CHECKING), "waiters beside idle values"
        full = len(self._slots) >= self.max_size
        assert not waiting or coming >= waiting or full or self._closing.begun, "a waiter for whom nothing is under way"
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
