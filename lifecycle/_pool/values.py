"""The values of a pool: made, checked, reset and destroyed in chores that belong to nobody in the line."""

from __future__ import annotations

from asyncio import Future
from inspect import isawaitable
from typing import TypeVar

from .._chores import Chore, as_failure, end_process
from .._ground import kernel, trace
from .._ground.errors import ReleaseTimeout, is_fatal
from .._lender import logger
from .books import FOREVER, OPEN, RETRY, PoolBooks
from .loans import CHECKING, CREATING, DESTROYING, IDLE, LENT, RESETTING, Slot

T = TypeVar("T")


class PoolValues(PoolBooks[T]):
    """Every step in the life of a value but its loans."""

    __slots__ = ()

    # Supply and demand

    def _pump(self) -> None:
        """Start as many creations and checks as the line needs and the pool has room for.

        What ends at once comes back here, as deep as there are values; so only the outermost call does the work.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._idle and self._coming(CREATING, CHECKING) < len(self._line):
                self._prepare(self._idle.pop())
            while self._has_room() and self._coming(CREATING, CHECKING, RESETTING) < len(self._line):
                self._make()
        finally:
            self._pumping = False

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

    # Making

    def _make(self) -> None:
        self._counter += 1
        slot: Slot[T] = Slot(self._counter)
        self._slots[slot] = None
        name = f"creation of {self._label(slot)}"
        try:
            made = self._create()
        except BaseException as error:
            if is_fatal(error):
                end_process(error)
            self._creation_failed(slot, as_failure(error, name))
            return
        if isawaitable(made):
            slot.creation = self._chores.begin(
                made,
                name,
                timeout=self.create_timeout,
                settle=lambda chore: self._creation_ended(slot, chore),
                late=self._end_late,
            )
        else:
            self._arrive(slot, made)

    def _creation_ended(self, slot: Slot[T], chore: Chore[T]) -> None:
        slot.creation = None
        if chore.error is None:
            self._arrive(slot, chore.result)
        else:
            self._creation_failed(slot, chore.error)
            self._pump()
            self._progress()

    def _arrive(self, slot: Slot[T], value: T) -> None:
        self._created += 1
        self._retry_delay = self._retry_at = 0.0
        slot.value = value
        slot.ready = self._done(value)
        if self._lifetime != FOREVER:
            slot.dies_at = self._clock() + self._lifetime * (1.0 - self._jitter * self._random())
        if trace.sink is not None:
            slot.token = trace.opened("connection", self._label(slot), owner=self._token)
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
            self._retry_at = self._clock() + self._retry_delay
            self._arm(self._retry_at)

    # Looking at them

    def _check_ended(self, slot: Slot[T], error: BaseException | None, verdict: object) -> None:
        if error is not None or verdict is False:
            self._check_failures += 1
            logger.info("%s failed its check", self._label(slot), exc_info=error, extra={"pool": self.name})
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
        label = self._label(slot)
        self._begin(
            self._destroy,
            slot,
            f"end of {label}",
            self._destroy_ended,
            lambda timeout, abandoned, stack: ReleaseTimeout(label, timeout, abandoned=abandoned, stack=stack),
        )
        if self._line:  # somebody may have counted on this value
            self._pump()

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

    # Time

    def _arm(self, due: float) -> None:
        """Have the upkeep run at *due* at the latest."""
        if due < self._armed_for and self._closed_future is None:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = due
            self._timer = kernel.running_loop().call_at(due, self._upkeep)

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
        self._refill()
        self._arm(due)

    def _refill(self) -> None:
        """Create what is missing below ``min_size``, or see that it is tried later when it has just failed."""
        if self._state is not OPEN or len(self._slots) >= min(self.min_size, self.max_size):
            return
        if self._clock() < self._retry_at:
            self._arm(self._retry_at)
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
