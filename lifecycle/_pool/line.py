"""Line: the borrowers that wait for a value, first come first served.

What becomes free goes to the head of the line in the very step in which it becomes free (direct hand-over), so that
no one overtakes and no wake-up is lost. A borrower that was cancelled in the step after the hand-over passes it on.
"""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from .._ground import kernel
from .._ground.checks import checked_limit, checked_timeout
from .._ground.errors import OwnerClosed, PoolFull, PoolTimeout
from .._lender import OPEN, Closing
from .slot import Slot

T = TypeVar("T")

#: Where a borrower stands in line: done with what it gets.
Place = Future[Slot[T] | BaseException]


class Supplier(Protocol[T]):
    """What a line needs of its pool."""

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


class Line(Generic[T]):
    """The borrowers of one pool that wait.

    Attributes:
        places: where they stand. Not a dict: taking the first key of a dict whose head was emptied walks over all the
            holes.
        timeouts: borrowers that waited too long.
        refused: borrowers that were refused because too many waited.
    """

    __slots__ = ("_closing", "_limit", "_pool", "places", "refused", "timeouts")

    def __init__(self, pool: Supplier[T], closing: Closing, limit: int | None) -> None:
        self._pool = pool
        self._closing = closing
        self._limit = checked_limit(limit, what="pending_limit", least=0)
        self.places: OrderedDict[Place[T], None] = OrderedDict()
        self.timeouts = self.refused = 0

    async def stand(self, timeout: float | None) -> Slot[T]:
        """Wait for a slot in order of arrival."""
        limit = kernel.FOREVER if timeout is None else checked_timeout(timeout, "timeout")
        if self._closing.state is not OPEN:
            self._closing.check_open("a loan")
        if self._limit is not None:
            self._check_length(self._limit)
        loop = kernel.running_loop()
        place: Place[T] = loop.create_future()
        self.places[place] = None
        self._pool._serve_line()
        timer = loop.call_later(limit, self._time_out, place, limit) if limit != kernel.FOREVER else None
        try:
            answer = await place
        except BaseException:
            self._leave(place)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(answer, BaseException):
            try:
                raise answer
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
        while (place := self.first()) is not None:
            place.set_result(
                OwnerClosed(f"{self._closing} closed while its borrower waited; borrow before the owner closes")
            )

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
        elif not isinstance(answer, (PoolTimeout, OwnerClosed)):
            self._closing.report_error("creation failed", answer)

    def _time_out(self, place: Place[T], limit: float) -> None:
        if self.places.pop(place, 0) is None and not place.done():
            self.timeouts += 1
            place.set_result(
                PoolTimeout(
                    f"no value of {self._closing} became free within {limit:g} s: {self._pool._account()}. "
                    "Return values sooner, wait longer, or raise max_size"
                )
            )
            self._closing.progress()
