"""The books of a pool: every change of state as one plain synchronous step.

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
from asyncio import Future, Handle, Task
from collections import OrderedDict
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Generic, TypeVar

from . import _kernel as kernel
from . import _trace
from ._chores import Chore, Chores
from ._closing import OwnerState, checked_timeout
from ._errors import OwnerClosed, PoolFull, PoolTimeout
from ._lender import Lender, logger
from ._loans import Slot, SlotState
from ._slots import checked_limit

T = TypeVar("T")

OPEN = OwnerState.OPEN
FOREVER = kernel.FOREVER
CREATING, IDLE, CHECKING, LENT, RESETTING, DESTROYING, GONE = SlotState

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
        "_random",
        "_refused",
        "_reset",
        "_retry_delay",
        "_simple",
        "_slots",
        "_timed",
        "_timeouts",
        "_timer",
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
        self.max_size = max_size
        self.min_size = min_size
        self.create_timeout = checked_timeout(create_timeout, "create_timeout")
        self._create = create
        self._destroy = destroy
        self._check = check
        self._reset = reset
        self._bypass = checked_timeout(check_bypass, "check_bypass")
        self._max_idle = checked_timeout(max_idle, "max_idle")
        self._lifetime = checked_timeout(max_lifetime, "max_lifetime")
        self._leak_threshold = checked_timeout(leak_threshold, "leak_threshold")
        self._jitter = lifetime_jitter
        self._max_waiting = checked_limit(max_waiting, what="max_waiting", least=0)
        self._random = random.random
        self._clock: Callable[[], float] = self._bind_clock
        times = (self._max_idle, self._lifetime, self._leak_threshold)
        self._timed = check is not None or any(seconds != FOREVER for seconds in times)
        self._simple = not self._timed and reset is None  # whether what comes back well is idle, and that is all
        self._slots: dict[Slot[T], None] = {}
        self._idle: list[Slot[T]] = []  # the last to come back is the first to go out
        # Not a dict: taking the first key of a dict whose head was emptied walks over all the holes.
        self._line: OrderedDict[Future[Slot[T] | BaseException], None] = OrderedDict()
        self._nothing: Any = None  # a future that is done, once there is a loop: what leaving a loan returns
        self._chores = Chores()
        self._timer: Handle | None = None
        self._armed_for = FOREVER
        self._retry_delay = 0.0
        self._counter = self._created = self._destroyed = self._discarded = 0
        self._create_failures = self._check_failures = self._destroy_errors = self._timeouts = self._refused = 0

    def _bind_clock(self) -> float:
        self._clock = kernel.clock()
        return self._clock()

    # Lending

    def _lend_idle(self) -> Slot[T] | None:
        """Return a slot whose value may be lent as it is; None where there is none at hand."""
        while self._idle:
            slot = self._idle.pop()
            if self._timed:
                now = self._clock()
                if self._is_over(slot, now):
                    self._end(slot)
                    continue
                if self._needs_check(slot, now):
                    self._idle.append(slot)
                    return None
                self._note_borrower(slot, now)
            slot.state = LENT
            slot.borrower = kernel.current_task()
            return slot
        return None

    async def _stand_in_line(self, timeout: float | None) -> Slot[T]:
        """Wait for a slot in order of arrival."""
        limit = checked_timeout(timeout, "timeout")
        self._check_open("a loan")
        self._check_line()
        place: Future[Slot[T] | BaseException] = kernel.running_loop().create_future()
        self._line[place] = None
        self._pump()
        timer = kernel.running_loop().call_later(limit, self._time_out, place, limit) if limit != FOREVER else None
        try:
            answer = await place
        except BaseException:
            self._leave_line(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(answer, BaseException):
            raise answer
        answer.borrower = kernel.current_task()
        if self._timed:
            self._note_borrower(answer, self._clock())
        return answer

    def _check_line(self) -> None:
        """Refuse a newcomer that would have to wait, where as many wait as may."""
        if self._max_waiting is None:
            return
        spare = len(self._idle) + max(0, self.max_size - len(self._slots))
        if len(self._line) - self._coming() - spare >= self._max_waiting:
            self._refused += 1
            raise PoolFull(
                f"{self} has {len(self._line)} borrowers waiting and allows {self._max_waiting}: {self._account()}. "
                "Try again later, return values sooner, or raise max_waiting or max_size"
            )

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

    def _note_borrower(self, slot: Slot[T], now: float) -> None:
        """Keep what a leak report will want to say."""
        slot.since = now
        if self._leak_threshold != FOREVER:
            slot.site = _trace.creation_site(4, skip=3)
            slot.reported = False
            self._arm(now + self._leak_threshold)

    # Taking back

    def _take_back(self, slot: Slot[T], *, spoiled: bool = False) -> None:
        """Decide what becomes of a value that came back."""
        slot.borrower = None
        if self._simple and not spoiled and not self._line and not slot.outdated:
            slot.state = IDLE
            self._idle.append(slot)
            if self._watchers:
                self._progress()
            return
        if spoiled:
            self._discarded += 1
            self._end(slot)
        elif self._reset is None or slot.outdated or self._closed_future is not None:
            self._supply(slot)
        else:
            slot.state = RESETTING
            self._begin(self._reset, slot, f"reset of {self._label(slot)}", self._reset_ended)
        if self._watchers:
            self._progress()

    def _supply(self, slot: Slot[T]) -> None:
        """Give a value that is ready to the first in line, or make it idle; unless its time is over."""
        now = self._clock() if self._timed else 0.0
        if slot.outdated or self._closed_future is not None or slot.dies_at <= now or self._is_too_big():
            self._end(slot)
            return
        place = self._first_in_line()
        if place is not None:
            slot.state = LENT
            slot.since = now
            place.set_result(slot)
            return
        if self._state is not OPEN:  # nobody will ask for it any more
            self._end(slot)
            return
        slot.state = IDLE
        slot.since = now
        self._idle.append(slot)
        if self._timed:
            self._arm(min(slot.dies_at, now + self._max_idle))
        self._progress()

    # Making ready

    def _pump(self) -> None:
        """Start as many creations and checks as the line needs and the pool has room for."""
        while self._idle or (len(self._slots) < self.max_size and self._closed_future is None):
            if self._coming() >= len(self._line):
                return
            if self._idle:
                self._prepare(self._idle.pop())
            else:
                self._make()

    def _coming(self) -> int:
        """How many values are on their way to the line."""
        return sum(slot.state in (CREATING, CHECKING, RESETTING) for slot in self._slots)

    def _prepare(self, slot: Slot[T]) -> None:
        """Lend an idle value to the line, checked first where it needs to be."""
        now = self._clock() if self._timed else 0.0
        if self._is_over(slot, now):
            self._end(slot)
        elif self._needs_check(slot, now):
            assert self._check is not None
            slot.state = CHECKING
            self._begin(self._check, slot, f"check of {self._label(slot)}", self._check_ended)
        else:
            self._supply(slot)

    def _make(self) -> None:
        self._counter += 1
        slot: Slot[T] = Slot(self._counter)
        self._slots[slot] = None
        name = f"creation of {self._label(slot)}"
        try:
            made = self._create()
        except Exception as error:
            self._creation_failed(slot, error)
            return
        except BaseException:
            self._forget(slot)
            raise
        if isawaitable(made):
            self._chores.begin(
                made,
                name,
                timeout=self.create_timeout,
                settle=lambda chore: self._creation_ended(slot, chore),
                late=self._end_late,
            )
        else:
            self._arrive(slot, made)

    def _creation_ended(self, slot: Slot[T], chore: Chore[T]) -> None:
        if chore.error is None:
            self._arrive(slot, chore.result)
        else:
            self._creation_failed(slot, chore.error)
            self._pump()
            self._progress()

    def _arrive(self, slot: Slot[T], value: T) -> None:
        self._created += 1
        self._retry_delay = 0.0
        slot.value = value
        slot.ready = self._done(value)
        if self._lifetime != FOREVER:
            slot.dies_at = self._clock() + self._lifetime * (1.0 - self._jitter * self._random())
        if _trace.sink is not None:
            slot.token = _trace.opened("connection", self._label(slot), owner=self._token)
        self._supply(slot)

    def _done(self, value: T) -> Future[T]:
        """Return a future that is done: awaiting it costs next to nothing and never suspends."""
        loop = kernel.running_loop()
        if self._nothing is None:
            self._nothing = loop.create_future()
            self._nothing.set_result(None)
        ready: Future[T] = loop.create_future()
        ready.set_result(value)
        return ready

    def _creation_failed(self, slot: Slot[T], error: BaseException) -> None:
        """Tell the first in line, and try for the others; where nobody waits, try again later for ``min_size``."""
        self._create_failures += 1
        self._forget(slot)
        place = self._first_in_line()
        if place is not None:
            place.set_result(error)
        elif self._closed_future is None:
            self._report_error(f"creation of {self._label(slot)}", error)
            self._retry_delay = min(max(2 * self._retry_delay, RETRY[0]), RETRY[1])
            self._arm(self._clock() + self._retry_delay)

    def _check_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None or verdict is False:
            self._check_failures += 1
            self._end(slot)
        else:
            self._supply(slot)

    def _reset_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None:
            self._report_error(f"reset of {self._label(slot)}", error)
            self._discarded += 1
            self._end(slot)
        else:
            self._supply(slot)

    # Ending

    def _end(self, slot: Slot[T]) -> None:
        """Destroy a slot's value; the slot keeps its place until that is over."""
        slot.state = DESTROYING
        self._begin(self._destroy, slot, f"end of {self._label(slot)}", self._destroy_ended)

    def _destroy_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        self._destroyed += 1
        if error is not None:
            self._destroy_errors += 1
            self._report_error(f"end of {self._label(slot)}", error)
        self._forget(slot)
        self._pump()
        self._refill()
        self._progress()

    def _end_late(self, value: T) -> None:
        """Take in and destroy what a creation made after it had been given up."""
        self._counter += 1
        slot: Slot[T] = Slot(self._counter)
        slot.outdated = True
        slot.value = value
        self._created += 1
        self._slots[slot] = None
        self._end(slot)

    def _forget(self, slot: Slot[T]) -> None:
        slot.state = GONE
        del self._slots[slot]
        _trace.closed(slot.token)

    def _begin(
        self,
        work: Callable[[T], object],
        slot: Slot[T],
        name: str,
        then: Callable[[Slot[T], BaseException | None, object], None],
    ) -> None:
        """Call ``work(value)``, and *then* with what came of it: at once, or when the chore it takes has ended."""
        try:
            pending = work(slot.value)
        except Exception as error:
            then(slot, error, None)
            return
        if isawaitable(pending):
            self._chores.begin(
                pending,
                name,
                timeout=self.close_timeout,
                settle=lambda chore: then(slot, chore.error, chore.result if chore.error is None else None),
            )
        else:
            then(slot, None, pending)

    # Time

    def _is_over(self, slot: Slot[T], now: float) -> bool:
        """Whether an idle value has had its time."""
        if slot.outdated or slot.dies_at <= now:
            return True
        return now - slot.since >= self._max_idle and len(self._slots) > self.min_size

    def _needs_check(self, slot: Slot[T], now: float) -> bool:
        return self._check is not None and now - slot.since >= self._bypass

    def _is_too_big(self) -> bool:
        surplus = len(self._slots) - self.max_size
        return surplus > 0 and surplus > sum(slot.state is DESTROYING for slot in self._slots)

    def _is_drained(self) -> bool:
        return not self._line and not any(slot.state is LENT for slot in self._slots)

    def _arm(self, due: float) -> None:
        """Have the upkeep run at *due* at the latest."""
        if due < self._armed_for and self._closed_future is None:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = due
            self._timer = kernel.running_loop().call_later(max(due - self._clock(), 0.0), self._upkeep)

    def _upkeep(self) -> None:
        """End what has been idle or alive too long, report what is lent too long, refill, and come back in time."""
        self._timer = None
        self._armed_for = FOREVER
        now = self._clock()
        for slot in [slot for slot in self._idle if self._is_over(slot, now)]:
            if self._is_over(slot, now):  # the others may have gone down to min_size
                self._idle.remove(slot)
                self._end(slot)
        due = FOREVER
        for slot in self._slots:
            if slot.state is LENT:
                due = min(due, self._report_leak(slot, now))
            elif slot.state is IDLE:
                idle_until = slot.since + self._max_idle if len(self._slots) > self.min_size else FOREVER
                due = min(due, slot.dies_at, idle_until)
        self._arm(due)
        self._refill()

    def _refill(self) -> None:
        """Create what is missing below ``min_size``, unless the last try has failed just now."""
        if self._state is not OPEN or (self._retry_delay and self._armed_for != FOREVER):
            return
        while len(self._slots) < min(self.min_size, self.max_size) and self._closed_future is None:
            failures = self._create_failures
            self._make()
            if self._create_failures != failures:
                return

    def _report_leak(self, slot: Slot[T], now: float) -> float:
        """Log who has had a value for too long, once per loan; return when to look again."""
        if self._leak_threshold == FOREVER or slot.reported:
            return FOREVER
        if now < slot.since + self._leak_threshold:
            return slot.since + self._leak_threshold
        slot.reported = True
        logger.warning(
            "%s: %s is lent for %.1f s\n  borrowed at:\n%s\n  borrower is now at:\n%s",
            self,
            self._borrower_of(slot),
            now - slot.since,
            "\n".join(f"    {code.co_filename}:{line} in {code.co_qualname}" for code, line in slot.site),
            "\n".join(f"    {frame}" for frame in self._stack_of(slot)) or "    (not visible)",
            extra={"pool": self.name, "slot": slot.number},
        )
        return FOREVER

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
        return f"{self._label(slot)}, lent to task {task.get_name()!r}{' (which has ended)' if task.done() else ''}"

    def _account(self) -> str:
        lent = sum(slot.state is LENT for slot in self._slots)
        return f"{len(self._slots)} of {self.max_size} values, {lent} of them lent, {len(self._line)} waiting"

    # Closing

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        self._simple = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (place := self._first_in_line()) is not None:
            place.set_result(OwnerClosed(f"{self} closed while its borrower waited; borrow before the owner closes"))
        for chore in [chore for chore in self._chores.live if chore.name.startswith("creation")]:
            if chore.task not in exempt:
                chore.stop(f"{self} is closing", self.close_timeout)
        idle, self._idle = self._idle, []
        for slot in idle:
            self._end(slot)

    def _is_quiet(self, exempt: frozenset[Task[Any]], *, loans_too: bool) -> bool:
        if loans_too and any(slot.state is LENT for slot in self._slots):
            return False
        return self._chores.idle(exempt)

    def _borrowed(self) -> list[str]:
        return [self._borrowed_line(slot) for slot in self._slots if slot.state is LENT]

    def _borrowed_line(self, slot: Slot[T]) -> str:
        stack = self._stack_of(slot)
        return self._borrower_of(slot) + (f", suspended at {stack[-1]}" if stack else "")

    def _closes_from_inside(self) -> bool:
        return self._chores.has(kernel.current_task())

    # Checking

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        with_value = sum(slot.state is not CREATING for slot in self._slots)
        assert self._created == with_value + self._destroyed, (self._created, with_value, self._destroyed)
        assert {slot for slot in self._slots if slot.state is IDLE} == set(self._idle)
        assert len(set(self._idle)) == len(self._idle)
        assert not (self._idle and any(not place.done() for place in self._line)), "waiters beside idle values"
        waiting = sum(not place.done() for place in self._line)
        coming = self._coming()
        full = len(self._slots) >= self.max_size
        assert not waiting or coming >= waiting or full or self._closed_future is not None, "a waiter nobody works for"
        if self._state is OwnerState.CLOSED:
            assert all(slot.state in (LENT, DESTROYING) for slot in self._slots)


def checked_callable(function: object, what: str) -> None:
    """Check that *function* can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(function):
        raise TypeError(f"{what} must be a function, got {function!r}")
