"""Time in a registry: one timer that sleeps to the first due bucket, and turns that never hold the loop for long."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from itertools import islice
from time import perf_counter
from typing import TypeVar

from .._ground import kernel
from .books import EXPIRED, FOREVER, Books
from .finalizing import TURN
from .registrations import CLOSED, Registration, RemovalCause

K = TypeVar("K")
V = TypeVar("V")


def loop_if_running() -> AbstractEventLoop | None:
    """Return the running loop, None outside of one: a registry with a clock of its own may be filled before."""
    try:
        return kernel.running_loop()
    except RuntimeError:
        return None


#: After how many values a sweep looks at the time.
STEPS = 64


class TimedBooks(Books[K, V]):
    """The books, and what becomes due in them."""

    __slots__ = ()

    # The timer

    def _open_bucket(self, expires_at: float) -> dict[Registration[K, V], None]:
        due = self._wheel.end_of(expires_at)
        if due < self._armed_for:
            self._arm(due)
        return self._wheel.open(expires_at)

    def _arm(self, due: float) -> None:
        """Have the timer wake at *due*."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = loop_if_running()
        self._armed_for = due if loop is not None else FOREVER
        if due != FOREVER and loop is not None:
            delay = max(due - self._clock(), self._wheel.width)
            self._timer = loop.call_later(delay, self._sweep_turn)

    def _sweep_turn(self) -> None:
        """Work for a fraction of a millisecond on what is due; come back in the next iteration, or when more is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = perf_counter() + TURN
        while self._sweep_some(STEPS):
            if perf_counter() >= ends:
                self._armed_for = 0.0
                self._timer = kernel.running_loop().call_soon(self._sweep_turn)
                return
        failures = self._failures.next_due() if self._failures is not None else FOREVER
        self._arm(min(self._wheel.next_due(), failures))

    def _sweep_some(self, steps: int) -> bool:
        """Work on up to *steps* registrations that are due; return whether there may be more."""
        if self._condemned:
            self._work_off(steps)
            return True
        now = self._clock()
        if self._failures is not None:
            self._failures.expire(now)
        bucket = self._wheel.due(now)
        if bucket is None:
            return False
        self._empty(bucket, now, steps)
        return True

    # What is due

    def _empty(self, bucket: dict[Registration[K, V], None], now: float, steps: int) -> int:
        """Retire up to *steps* registrations of a bucket that is due, or file them anew; return how many left."""
        whole = len(bucket) <= steps
        registrations = list(bucket) if whole else [bucket.popitem()[0] for _ in range(steps)]
        if whole:
            bucket.clear()
        if self._idles or not self._bare or self._is_observed():
            return sum(self._expire_or_file(registration, now) for registration in registrations)
        return self._forget_all(registrations)

    def _forget_all(self, registrations: list[Registration[K, V]]) -> int:
        """Do what `_retire` comes to where nobody looks, without its calls: a million may be due at once."""
        live = self._live
        leased = 0
        for registration in registrations:
            if registration._leases:
                leased += 1
                registration._bucket = None
                self._retire(registration, EXPIRED)
            else:
                del live[registration.key]
                registration._state = CLOSED
                registration._cause = EXPIRED
        self._closed += len(registrations) - leased
        self._removals[EXPIRED] += len(registrations) - leased
        return len(registrations)

    def _expire_or_file(self, registration: Registration[K, V], now: float) -> bool:
        """Retire a registration out of a bucket that is due; file it anew if it was used since, or is in use."""
        registration._bucket = None
        if registration.expires_at <= now and self._is_over(registration, now):
            return True
        if registration.expires_at <= now:
            registration.expires_at = min(now + self._idle_ttl, registration._limit)
        registration._bucket = bucket = self._wheel.open(max(registration.expires_at, now + self._wheel.width))
        bucket[registration] = None
        return False

    # Everything at once

    def _condemn(self, cause: RemovalCause) -> None:
        """Take everything out in one step, whatever its number, and begin to work it off."""
        if self._live:
            self._condemned.append((self._live, cause))
            self._weight = 0
            self._open_books()
            self._sweep_turn()

    def _work_off(self, steps: int) -> None:
        """Dispose of up to *steps* registrations that were taken out all at once, oldest first."""
        batch, cause = self._condemned[0]
        registrations = list(islice(batch.values(), steps))
        for registration in registrations:
            del batch[registration.key]
            if registration._bucket is not None:
                del registration._bucket[registration]
            self._dispose(registration, cause)
        if not batch:
            self._condemned.popleft()
            self._progress()
