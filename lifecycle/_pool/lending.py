"""Lending: how a value leaves a pool, and how it comes back."""

from __future__ import annotations

from asyncio import Future, Task
from typing import Any, TypeVar

from .._ground import kernel
from .._ground.checks import checked_timeout
from .._ground.errors import OwnerClosed, PoolFull
from .._ground.frames import creation_site
from .._ground.roots import Portrait, Thing
from .books import FOREVER, OPEN
from .loans import CHECKING, CREATING, IDLE, LENT, RESETTING, Slot
from .values import PoolValues

T = TypeVar("T")


class Lending(PoolValues[T]):
    """The steps around a loan, and the close that waits for all of them."""

    __slots__ = ()

    # Out

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
        limit = FOREVER if timeout is None else checked_timeout(timeout, "timeout")
        if self._state is not OPEN:
            self._check_open("a loan")
        if self._max_waiting is not None:
            self._check_line(self._max_waiting)
        loop = kernel.running_loop()
        place: Future[Slot[T] | BaseException] = loop.create_future()
        self._line[place] = None
        if self._idle or len(self._slots) < self.max_size:
            self._pump()
        timer = loop.call_later(limit, self._time_out, place, limit) if limit != FOREVER else None
        try:
            answer = await place
        except BaseException:
            self._leave_line(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del place, answer  # which its traceback would refer to: a cycle
        answer.borrower = kernel.current_task()
        if self._timed:
            self._note_borrower(answer, self._clock())
        return answer

    def _check_line(self, most: int) -> None:
        """Refuse a newcomer that would have to wait, where as many wait as may."""
        spare = len(self._idle) + max(0, self.max_size - len(self._slots))
        if len(self._line) - self._coming(CREATING, CHECKING, RESETTING) - spare >= most:
            self._refused += 1
            raise PoolFull(
                f"{self} has {len(self._line)} borrowers waiting and allows {most}: {self._account()}. "
                "Try again later, return values sooner, or raise max_waiting or max_size"
            )

    def _note_borrower(self, slot: Slot[T], now: float) -> None:
        """Keep what a leak report will want to say."""
        slot.since = now
        if self._leak_threshold != FOREVER:
            slot.site = creation_site(4, skip=3)
            slot.reported = False
            self._arm(now + self._leak_threshold)

    # Back

    def _take_back(self, slot: Slot[T], *, spoiled: bool = False) -> None:
        """Decide what becomes of a value that came back."""
        slot.borrower = None
        if self._simple and not spoiled and not slot.outdated:
            place = self._first_in_line()
            if place is not None:
                place.set_result(slot)
                return
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

    # Closing

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        self._simple = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (place := self._first_in_line()) is not None:
            place.set_result(OwnerClosed(f"{self} closed while its borrower waited; borrow before the owner closes"))
        for creation in [slot.creation for slot in self._slots if slot.state is CREATING]:
            if creation is not None and creation.task not in exempt:
                creation.stop(f"{self} is closing", self.close_timeout)
        idle, self._idle = self._idle, []
        for slot in idle:
            self._end(slot)

    def _is_quiet(self, exempt: frozenset[Task[Any]], *, loans_too: bool) -> bool:
        if loans_too and any(slot.state is LENT and slot.borrower not in exempt for slot in self._slots):
            return False
        return self._chores.idle(exempt)

    def _borrowed(self) -> list[str]:
        return [self._borrower_of(slot) for slot in self._slots if slot.state is LENT]

    def _portrait(self) -> Portrait:
        """Describe the values, the work on them, and how many wait, for a snapshot."""
        things = [Thing("task", chore.name, "running", task=chore.task) for chore in self._chores.live]
        for slot in self._slots:
            who = f" to {slot.borrower.get_name()!r}" if slot.borrower is not None else ""
            things.append(Thing("connection", f"value {slot.number}", slot.state.value + who, token=slot.token))
        counts = {"max_size": self.max_size, "waiting": len(self._line)}
        return Portrait("pool", self.name, self._state.value, None, things, counts, self._token)

    def _employs(self, task: Task[Any]) -> bool:
        return self._chores.has(task)
