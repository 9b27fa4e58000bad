"""The books of a pool: its slots, its line of borrowers, and the words for both.

Theory of operation
-------------------

Borrowers stand in one line, first come first served; what becomes free goes to the head of the line in the very step in
which it becomes free (direct hand-over), so that nobody overtakes and no wake-up can be lost. A borrower that was
cancelled in the step after the hand-over passes it on.

Creating, checking, resetting and destroying are chores of the pool (`_chores`): they belong to nobody in the line.
`_pump` starts as many as the line needs; when one ends, `_supply` gives its value to whoever is first *then*, or to
nobody, in which case it is idle. So a borrower that leaves takes nothing along.

A slot holds its place from the first step of its creation to the last of its destruction: the pool never has more than
``max_size`` values, seen from the other end of the connection as well.
"""

from __future__ import annotations

import random
from asyncio import Future, Handle
from collections import OrderedDict
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Generic, TypeVar

from .._chores import Chores, Overdue, as_failure, end_process
from .._ground import kernel, trace
from .._ground.checks import checked_limit, checked_timeout
from .._ground.closing import OwnerState
from .._ground.errors import OwnerClosed, PoolTimeout, is_fatal
from .._lender import Lender, borrower_in_words
from .loans import CHECKING, CREATING, DESTROYING, GONE, IDLE, LENT, RESETTING, Slot, SlotState

T = TypeVar("T")

OPEN = OwnerState.OPEN
FOREVER = kernel.FOREVER

#: Seconds before a value that is missing below ``min_size`` is tried again: the first time, and at most.
RETRY = (0.5, 30.0)


