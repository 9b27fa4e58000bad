"""Sweeper: takes values out of a registry when they are due, or all at once, without ever holding the loop for long.

One timer sleeps to the first bucket of the wheel that is due, and works then in turns of a fraction of a millisecond.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Handle
from collections import deque
from itertools import islice
from time import perf_counter
from typing import Generic, TypeVar

from .._ground import kernel
from .._lender import Closing
from .departures import Departures
from .failures import Failures
from .finalizing import TURN
from .keyed import in_order
from .registrations import Lasting, Registration, RemovalCause
from .shelf import FOREVER, Shelf

K = TypeVar("K")
V = TypeVar("V")

#: After how many values a sweep looks at the time.
STEPS = 64

#: Seconds after which it is tried again where the clock has failed.
PAUSE = 1.0


def loop_if_running() -> AbstractEventLoop | None:
    """Return the running loop, None outside of one: a registry with a clock of its own may be filled before."""
    try:
        return kernel.running_loop()
    except RuntimeError:
        return None


class Batch(Generic[K, V]):
    """Registrations that were taken out all at once, and are disposed of by and by, oldest first.

    Attributes:
        cause: why they have left.
        left: how many are still to be disposed of.
    """

    __slots__ = ("_map", "_rest", "cause", "left")

    def __init__(self, live: dict[K, Registration[K, V]], cause: RemovalCause) -> None:
        self._map = live
        self._rest = in_order(live)
        self.cause = cause
        self.left = len(live)

    def take(self, number: int) -> list[Registration[K, V]]:
        """Return the next *number* of them, or fewer at the end."""
        registrations = list(islice(self._rest, number))
        self.left -= len(registrations)
        return registrations

    def has(self, registration: Registration[K, V]) -> bool:
        """Whether one that is live is among those that are left."""
        try:
            if self._map.get(registration.key) is registration:
                return True
        except Exception:
            pass
        return registration in dict.values(self._map)


class Sweeper(Generic[K, V]):
    """What is due in a registry, and when."""

    __slots__ = ("_closing", "_departures", "_failures", "_mass_removed", "_shelf", "_timer", "_wakes_at")

    def __init__(
        self, shelf: Shelf[K, V], departures: Departures[K, V], failures: Failures[K] | None, closing: Closing
    ) -> None:
        self._shelf = shelf
        self._departures = departures
        self._failures = failures
        self._closing = closing
        self._mass_removed: deque[Batch[K, V]] = deque()
        self._timer: Handle | None = None
        self._wakes_at = FOREVER
        shelf._open_bucket = self.open_bucket

    def __len__(self) -> int:
        """How many values were taken out all at once and are still to be disposed of."""
        return sum(batch.left for batch in self._mass_removed)

    def has(self, registration: Registration[K, V]) -> bool:
        """Whether a registration was taken out together with all others, and is still to be disposed of."""
        return any(batch.has(registration) for batch in self._mass_removed)

    def leave_loop(self) -> list[Registration[K, V]]:
        """Forget the timer, whose loop is closed, and all that is still to be disposed of, which is returned."""
        self._timer = None
        self._wakes_at = FOREVER
        left = [registration for batch in self._mass_removed for registration in batch.take(batch.left)]
        self._mass_removed.clear()
        return left

    # The timer

    def open_bucket(self, expires_at: float) -> dict[Registration[K, V], None]:
        """Return the wheel's bucket for a time, and see that the timer wakes for it."""
        wheel = self._shelf._wheel
        self.wake_by(wheel.end_of(expires_at))
        return wheel.open(expires_at)

    def wake_by(self, due: float) -> None:
        """Have the timer wake at *due* at the latest."""
        if due < self._wakes_at:
            self._wake_at(due)

    def wake_for_all(self) -> None:
        """Have the timer wake for what was put in before there was a loop."""
        self._wake_at(self._shelf._wheel.next_due())

    def stop(self) -> None:
        """Wake no more, unless there is something left of a mass removal."""
        if not self._mass_removed:
            self._wake_at(FOREVER)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = loop_if_running()
        self._wakes_at = due if loop is not None else FOREVER
        if due != FOREVER and loop is not None:
            delay = max(due - self._shelf._clock(), self._shelf._wheel.width)
            self._timer = loop.call_later(delay, self._work_for_a_moment, context=self._closing.home.context)

    def _work_for_a_moment(self) -> None:
        """Work for a fraction of a millisecond on what is due; come back in the next iteration, or when more is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        context = self._closing.home.context
        try:
            ends = perf_counter() + TURN
            while self._sweep_some(STEPS):
                if perf_counter() >= ends:
                    self._wakes_at = 0.0
                    self._timer = kernel.running_loop().call_soon(self._work_for_a_moment, context=context)
                    return
            failures = self._failures.next_due() if self._failures is not None else FOREVER
            self._wake_at(min(self._shelf._wheel.next_due(), failures))
        except Exception as error:  # of the clock: what is due must not wait for ever because of one answer
            self._closing.report_error("sweep failed", error)
            self._wakes_at = 0.0
            self._timer = kernel.running_loop().call_later(PAUSE, self._work_for_a_moment, context=context)

    def _sweep_some(self, steps: int) -> bool:
        """Work on up to *steps* registrations that are due; return whether there may be more."""
        if self._mass_removed:
            self._dispose_some(steps)
            return True
        now = self._shelf._clock()
        if self._failures is not None:
            self._failures.expire(now)
        bucket = self._shelf._wheel.due(now)
        if bucket is None:
            return False
        self._empty_bucket(bucket, now, steps)
        return True

    # What is due

    def sweep(self, limit: float) -> int:
        """Take out what is due now, at most *limit* values; return how many."""
        wheel, now = self._shelf._wheel, self._shelf._clock()
        removed = 0
        while removed < limit:
            bucket = wheel.due(now)
            if bucket is None:
                break
            removed += self._empty_bucket(bucket, now, limit - removed)
        for registration in wheel.current(now):
            if removed >= limit:
                break
            if registration.expires_at <= now:
                removed += self._departures.expire(registration, now)
        return removed

    def _empty_bucket(self, bucket: dict[Registration[K, V], None], now: float, steps: float) -> int:
        """Retire up to *steps* registrations of a bucket that is due, or file them anew; return how many left."""
        if len(bucket) <= steps:
            registrations = list(bucket)
            bucket.clear()
        else:
            registrations = [bucket.popitem()[0] for _ in range(int(steps))]
        if self._departures.expire_all(registrations):
            return len(registrations)
        return sum(self._expire_or_file(registration, now) for registration in registrations)

    def _expire_or_file(self, registration: Registration[K, V], now: float) -> bool:
        """Retire a registration out of a bucket that is due; file it anew if it was used since, or is in use."""
        registration._bucket = None
        if registration.expires_at <= now and self._departures.expire(registration, now):
            return True
        shelf = self._shelf
        if (
            registration.expires_at <= now and shelf._has_idle_ttl and registration._leases
        ):  # not idle before it is over
            registration.expires_at = registration._limit
            if isinstance(registration, Lasting):
                registration._leaves_at = shelf._serves_until(registration)
        leaves_at = shelf._leaves_at(registration)
        if leaves_at != FOREVER:
            registration._bucket = bucket = shelf._wheel.open(max(leaves_at, now + shelf._wheel.width))
            bucket[registration] = None
        return False

    # Everything at once

    def remove_all(self, cause: RemovalCause) -> None:
        """Take everything out in one step, whatever its number, and begin to work it off."""
        self.set_all_aside(cause)
        if self._mass_removed:
            self._work_for_a_moment()

    def set_all_aside(self, cause: RemovalCause) -> None:
        """Take everything out in one step; what becomes of it comes later."""
        if self._shelf._live:
            self._mass_removed.append(Batch(self._shelf._live, cause))
            self._shelf._start_anew()

    def _dispose_some(self, steps: int) -> None:
        """Dispose of up to *steps* registrations that were taken out all at once, oldest first."""
        batch = self._mass_removed[0]
        for registration in batch.take(steps):
            if registration._bucket is not None:
                del registration._bucket[registration]
            self._departures.dispose(registration, batch.cause)
        if not batch.left:
            self._mass_removed.popleft()
            self._closing.progress()
