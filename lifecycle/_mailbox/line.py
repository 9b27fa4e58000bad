"""Line: those that wait for one thing, first come first served, and those that were told and have not run yet."""

from __future__ import annotations

from asyncio import Future, InvalidStateError
from collections import OrderedDict
from collections.abc import Callable

from .._ground.kernel import FOREVER, new_future, running_loop
from .._ground.waking import MANY, wake


class Line:
    """Those that wait for one thing; any of them may leave.

    Who is told is out of line, and what it was told of is reserved for it until it has run: nobody overtakes it.

    Attributes:
        places: where they stand. Not a dict: taking the first key of a dict whose head was emptied walks over all the
            holes.
        told: how many were told, and have not run yet.
    """

    __slots__ = ("places", "told")

    def __init__(self) -> None:
        self.places: OrderedDict[Future[None], None] = OrderedDict()
        self.told = 0

    def __len__(self) -> int:
        return len(self.places) + self.told

    def tell(self) -> Future[None] | None:
        """Tell the first in line, and return its place; None where there is none.

        One that has been cancelled, and runs in this turn of the loop, passes on what it was told of when it leaves.
        """
        if not self.places:
            return None
        place = self.places.popitem(False)[0]
        self.told += 1
        try:
            place.set_result(None)
        except InvalidStateError:
            pass
        except RuntimeError:
            if not place.get_loop().is_closed():  # which has left its waiters behind
                raise
        return place

    def tell_many(self) -> None:
        """Tell many of the end of what they wait for; each of them tells one more, so that no step takes long."""
        for _ in range(MANY):
            if not self.tell():
                return

    async def stand(self, is_so: Callable[[], bool], seconds: float = FOREVER) -> bool:
        """Wait to be told that something is so; return False where *seconds* have passed before.

        Who was told tells one more, as long as it is so.

        Cancellation: ends the waiting.
        """
        place = new_future()
        self.places[place] = None
        timer = None if seconds == FOREVER else running_loop().call_later(max(0.0, seconds), wake, place)
        try:
            await place
        finally:
            told = place not in self.places
            self.leave(place)
            if told and is_so():
                self.tell()
            if timer is not None:
                timer.cancel()
        return told

    def leave(self, place: Future[None]) -> None:
        """Take out one that does not go on."""
        if self.places.pop(place, place) is place:  # it was told before
            self.told -= 1
