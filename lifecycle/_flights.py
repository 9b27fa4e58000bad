"""Flights: one creation of one key's value in progress, and all who wait for it.

The factory runs in a task of its own. A caller that leaves hurts nobody; when all have left, the factory is cancelled
and whatever it still makes is undone. Everybody who waits gets a lease in the very step in which the value lands, so
that it cannot be finalized between that step and the caller's next one.
"""

from __future__ import annotations

from asyncio import CancelledError, Future
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from . import _kernel as kernel

if TYPE_CHECKING:
    from ._chores import Chore
    from ._registrations import Registration
    from ._registry_books import Books

K = TypeVar("K")
V = TypeVar("V")


class Flight(Generic[K, V]):
    """One creation in progress.

    Attributes:
        key: whose value is being made.
        chore: the task that makes it; None only while the flight starts.
        waiters: a future per caller, in order of arrival.
        dying: true when nobody wants the value any more; it is on its way out.
        landed: true when it is over, well or badly.
        error: what went wrong, once it has landed.
        registration: what it made, once it has landed.
    """

    __slots__ = ("_over", "_registry", "chore", "dying", "error", "key", "landed", "registration", "waiters")

    def __init__(self, registry: Books[K, V], key: K) -> None:
        self._registry = registry
        self._over: Future[None] | None = None
        self.key = key
        self.chore: Chore[V] | None = None
        self.waiters: dict[Future[None], None] = {}
        self.dying = False
        self.landed = False
        self.error: BaseException | None = None
        self.registration: Registration[K, V] | None = None

    async def join(self) -> Registration[K, V]:
        """Wait for the value and return its registration, leased for the caller.

        Cancellation: leaves; the last to leave cancels the factory and waits for its clean-up, at most the
        registry's ``close_timeout`` and not for a shielded section.
        """
        place = kernel.new_future()
        self.waiters[place] = None
        try:
            await place
        except CancelledError:
            await self._leave(place)
            raise
        if self.error is not None:
            raise self.error
        assert self.registration is not None
        return self.registration

    async def over(self) -> None:
        """Wait until a dying flight has ended.

        Cancellation: ends the waiting.
        """
        if not self.landed:
            self._over = self._over or kernel.new_future()
            await kernel.wait(self._over)

    async def _leave(self, place: Future[None]) -> None:
        if place.done() and not place.cancelled():  # it landed in the same loop iteration
            if self.registration is not None:
                self._registry._release(self.registration)
            return
        self.waiters.pop(place, None)
        if self.waiters or self.dying or self.chore is None:
            return
        self.abandon("nobody waits for it any more")
        if not self.landed and not self.chore.unreachable:
            self._over = self._over or kernel.new_future()
            await kernel.wait_through(self._over, self._registry.close_timeout)

    def abandon(self, reason: str) -> None:
        """Cancel the factory; what it still makes is undone."""
        assert self.chore is not None
        self.dying = True
        self.chore.stop(reason, self._registry.close_timeout)

    def land(self, registration: Registration[K, V] | None, error: BaseException | None) -> None:
        """Tell everybody who waits; called in the step in which the factory ended."""
        self.landed = True
        self.registration = registration
        self.error = error
        for place in self.waiters:
            if not place.done():
                if registration is not None:
                    self._registry._claim(registration)
                place.set_result(None)
        self.waiters.clear()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


class Failures(Generic[K]):
    """Errors of factories that answer further callers for a while: only where the registry was asked to.

    Bounded in number and time: the oldest go first, and none outlives its time.
    """

    __slots__ = ("_errors", "_limit", "_ttl")

    def __init__(self, ttl: float, limit: int = 1024) -> None:
        self._errors: OrderedDict[K, tuple[float, Exception]] = OrderedDict()
        self._ttl = ttl
        self._limit = limit

    def remember(self, key: K, error: BaseException, now: float) -> None:
        """Let *error* answer for *key*, without the frames and the locals that its traceback refers to."""
        self.expire(now)
        if isinstance(error, Exception):
            self._errors.pop(key, None)
            self._errors[key] = (now + self._ttl, error.with_traceback(None))
            if len(self._errors) > self._limit:
                self._errors.popitem(last=False)

    def recall(self, key: K, now: float) -> Exception | None:
        """Return the error that answers for *key*, if any."""
        self.expire(now)
        known = self._errors.get(key)
        return None if known is None else known[1].with_traceback(None)

    def forget(self, key: K) -> None:
        """Let the next caller try again."""
        self._errors.pop(key, None)

    def expire(self, now: float) -> None:
        """Forget what is over."""
        while self._errors and next(iter(self._errors.values()))[0] <= now:
            self._errors.popitem(last=False)

    def next_due(self) -> float:
        """Return when the oldest will be over."""
        return next(iter(self._errors.values()))[0] if self._errors else kernel.FOREVER

    def clear(self) -> None:
        """Forget all."""
        self._errors.clear()

    def __len__(self) -> int:
        return len(self._errors)
