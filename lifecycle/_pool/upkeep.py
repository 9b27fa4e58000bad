"""Upkeep: what time does to a pool: values that have had theirs, values that are missing, loans that take too long."""

from __future__ import annotations

from asyncio import Handle
from collections.abc import Iterable
from typing import Generic, TypeVar

from .._ground import kernel
from .._ground.frames import creation_site
from .._lender import OPEN, Closing
from .slot import IDLE, LENT, Slot
from .stock import FOREVER, Stock
from .workshop import Workshop

T = TypeVar("T")

#: Seconds before a value that is missing below ``min_size`` is tried again: the first time, and at most.
RETRY = (0.5, 30.0)


class Upkeep(Generic[T]):
    """The timer of one pool."""

    __slots__ = ("_closing", "_retry_at", "_retry_delay", "_stock", "_timer", "_wakes_at", "_workshop")

    def __init__(self, stock: Stock[T], workshop: Workshop[T], closing: Closing) -> None:
        self._stock = stock
        self._workshop = workshop
        self._closing = closing
        self._timer: Handle | None = None
        self._wakes_at = FOREVER
        self._retry_delay = self._retry_at = 0.0

    def wake_by(self, due: float) -> None:
        """Have the upkeep run at *due* at the latest."""
        if due < self._wakes_at and not self._closing.begun:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = due
            self._timer = kernel.running_loop().call_at(due, self._run)

    def stop(self) -> None:
        """Run no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        """End what has been idle or alive too long, report what is lent too long, refill, and come back in time."""
        stock = self._stock
        self._timer = None
        self._wakes_at = FOREVER
        now = stock._clock()
        expired = {slot: None for slot in stock._idle if stock._has_expired(slot, now)}
        if expired:
            stock._idle[:] = [slot for slot in stock._idle if slot not in expired]
            self._end_expired(expired, now)
        due = FOREVER
        for slot in stock._slots:
            if slot.state is LENT:
                due = min(due, self._report_leak(slot, now))
            elif slot.state is IDLE:
                idle_until = slot.since + stock._max_idle if len(stock._slots) > stock.min_size else FOREVER
                due = min(due, slot.dies_at, idle_until)
        self.refill()
        self.wake_by(due)

    def _end_expired(self, slots: Iterable[Slot[T]], now: float) -> None:
        """End idle values that have been taken out; those that are still wanted when their turn comes go back."""
        wanted = []
        for slot in slots:
            if self._stock._has_expired(slot, now):  # the others may have gone down to min_size
                self._workshop.end(slot)
            else:
                wanted.append(slot)
        self._stock._idle[:0] = wanted

    # Values that are missing

    def refill(self) -> None:
        """Create what is missing below ``min_size``, or see that it is tried later when it has just failed."""
        stock, workshop = self._stock, self._workshop
        if self._closing.state is not OPEN or len(stock._slots) >= min(stock.min_size, stock.max_size):
            return
        if stock._clock() < self._retry_at:
            self.wake_by(self._retry_at)
            return
        while len(stock._slots) < min(stock.min_size, stock.max_size) and not self._closing.begun:
            failures = workshop.create_failures
            workshop.make()
            if workshop.create_failures != failures:
                return

    def retry_later(self) -> None:
        """Wait longer after every creation that fails where no borrower waits."""
        self._retry_delay = min(max(2 * self._retry_delay, RETRY[0]), RETRY[1])
        self._retry_at = self._stock._clock() + self._retry_delay
        self.wake_by(self._retry_at)

    def retry_at_once(self) -> None:
        """Forget about failures: a creation has succeeded."""
        self._retry_delay = self._retry_at = 0.0

    # Loans that take too long

    def watch_loan(self, slot: Slot[T], now: float) -> None:
        """Note a loan, where it was borrowed, and when it is to be reported."""
        slot.since = now
        if self._stock._leak_threshold != FOREVER:
            slot.site = creation_site(4, skip=4)
            slot.reported = False
            self.wake_by(now + self._stock._leak_threshold)

    def _report_leak(self, slot: Slot[T], now: float) -> float:
        """Log a loan that lasts too long, once; return when to look again."""
        threshold = self._stock._leak_threshold
        if threshold == FOREVER or slot.reported:
            return FOREVER
        if now < slot.since + threshold:
            return slot.since + threshold
        slot.reported = True
        task = slot.borrower
        stack = kernel.suspended_at(task) if task is not None and not task.done() else ()
        extra = {
            "owner": self._closing.owner_name,
            "slot": slot.number,
            "borrower": self._stock._borrower_of(slot),
            "seconds": now - slot.since,
            "borrowed_at": [f"{code.co_filename}:{line} in {code.co_qualname}" for code, line in slot.site],
            "borrower_at": list(stack),
        }
        self._closing.logger.warning("loan held too long", extra=extra)
        return FOREVER