class PoolBooks(Lender, Generic[T]):
    """What a pool holds, and every step that changes it."""

    __slots__ = (
        "_armed_for",
        "_bypass",
        "_check",
        "_check_failures",
        "_chores",
        "_clock",
        "_counter",
        "_create",
        "_create_failures",
        "_created",
        "_destroy",
        "_destroy_errors",
        "_destroyed",
        "_discarded",
        "_idle",
        "_jitter",
        "_leak_threshold",
        "_lifetime",
        "_line",
        "_max_idle",
        "_max_waiting",
        "_nothing",
        "_pumping",
        "_random",
        "_refused",
        "_reset",
        "_retry_at",
        "_retry_delay",
        "_simple",
        "_slots",
        "_timed",
        "_timeouts",
        "_timer",
        "_untimed",
        "create_timeout",
        "max_size",
        "min_size",
    )

    def __init__(
        self,
        create: Callable[[], Any],
        destroy: Callable[[T], object],
        *,
        max_size: int,
        min_size: int,
        max_idle: float | None,
        max_lifetime: float | None,
        lifetime_jitter: float,
        check: Callable[[T], object] | None,
        check_bypass: float,
        reset: Callable[[T], object] | None,
        max_waiting: int | None,
        leak_threshold: float | None,
        name: str,
        create_timeout: float | None,
        close_timeout: float | None,
    ) -> None:
        super().__init__(name, close_timeout)
        checked_limit(max_size, what="max_size")
        checked_limit(min_size, what="min_size", least=0)
        if min_size > max_size:
            raise ValueError(f"min_size must be at most max_size, got {min_size} and {max_size}")
        if not 0.0 <= lifetime_jitter < 1.0:
            raise ValueError(f"lifetime_jitter must be a part from 0 to less than 1, got {lifetime_jitter}")
        self.max_size: int = max_size
        self.min_size: int = min_size
        self.create_timeout: float = checked_timeout(create_timeout, "create_timeout")
        self._create = create
        self._destroy = destroy
        self._check = check
        self._reset = reset
        self._bypass = checked_timeout(check_bypass, "check_bypass")
        self._max_idle = checked_timeout(max_idle, "max_idle")
        self._lifetime = checked_timeout(max_lifetime, "max_lifetime")
        if not self._lifetime:
            raise ValueError("max_lifetime must be more than 0 seconds, or None for no bound: nothing could be lent")
        self._leak_threshold = checked_timeout(leak_threshold, "leak_threshold")
        self._jitter = lifetime_jitter
        self._max_waiting = checked_limit(max_waiting, what="max_waiting", least=0)
        self._random = random.random
        self._clock: Callable[[], float] = self._bind_clock
        times = (self._max_idle, self._lifetime, self._leak_threshold)
        self._timed = check is not None or any(seconds != FOREVER for seconds in times)
        self._untimed = not self._timed
        self._simple = not self._timed and reset is None  # whether what comes back well is idle, and that is all
        self._slots: dict[Slot[T], None] = {}
        self._idle: list[Slot[T]] = []  # the last to come back is the first to go out
        # Not a dict: taking the first key of a dict whose head was emptied walks over all the holes.
        self._line: OrderedDict[Future[Slot[T] | BaseException], None] = OrderedDict()
        # A future that is done, once there is a loop: what leaving a loan returns.
        self._nothing: Future[None] | None = None
        self._chores = Chores()
        self._pumping = False
        self._timer: Handle | None = None
        self._armed_for = FOREVER
        self._retry_delay = self._retry_at = 0.0
        self._counter = self._created = self._destroyed = self._discarded = 0
        self._create_failures = self._check_failures = self._destroy_errors = self._timeouts = self._refused = 0

    def _bind_clock(self) -> float:
        self._clock = kernel.clock()
        return self._clock()

    # The line

    def _leave_line(self, place: Future[Slot[T] | BaseException]) -> None:
        """See to a borrower that was cancelled; what it got in the same step goes to the next."""
        self._line.pop(place, None)
        if place.cancelled() or not place.done():
            self._progress()
            return
        answer = place.result()
        if isinstance(answer, Slot):
            self._supply(answer)
        elif not isinstance(answer, (PoolTimeout, OwnerClosed)):
            self._report_error("creation of a value", answer)

    def _time_out(self, place: Future[Slot[T] | BaseException], limit: float) -> None:
        if self._line.pop(place, 0) is None and not place.done():
            self._timeouts += 1
            place.set_result(
                PoolTimeout(
                    f"no value of {self} became free within {limit:g} s: {self._account()}. "
                    "Return values sooner, wait longer, or raise max_size"
                )
            )
            self._progress()

    def _first_in_line(self) -> Future[Slot[T] | BaseException] | None:
        """Take the first borrower that still waits out of the line."""
        while self._line:
            place, _ = self._line.popitem(last=False)
            if not place.done():
                return place
        return None

    def _supply(self, slot: Slot[T]) -> None:
        """Give a value that is ready to the first in line, or make it idle."""
        raise NotImplementedError

    # Work on a slot

    def _begin(
        self,
        work: Callable[[T], object],
        slot: Slot[T],
        name: str,
        then: Callable[[Slot[T], BaseException | None, object], None],
        overdue: Overdue | None = None,
    ) -> None:
        """Call ``work(value)``, and *then* with what came of it: at once, or when the chore it takes has ended.

        Nothing that ``work`` raises reaches the step that this is part of, which may be somebody else's.
        """
        try:
            pending = work(slot.value)
        except BaseException as error:
            if is_fatal(error):
                end_process(error)
            then(slot, as_failure(error, name), None)
            return
        if isawaitable(pending):
            self._chores.begin(
                pending,
                name,
                timeout=self.close_timeout,
                settle=lambda chore: then(slot, chore.error, chore.result if chore.error is None else None),
                overdue=overdue,
            )
        else:
            then(slot, None, pending)

    def _forget(self, slot: Slot[T]) -> None:
        slot.state = GONE
        del self._slots[slot]
        trace.closed(slot.token)

    # Questions

    def _coming(self, *states: SlotState) -> int:
        """How many values in one of these states are on their way to the line, or back to being idle."""
        return sum(slot.state in states for slot in self._slots)

    def _has_room(self) -> bool:
        """Whether another value may be made."""
        return len(self._slots) < self.max_size and self._closed_future is None

    def _is_over(self, slot: Slot[T], now: float) -> bool:
        """Whether an idle value has had its time."""
        if slot.outdated or slot.dies_at <= now:
            return True
        return now >= slot.since + self._max_idle and len(self._slots) > self.min_size

    def _needs_check(self, slot: Slot[T], now: float) -> bool:
        return self._check is not None and now - slot.since >= self._bypass

    def _is_too_big(self) -> bool:
        surplus = len(self._slots) - self.max_size
        return surplus > 0 and surplus > sum(slot.state is DESTROYING for slot in self._slots)

    def _is_drained(self) -> bool:
        return not self._line and not any(slot.state is LENT for slot in self._slots)

    # Words

    def _label(self, slot: Slot[T]) -> str:
        return f"value {slot.number} of {self}"

    def _stack_of(self, slot: Slot[T]) -> tuple[str, ...]:
        task = slot.borrower
        return kernel.suspended_at(task) if task is not None and not task.done() else ()

    def _borrower_of(self, slot: Slot[T]) -> str:
        task = slot.borrower
        if task is None:
            return f"{self._label(slot)}, on its way to a borrower"
        return f"{self._label(slot)}, lent to {borrower_in_words(task)}"

    def _account(self) -> str:
        lent = sum(slot.state is LENT for slot in self._slots)
        return f"{len(self._slots)} of {self.max_size} values, {lent} of them lent, {len(self._line)} waiting"

    # Checking

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        with_value = sum(slot.state is not CREATING for slot in self._slots)
        assert self._created == with_value + self._destroyed, (self._created, with_value, self._destroyed)
        assert {slot for slot in self._slots if slot.state is IDLE} == set(self._idle)
        assert len(set(self._idle)) == len(self._idle)
        waiting = sum(not place.done() for place in self._line)
        coming = self._coming(CREATING, CHECKING, RESETTING)
        assert not self._idle or waiting <= self._coming(CREATING, CHECKING), "waiters beside idle values"
        full = len(self._slots) >= self.max_size
        assert not waiting or coming >= waiting or full or self._closed_future is not None, "a waiter nobody works for"
        if self._state is OwnerState.CLOSED:
            assert all(slot.state in (LENT, DESTROYING) for slot in self._slots)
