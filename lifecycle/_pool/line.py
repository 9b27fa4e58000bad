"""Line: the borrowers that wait for a value, first come first served.

What becomes free goes to the head of the line in the very step in which it becomes free (direct hand-over), so that
no one overtakes and no wake-up is lost. A borrower that was cancelled in the step after the hand-over passes it on.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, TimerHandle
from collections import OrderedDict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from .._ground import kernel
from .._ground.awaiters import BETWEEN, awaiters_of_future
from .._ground.checks import checked_limit, checked_timeout
from .._ground.errors import OwnerClosed, PoolFull, PoolTimeout
from .._ground.foreign import traceback_of, with_traceback
from .._lender import OPEN, Closing
from .slot import Slot

T = TypeVar("T")

#: Seconds after which it is looked whether those in line wait for each other: they do not begin to without a newcomer.
LOOK = 0.25


class Shared:
    """An error that several borrowers get, each of them with the frames of its origin alone, or they would pile up."""

    __slots__ = ("_traceback", "error")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._traceback: TracebackType | None = traceback_of(error)

    def as_it_was(self) -> BaseException:
        """Return the error with the traceback that it had."""
        return with_traceback(self.error, self._traceback)


#: Where a borrower stands in line: done with what it gets.
Place = Future[Slot[T] | BaseException | Shared]


class Supplier(Protocol[T]):
    """What a line needs of its pool."""

    _loop: AbstractEventLoop | None

    def _come_home(self) -> None:
        """See that the pool lives in the running loop."""

    def _serve_line(self) -> None:
        """Start what the line needs and the pool has room for."""

    def _lend_or_keep(self, slot: Slot[T]) -> None:
        """Give a value to the first in line, or make it idle."""

    def _note_borrower(self, slot: Slot[T]) -> None:
        """Note that the calling task has borrowed a value."""

    def _values_to_come(self) -> int:
        """How many more borrowers there will be values for than are in line."""

    def _account(self) -> str:
        """Say how many values there are, and how many borrowers wait."""

    def _holders(self) -> list[Slot[T]] | None:
        """Return all values, where all are lent and no other can come; None otherwise."""

    def _lent_to(self, tasks: list[Task[Any]]) -> list[Slot[T]]:
        """Return the values that one of *tasks* has, as far as they are soon found."""


class Line(Generic[T]):
    """The borrowers of one pool that wait.

    Attributes:
        places: where they stand, and the timer of each that has one. Not a dict: taking the first key of a dict whose
            head was emptied walks over all the holes.
        timeouts: borrowers that waited too long.
        refused: borrowers that were refused because too many waited.
    """

    __slots__ = ("_closing", "_limit", "_look", "_pool", "_timeout", "places", "refused", "timeouts")

    def __init__(self, pool: Supplier[T], closing: Closing, limit: int | None, timeout: float | None) -> None:
        self._pool = pool
        self._closing = closing
        self._limit = checked_limit(limit, what="pending_limit", least=0)
        self._timeout = None if timeout is None else checked_timeout(timeout, "acquire_timeout")
        self.places: OrderedDict[Place[T], TimerHandle | None] = OrderedDict()
        self._look: TimerHandle | None = None
        self.timeouts = self.refused = 0

    async def stand(self, timeout: float | None) -> Slot[T]:
        """Wait for a slot in order of arrival."""
        loop = kernel.running_loop()
        if loop is not self._pool._loop:
            self._pool._come_home()
        if timeout is None:
            timeout = self._timeout
        limit = kernel.FOREVER if timeout is None else timeout
        if self._closing.state is not OPEN:
            self._closing.check_open("a loan")
        if self._limit is not None:
            self._check_length(self._limit)
        place: Place[T] = loop.create_future()
        timer = None
        if limit != kernel.FOREVER:
            # Not in the context of the borrower: a timer keeps it, cancelled or not, until its time has come.
            timer = loop.call_later(limit, self._time_out, place, limit, context=self._closing.home.context)
        self.places[place] = timer
        self._pool._serve_line()
        if self._look is None and not place.done():
            self._look = loop.call_later(LOOK, self._look_for_circle, context=self._closing.home.context)
        try:
            answer = await place
        except BaseException:
            self._leave(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if not isinstance(answer, Slot):
            try:
                raise answer.as_it_was() if isinstance(answer, Shared) else answer
            finally:
                del place, answer  # which its traceback would refer to: a cycle
        self._pool._note_borrower(answer)
        return answer

    def first(self) -> Place[T] | None:
        """Take the first borrower that still waits out of the line."""
        while self.places:
            place, _ = self.places.popitem(last=False)
            if not place.done():
                return place
        return None

    def refuse_all(self) -> None:
        """Tell all who stand in line that the pool closes."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        while (place := self.first()) is not None:
            place.set_result(
                OwnerClosed(f"{self._closing} closed while its borrower waited; borrow before the owner closes")
            )

    def tell_all(self, places: Iterable[Place[T]], error: BaseException) -> None:
        """Tell those of *places* that still wait that what they waited for has failed."""
        told = Shared(error)
        for place in places:
            if place in self.places:
                del self.places[place]
                if not place.done():
                    place.set_result(told)

    def forget_all(self) -> None:
        """Forget all who stand in line: their loop is gone."""
        self.places.clear()
        self._look = None

    def _check_length(self, most: int) -> None:
        """Refuse a newcomer that would have to wait, where as many wait as may."""
        if len(self.places) - self._pool._values_to_come() >= most:
            self.refused += 1
            raise PoolFull(
                f"{self._closing} has {len(self.places)} borrowers waiting and allows {most}: {self._pool._account()}. "
                "Try again later, return values sooner, or raise pending_limit or max_size"
            )

    def _leave(self, place: Place[T]) -> None:
        """Take a borrower that was cancelled out; what it got in the same step goes to the next."""
        self.places.pop(place, None)
        if place.cancelled() or not place.done():
            self._closing.progress()
            return
        answer = place.result()
        if isinstance(answer, Slot):
            self._pool._lend_or_keep(answer)
        elif isinstance(answer, BaseException) and not isinstance(answer, (PoolTimeout, OwnerClosed)):
            self._closing.report_error("creation failed", answer)

    def _time_out(self, place: Place[T], limit: float) -> None:
        if place in self.places and not place.done():
            del self.places[place]
            self.timeouts += 1
            own = [f". The borrower holds value {slot.number} itself" for slot in self._pool._lent_to(_tasks_at(place))]
            place.set_result(
                PoolTimeout(
                    f"no value of {self._closing} became free within {limit:g} s: {self._pool._account()}. "
                    f"Return values sooner, wait longer, or raise max_size{''.join(own)}"
                )
            )
            self._closing.progress()

    # Borrowers that wait for each other

    def _look_for_circle(self) -> None:
        """Refuse a borrower where every value is held by one that waits in this very line, and will wait for ever."""
        self._look = None
        holders = self._pool._holders() if self.places else None
        if not holders:
            return
        tasks = {slot.borrower for slot in holders}
        last, standing = None, set()
        for place, timer in self.places.items():
            if timer is None and not place.done():
                for task in _tasks_at(place):
                    if task in tasks:
                        last = place
                        standing.add(task)
        if last is not None and standing == tasks:
            del self.places[last]
            numbers = ", ".join(f"value {slot.number}" for slot in self._pool._lent_to(_tasks_at(last)))
            last.set_result(
                RuntimeError(
                    f"a borrower of {self._closing} holds {numbers} and asks for another one, and so do all who hold "
                    "one: they would wait for each other for ever. Return the first before you ask for the second, "
                    "give the loan a timeout, or raise max_size"
                )
            )
            self._closing.progress()


def _tasks_at(place: Place[Any]) -> list[Task[Any]]:
    return [waiter[0] for waiter in awaiters_of_future(place) if waiter is not BETWEEN]
