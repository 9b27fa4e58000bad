"""Counter: who gets which value, what is made when, and what becomes of a value that comes back.

Every step is synchronous and writes all its books before anything of a user's is called; see `Workshop`.
"""

from __future__ import annotations

import warnings
from asyncio import AbstractEventLoop, Future, Task, current_task
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, NoReturn, TypeVar

from .._ground import kernel
from .._ground.errors import CreationTimeout, PoolFull, TaskCancelled
from .._lender import OPEN, Closing, ComeBack, ReturnReport
from .admission import Admission
from .line import Line
from .slot import CHECKING, CREATING, GONE, IDLE, LENT, RESETTING, Slot
from .stock import FOREVER, Stock
from .upkeep import Upkeep, site_in_words
from .workshop import Workshop

T = TypeVar("T")

#: How many values are looked at for those that a borrower has who waits: only for the words of an error.
FEW = 100


class Counter(Stock[T]):
    """The lending of one pool: its stock, its line, and what connects them.

    The shortest path of a loan, in `Loan`, looks at what has no underline of its own in here: the line and the
    watchers, without a look-up; the loop; whether what is free may be lent as it is; whether what comes back well is
    free, and that is all; and what leaving a loan returns, a future that is done, once there is a loop.
    """

    __slots__ = (
        "_admission",
        "_closing",
        "_distrusts",
        "_done",
        "_lends_idle",
        "_line",
        "_loop",
        "_resets",
        "_serving_line",
        "_takes_back_idle",
        "_upkeep",
        "_waiting",
        "_watchers",
        "_workshop",
    )

    _admission: Admission
    _closing: Closing
    _line: Line[T]
    _upkeep: Upkeep[T]
    _workshop: Workshop[T]
    _resets: bool

    def _open_counter(self) -> None:
        """Begin; what the parts are made of is there."""
        self._serving_line = self._distrusts = False
        self._waiting = self._line.places
        self._watchers = self._closing.watchers
        self._lends_idle = not self._timed
        self._takes_back_idle = False
        self._loop: AbstractEventLoop | None = None
        self._done: Future[None] | None = None
        self._choose_path()

    def _choose_path(self) -> None:
        """Decide whether a value that comes back well is simply free."""
        self._takes_back_idle = not (
            self._timed or self._resets or self._closing.state is not OPEN or self._places_taken() > self.max_size
        )

    def _come_home(self) -> None:
        """See that the pool lives in the running loop; see `Closing.come_home`."""
        if self._loop is not kernel.running_loop():
            self._closing.come_home()
            self._loop = self._closing.home.loop

    # Supply and demand

    def _serve_line(self) -> None:
        """Start as many creations and checks as the line needs and the pool has room for.

        What ends at once comes back here, as deep as there are values; so only the outermost call does the work.
        """
        if not (self._idle or len(self._slots) - self._placeless < self.max_size):
            return
        if self._serving_line or not self._waiting:
            return
        with self._workshop.together:
            self._serving_line = True
            try:
                while self._idle and self._count_in(CREATING, CHECKING) < len(self._waiting):
                    self._check_or_lend(self._idle.pop())
                while self._supply() < len(self._waiting) and self._may_create():
                    self._workshop.make(tuple(self._waiting) if self._admission.probes else None)
            finally:
                self._serving_line = False

    def _supply(self) -> int:
        """How many values are on their way to the line; while one after the other fails its check, not those."""
        working = self._working
        coming = working[CREATING] + working[RESETTING]
        return coming if self._distrusts else coming + working[CHECKING]

    def _may_create(self) -> bool:
        """Whether there is a place for another value, and its creation may begin now."""
        # Late ones keep no place; so there is a bound of its own on all of them.
        if len(self._slots) - self._placeless >= self.max_size or self._placeless > self.max_size:
            return False
        return not self._closing.begun and self._admission.admits(self._working[CREATING])

    def _replace(self) -> None:
        self._serve_line()
        self._upkeep.refill()

    def _use_room(self) -> None:
        if not self._takes_back_idle:
            self._choose_path()
        self._replace()
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
            if slot.state is not CHECKING:
                slot.idle_since = now
            self._move(slot, IDLE)
            slot.since = now
            # What nobody has used goes out last again, or a pool would never get smaller.
            self._idle.insert(0 if slot is self._upkeep.checking else len(self._idle), slot)
            if self._timed:
                self._upkeep.watch_idle(slot)
            self._closing.progress()

    def _creation_succeeded(self, slot: Slot[T]) -> None:
        admission = self._admission
        used_to_fail = admission.binds or self._upkeep.has_failed
        admission.succeeded(self.max_size)
        self._upkeep.forget_failures()
        if slot.dies_at != FOREVER:
            slot.renew_at = slot.dies_at - self._upkeep.seconds_ahead()
        if self._done is None:
            self._done = kernel.running_loop().create_future()
            self._done.set_result(None)
        if used_to_fail:
            with self._workshop.together:
                self._lend_or_keep(slot)
                self._use_room()
        else:
            self._lend_or_keep(slot)
            if self._watchers:
                self._closing.progress()

    def _creation_failed(self, slot: Slot[T], error: BaseException, *, late: bool) -> None:
        """Tell the first in line, and try for the others; where the line is empty, try again later for ``min_size``."""
        if not isinstance(error, TaskCancelled) and not self._closing.begun:
            self._admission.failed(slot.number, self._workshop.begun, self._closing.home.context)
        behalf, slot.behalf = slot.behalf, None
        place = None if late or behalf else self._line.first()
        if place is not None:
            place.set_result(error)
        elif behalf and any(one in self._waiting for one in behalf):
            self._line.tell_all(behalf, error)
        elif not self._closing.begun:
            self._closing.report_error("creation failed", error, slot=slot.number)
            self._upkeep.creation_failed(slot.number, error)
        elif not isinstance(error, (TaskCancelled, CreationTimeout)):  # our own words for one that was stopped
            self._closing.report_error("creation failed", error, slot=slot.number)

    def _check_passed(self, slot: Slot[T]) -> None:
        self._distrusts = False
        self._lend_or_keep(slot)
        self._upkeep.check_ended(slot)

    def _check_failed(self, slot: Slot[T], now: float) -> None:
        """Check the other idle values that are due, all at once: what has ended one may have ended them all.

        And whoever waits is not left to their checks alone, until one passes.
        """
        self._upkeep.check_ended(slot)
        self._distrusts = True
        due = {idle: None for idle in self._idle if self._needs_check(idle, now)}
        if due:
            self._idle[:] = [idle for idle in self._idle if idle not in due]
            for idle in due:
                self._workshop.check(idle)

    def _work_is_late(self, slot: Slot[T]) -> None:
        """Count on a value no more whose creation, check or reset takes long, and begin another where there is room."""
        self._count_on_no_more(slot)
        self._use_room()

    # Lending

    def _lend_idle(self) -> Slot[T] | None:
        if not self._idle:
            return None
        borrower = current_task(self._loop)
        if borrower is None:  # as it is in another loop, and outside of tasks
            self._come_home()
            borrower = kernel.current_task()
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
            slot.borrower = borrower
            return slot
        return None

    def _note_borrower(self, slot: Slot[T]) -> None:
        slot.borrower = kernel.current_task()
        if self._timed:
            self._upkeep.watch_loan(slot, self._clock())

    def _refuse_loan(self) -> NoReturn:
        self._come_home()
        self._closing.check_open("a loan")
        raise PoolFull(f"{self} has nothing free for a borrower that does not wait: {self._account()}")

    def _values_to_come(self) -> int:
        room = max(0, self.max_size - self._places_taken())
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
        elif slot.state is GONE or (self._loop is not None and self._loop.is_closed()):
            return  # it was dropped with its loop, or will be when the pool comes into the next one
        elif spoiled:
            self._workshop.discard(slot)
        elif not self._resets or slot.outdated or self._closing.begun:
            self._lend_or_keep(slot)
        else:
            self._workshop.reset(slot)
        if self._watchers:
            self._closing.progress()

    def _loan_dropped(self, loan: object, slot: Slot[T]) -> None:
        """Tell of a loan that the garbage collector has found, inside its block, and have its value destroyed.

        The collector comes in any thread, and in the middle of any step.
        """
        borrower = slot.borrower.get_name() if slot.borrower is not None else None
        warnings.warn(
            f"a loan of {self} to {borrower!r} was dropped inside its block, and {self._label(slot)} is destroyed; "
            "leave the block, as `async with pool.acquire()` does",
            ResourceWarning,
            stacklevel=3,
            source=loan,
        )
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # it closes in this very moment
                loop.call_soon_threadsafe(self._take_in_dropped, slot, borrower, context=self._closing.home.context)

    def _take_in_dropped(self, slot: Slot[T], borrower: str | None) -> None:
        if slot.state is LENT:
            about = {"slot": slot.number, "borrower": borrower, "borrowed_at": site_in_words(slot.site)}
            self._closing.logger.warning("loan dropped", extra={"owner": self._closing.owner_name, **about})
            self._take_back(slot, spoiled=True)

    def _holders(self) -> list[Slot[T]] | None:
        """Return all values, where all are lent and no other can come; None otherwise."""
        if self._places_taken() < self.max_size or self._idle or len(self._slots) != self._number_lent():
            return None
        return None if self._is_too_big() else list(self._slots)

    def _lent_to(self, tasks: list[Task[Any]]) -> list[Slot[T]]:
        return [slot for slot in islice(self._slots, FEW) if slot.state is LENT and slot.borrower in tasks]

    # Closing

    def _end_idle(self) -> None:
        with self._workshop.together:
            for slot in self._take_idle():
                self._workshop.end(slot)

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        self._takes_back_idle = False
        self._upkeep.stop()
        self._admission.stop()
        self._line.refuse_all()
        self._workshop.stop_creations(exempt)
        self._end_idle()
        self._closing.progress()

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
        in_line = (f"{len(self._waiting)} borrowers in line",) if self._waiting else ()
        return ReturnReport(lent, in_line + self._workshop.chores.names(exempt))

    def _borrowed(self) -> list[str]:
        return [self._borrower_of(slot) for slot in self._lent()]

    # The end of a loop

    def _has_belongings(self) -> bool:
        return bool(self._slots or self._waiting or self._watchers)

    def _leave_loop(self) -> list[str]:
        account = self._closing.account
        if account is not None:
            for slot in self._slots:
                account.leave(slot)
        lost = self._drop_everything()
        self._workshop.drop_everything()
        self._line.forget_all()
        self._upkeep.forget()
        self._admission.forget()
        self._serving_line = self._distrusts = False
        self._choose_path()
        return lost

    def _account(self) -> str:
        lent, waiting = self._number_lent(), len(self._waiting)
        return f"{len(self._slots)} of {self.max_size} values, {lent} of them lent, {waiting} waiting"

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        super()._check_invariants()
        waiting = sum(not place.done() for place in self._waiting)
        coming = self._supply()
        assert not self._idle or waiting <= self._count_in(CREATING, CHECKING), "waiters beside idle values"
        held = self._places_taken() >= self.max_size or not self._may_create()
        assert not waiting or coming >= waiting or held, "a waiter for whom nothing is under way"
