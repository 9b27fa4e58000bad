"""Upkeep: what time does to a pool: values that have had theirs, values that are missing, loans that take too long."""

from __future__ import annotations

from asyncio import Future, Handle
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .._ground import kernel
from .._ground.frames import Frames, calling_site
from .._lender import OPEN, Closing
from .slot import CREATING, IDLE, LENT, Slot
from .stock import FOREVER, Stock
from .workshop import Workshop

T = TypeVar("T")

#: Seconds before a value that is missing below ``min_size`` is tried again: the first time, and at most; and the part
#: by which such a pause may be shorter.
RETRY = (0.5, 30.0)
JITTER = 0.2

#: A value is replaced ahead of the end of its lifetime, by this many times as long as a creation takes, but by no more
#: than this part of the lifetime.
AHEAD = 3.0
MOST_AHEAD = 0.25


#: Seconds between two looks at all values, for each of them: a large pool, whose values end one after the other, looks
#: for those of some time at once, and spends no more than a small part of it.
REST = 20e-6


class Upkeep(Generic[T]):
    """The timer of one pool.

    Attributes:
        last_error: of the last creation that failed, while somebody waits until the pool is ready.
        awaited: how many wait for that.
        checking: the idle value that is being checked because nobody has looked at it for so long.
    """

    __slots__ = (
        "_closing",
        "_failed_until",
        "_may_create",
        "_ready",
        "_retry_at",
        "_retry_delay",
        "_stock",
        "_timer",
        "_wakes_at",
        "_workshop",
        "awaited",
        "checking",
        "last_error",
    )

    def __init__(
        self, stock: Stock[T], workshop: Workshop[T], closing: Closing, may_create: Callable[[], bool]
    ) -> None:
        self._stock = stock
        self._workshop = workshop
        self._closing = closing
        self._may_create = may_create
        self.awaited = 0
        self.last_error: BaseException | None = None
        self.forget()

    def forget(self) -> None:
        """Forget timers and failures: there is no loop, or another one."""
        self._timer: Handle | None = None
        self._wakes_at = FOREVER
        self._retry_delay = self._retry_at = 0.0
        self._failed_until = 0  # the number of the last creation of the round that failed
        self._ready: Future[None] | None = None
        self.last_error = None
        self.checking: Slot[T] | None = None

    def wake_by(self, due: float) -> None:
        """Have the upkeep run at *due* at the latest."""
        if due < self._wakes_at and not self._closing.begun:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = due
            context = self._closing.home.context  # not that of whoever is the first to need it
            self._timer = kernel.running_loop().call_at(due, self._run, context=context)

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
        with self._workshop.together:
            expired = {slot: None for slot in stock._idle if stock._has_expired(slot, now)}
            if expired:
                stock._idle[:] = [slot for slot in stock._idle if slot not in expired]
                self._end_expired(expired, now)
            self._check_one(now)
            due = FOREVER
            for slot in stock._slots:
                if slot.state is LENT:
                    due = min(due, self._report_leak(slot, now))
                elif slot.state is IDLE:
                    if now >= slot.renew_at != slot.dies_at:
                        stock._begin_to_age(slot)
                    due = min(due, self._due_of(slot))
            self.refill()
            self.wake_by(max(due, now + REST * len(stock._slots)))

    def _due_of(self, slot: Slot[T]) -> float:
        """Return when something is to be done about an idle value."""
        stock = self._stock
        idle_until = slot.idle_since + stock._max_idle if stock._number_alive() > stock.min_size else FOREVER
        check_at = slot.since + stock._check_every if self.checking is None else FOREVER
        return min(slot.renew_at, idle_until, check_at)

    def watch_idle(self, slot: Slot[T]) -> None:
        """Note that a value is idle from now on."""
        self.wake_by(min(slot.renew_at, slot.idle_since + self._stock._max_idle, slot.since + self._stock._check_every))

    # Values that nobody has looked at for long

    def _check_one(self, now: float) -> None:
        """Check the value that nobody has looked at for longest, if that is long enough.

        One at a time, so that the others can be lent meanwhile, and what came back in one moment is not checked in one.
        """
        stock = self._stock
        if self.checking is None and stock._idle and stock._check_every != FOREVER:
            slot = min(stock._idle, key=lambda slot: slot.since)
            if now >= slot.since + stock._check_every:
                stock._idle.remove(slot)
                self.checking = slot
                self._workshop.check(slot)

    def check_ended(self, slot: Slot[T]) -> None:
        """See to the next one that is due, where this was one of those."""
        if slot is self.checking:
            self.checking = None
            self.wake_by(self._stock._clock() + REST * len(self._stock._slots))

    def seconds_ahead(self) -> float:
        """Return how long before the end of its lifetime a new value will be replaced."""
        if not self._stock.min_size:
            return 0.0
        return min(AHEAD * self._workshop.creation_seconds, MOST_AHEAD * self._stock._lifetime)

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
        if not (self._stock.min_size or self.awaited) or self._closing.state is not OPEN or not self._missing():
            return
        if self._retry_at and self._stock._clock() < self._retry_at:
            self.wake_by(self._retry_at)
            return
        with self._workshop.together:
            while self._missing() and self._may_create():
                self._workshop.make()

    async def until_ready(self, timeout: float) -> tuple[bool, BaseException | None]:
        """Wait until as many values are there as are to be kept, and at least one, or the pool closes, or time is up.

        Return whether it came true, and the error of the last creation that failed meanwhile.

        All who wait share one question, which is asked after every step of the pool.
        """
        self.awaited += 1
        try:
            self.refill()
            if self._is_ready():
                return True, None
            if self._ready is None or self._ready.done():
                self._ready = kernel.new_future()
                self._closing.watchers[self._ready] = self._is_ready
            return await kernel.wait(self._ready, timeout), self.last_error
        finally:
            self.awaited -= 1
            if not self.awaited:
                self.last_error = None
            if self._ready is not None and (self._ready.done() or not self.awaited):
                self._closing.watchers.pop(self._ready, None)
                self._ready = None

    def _is_ready(self) -> bool:
        stock = self._stock
        there = stock._number_alive() - stock._working[CREATING]
        return there >= self._goal() or self._closing.state is not OPEN

    def _goal(self) -> int:
        return min(max(self._stock.min_size, bool(self.awaited)), self._stock.max_size)

    def _missing(self) -> bool:
        return self._stock._number_alive() - self._stock._ageing < self._goal()

    def creation_failed(self, number: int, error: BaseException) -> None:
        """Wait longer after every round of creations that failed where no borrower waits.

        Those that were in progress together are one round: a pause for each of them would make a large pool wait longer
        than a small one.
        """
        if self.awaited:
            self.last_error = error
        if number <= self._failed_until:
            return
        self._failed_until = self._workshop.begun
        self._retry_delay = min(max(2 * self._retry_delay, RETRY[0]), RETRY[1])
        pause = self._retry_delay * (1.0 - JITTER * self._workshop.random())
        self._retry_at = self._stock._clock() + pause
        self.wake_by(self._retry_at)

    @property
    def has_failed(self) -> bool:
        """Whether what is missing is tried again only after a pause."""
        return self._retry_at != 0.0

    def forget_failures(self) -> None:
        """Forget about failures, as a creation has succeeded."""
        self._retry_delay = self._retry_at = 0.0

    # Loans that take too long

    def watch_loan(self, slot: Slot[T], now: float) -> None:
        """Note a loan, where it was borrowed, and when it is to be reported."""
        slot.since = now
        if self._stock._leak_threshold != FOREVER:
            slot.site = calling_site(4)
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
            "borrowed_at": site_in_words(slot.site),
            "borrower_at": list(stack),
        }
        self._closing.logger.warning("loan held too long", extra=extra)
        return FOREVER


def site_in_words(site: Frames) -> list[str]:
    """Return where something was borrowed, innermost call first, one line each."""
    return [f"{code.co_filename}:{line} in {code.co_qualname}" for code, line in site]
