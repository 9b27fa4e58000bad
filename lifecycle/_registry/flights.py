"""Flights: one creation of one key's value in progress, and all who wait for it.

The factory runs in a task of its own. A caller that leaves hurts no other; when all have left, the factory is cancelled
and whatever it still makes is undone. All who wait get a lease in the very step in which the value lands, so
that it cannot be finalized between that step and the caller's next one.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future, Task
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from .._chores import Chore
from .._ground import kernel
from .._ground.foreign import in_words
from .._ground.per_loop import kept_by_loop
from .._task.waiting import Waiting, anybody_awaits, waits_for
from .lifetimes import TimeToLive
from .registrations import Registration
from .telling import Told

K = TypeVar("K")
V = TypeVar("V")


#: Returns the flights that are waited for in a loop, of all its registries, by the task that waits.
awaited_in: Callable[[AbstractEventLoop], dict[Task[Any], Flight[Any, Any]]] = kept_by_loop("_lifecycle_flights", dict)


class Nursery(Protocol[K, V]):
    """What a flight needs of those who look after it.

    Attributes:
        patience: seconds that the last caller to leave waits for the factory to clean up.
    """

    patience: float

    def claim(self, registration: Registration[K, V]) -> None:
        """Lease a value."""

    def release(self, registration: Registration[K, V]) -> None:
        """Take one lease back."""

    def report_error(self, event: str, error: BaseException, **about: object) -> None:
        """Keep an error for the close, or log it."""


class Crash:
    """How a flight ended that made nothing."""

    __slots__ = ("told", "unaware")

    def __init__(self, error: BaseException, told: int) -> None:
        self.told = Told(error)  # callers add frames of their own
        self.unaware = told  # of all who were told, how many have not left without looking


class Flight(Generic[K, V]):
    """One creation in progress.

    What became of it is in the callers' futures and not here: an error refers to the frames it went through, and
    whatever these refer to must not refer to the error.

    Attributes:
        key: whose value is being made.
        chore: the task that makes it; None only while the flight starts.
        waiters: a future per caller, in order of arrival.
        detached: true when its key was invalidated meanwhile: those who wait get its value, newcomers another one.
        kept: true when it goes on without callers: what it makes takes the place of an old value.
        ttl: the lifetime of the value, where its first caller has said so; a function of it until that is asked.
        dying: true when all callers have gone; it is on its way out.
        landed: true when it is over, well or badly.
    """

    __slots__ = ("_nursery", "_over", "chore", "detached", "dying", "kept", "key", "landed", "ttl", "waiters")

    def __init__(self, nursery: Nursery[K, V], key: K, ttl: TimeToLive[V] | None = None) -> None:
        self._nursery = nursery
        self._over: Future[None] | None = None
        self.key = key
        self.ttl = ttl
        self.chore: Chore[V] | None = None
        self.waiters: dict[Future[Registration[K, V] | Crash], None] = {}
        self.detached = self.dying = self.kept = self.landed = False

    async def join(self) -> Registration[K, V]:
        """Wait for the value and return its registration, leased for the caller.

        Cancellation: leaves; the last to leave cancels the factory and waits for its clean-up, at most the
        registry's ``close_timeout`` and not for a shielded section.
        """
        loop = kernel.running_loop()
        place: Future[Registration[K, V] | Crash] = loop.create_future()
        self.waiters[place] = None
        task = kernel.current_task()
        awaited = awaited_in(loop)
        awaited[task] = self
        try:
            with Waiting(self.chore.task if self.chore is not None else self):
                outcome = await self._landing(place)
        finally:
            del awaited[task]
            del place  # which keeps the error whose traceback keeps this frame: a cycle
        if not isinstance(outcome, Crash):
            return outcome
        try:
            raise outcome.told.for_another()
        finally:
            del outcome  # as above

    async def _landing(self, place: Future[Registration[K, V] | Crash]) -> Registration[K, V] | Crash:
        try:
            return await place
        except CancelledError as error:
            kernel.conclude(None, kernel.foremost(error, await self._leave(place)), error)
            raise
        finally:
            del place  # as above

    async def over(self) -> None:
        """Wait until a dying flight has ended.

        Cancellation: ends the waiting.
        """
        if not self.landed:
            self._over = self._over or kernel.new_future()
            await kernel.wait(self._over)

    async def _leave(self, place: Future[Registration[K, V] | Crash]) -> CancelledError | None:
        """Withdraw a caller; return a cancellation that was held back meanwhile."""
        if place.done() and not place.cancelled():  # it landed in the same loop iteration
            self._return_outcome(place.result())
            return None
        self.waiters.pop(place, None)
        if self.waiters or self.dying or self.kept or self.chore is None:
            return None
        self.abandon("all callers have gone")
        if self.landed or self.chore.unreachable:
            return None
        self._over = self._over or kernel.new_future()
        return await kernel.wait_through(self._over, self._nursery.patience)

    def _return_outcome(self, outcome: Registration[K, V] | Crash) -> None:
        """Take back what a caller was given in the step in which it was cancelled."""
        if not isinstance(outcome, Crash):
            self._nursery.release(outcome)
            return
        outcome.unaware -= 1
        if not outcome.unaware and not self.dying:  # what a dying one met has been reported; the rest is our own word
            self._nursery.report_error("creation failed", outcome.told.error, key=in_words(self.key))

    def is_awaited_by(self, task: Task[Any]) -> bool:
        """Whether the factory waits for *task* to make something, by itself or through other factories."""
        awaited = awaited_in(kernel.running_loop())
        flight: Flight[Any, Any] | None = self
        while flight is not None and flight.chore is not None:
            if flight.chore.task is task:
                return True
            flight = awaited.get(flight.chore.task)
        return self.chore is not None and anybody_awaits(task) and waits_for(self.chore.task, task)

    def abandon(self, reason: str) -> None:
        """Cancel the factory; what it still makes is undone."""
        assert self.chore is not None
        self.dying = True
        self.chore.stop(reason, self._nursery.patience)

    def land(self, registration: Registration[K, V] | None, error: BaseException | None) -> None:
        """Tell all who wait; called in the step in which the factory ended."""
        self.landed = True
        places = [place for place in self.waiters if not place.done()]
        self.waiters.clear()
        crash = None if error is None else Crash(error, len(places))
        for place in places:
            if registration is not None:
                self._nursery.claim(registration)
                place.set_result(registration)
            elif crash is not None:
                place.set_result(crash)
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
