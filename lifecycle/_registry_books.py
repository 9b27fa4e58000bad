"""The books of a registry: every change of state as one plain synchronous step.

Whatever removes a value takes its registration out of the map and the wheel first (`Books._detach`), and disposes of it
then (`Books._dispose`): at once when it is not leased, with its last lease otherwise. What has to be finalized goes to
the crew, which ends it in the background and comes back to `Books._ended`. Nothing here awaits anything.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, BaseEventLoop, Future, Handle, Task
from collections import OrderedDict, deque
from collections.abc import Callable
from inspect import isawaitable
from itertools import islice
from time import monotonic, perf_counter
from typing import Any, Generic, NoReturn, TypeVar

from . import _kernel as kernel
from . import _trace
from ._chores import Chore, Chores
from ._closing import OwnerState, checked_timeout, refuse
from ._errors import OwnerClosed
from ._finalizing import STEPS, TURN, Crew
from ._flights import Failures, Flight
from ._lender import Lender
from ._registrations import CLOSED, LIVE, RETIRED, Registration, RemovalCause
from ._slots import checked_limit
from ._wheel import ExpiryWheel

K = TypeVar("K")
V = TypeVar("V")

OPEN = OwnerState.OPEN
FOREVER = kernel.FOREVER
EXPIRED, IDLE, SIZE, REPLACED, EXPLICIT, SHUT, UNWANTED = RemovalCause

#: A sweep comes at most this part of the time to live late, within these bounds in seconds. (A look-up is exact.)
LATENESS = 1 / 128
FINEST, COARSEST = 0.001, 0.1

#: How many of the least recently used values are looked at for one that is not leased.
SPARED = 16


def loop_if_running() -> AbstractEventLoop | None:
    """Return the running loop, None outside of one: a registry with a clock of its own may be filled before."""
    try:
        return kernel.running_loop()
    except RuntimeError:
        return None


class Books(Lender, Generic[K, V]):
    """What a registry holds, and every step that changes it."""

    __slots__ = (
        "_armed_for",
        "_chores",
        "_clock",
        "_close_errors",
        "_closed",
        "_condemned",
        "_crew",
        "_endings",
        "_failures",
        "_flights",
        "_handed_out",
        "_hits",
        "_idle_ttl",
        "_idles",
        "_largest",
        "_leases_out",
        "_lingering",
        "_live",
        "_load_failures",
        "_loads",
        "_misses",
        "_opened",
        "_ordered",
        "_removals",
        "_timed",
        "_timer",
        "_tokens",
        "_touch",
        "_ttl",
        "_weigher",
        "_weight",
        "_wheel",
        "create_timeout",
    )

    _touch: Callable[[K], None] | None  # called with the key at every use, where uses count

    def __init__(
        self,
        name: str,
        *,
        ttl: float | None,
        idle_ttl: float | None,
        max_size: int | None,
        weigher: Callable[[K, V], int] | None,
        finalizer: Callable[[V], object] | None,
        clock: Callable[[], float] | None,
        create_timeout: float | None,
        close_timeout: float | None,
        failure_ttl: float | None,
    ) -> None:
        super().__init__(name, close_timeout)
        self.create_timeout = checked_timeout(create_timeout, "create_timeout")
        self._ttl = checked_timeout(ttl, "ttl")
        self._idle_ttl = checked_timeout(idle_ttl, "idle_ttl")
        checked_limit(max_size, what="max_size")
        if weigher is not None and max_size is None:
            raise ValueError("a weigher needs max_size: the total weight that the registry may hold")
        self._largest = FOREVER if max_size is None else max_size
        self._weigher = weigher
        self._clock: Callable[[], float] = clock or self._bind_clock
        self._idles = self._idle_ttl != FOREVER
        self._timed = self._idles or self._ttl != FOREVER  # whether any value has ever had a time
        self._ordered = max_size is not None
        self._failures: Failures[K] | None = None
        if failure_ttl is not None:
            self._failures = Failures(checked_timeout(failure_ttl, "failure_ttl"))
        self._crew: Crew[Registration[K, V]] | None = None
        if finalizer is not None:
            self._crew = Crew(
                lambda registration: finalizer(registration.value),
                timeout=self.close_timeout,
                label=lambda registration: f"{registration.key!r} of {self}",
                done=self._ended,
            )
        self._weight = 0
        self._flights: dict[K, Flight[K, V]] = {}
        self._chores = Chores()
        self._lingering: dict[Registration[K, V], None] = {}  # retired, and still leased
        self._condemned: deque[tuple[dict[K, Registration[K, V]], RemovalCause]] = deque()  # taken out all at once
        self._endings: dict[Registration[K, V], Future[None]] = {}
        self._tokens: dict[Registration[K, V], _trace.Token | None] = {}
        self._timer: Handle | None = None
        self._armed_for = FOREVER
        self._removals = dict.fromkeys(RemovalCause, 0)
        self._opened = self._closed = self._handed_out = 0
        self._hits = self._misses = self._loads = self._load_failures = self._close_errors = self._leases_out = 0
        self._open_books()

    def _open_books(self) -> None:
        """Start with an empty map and an empty wheel."""
        self._live: dict[K, Registration[K, V]] = {}
        self._touch = None
        if self._ordered:
            self._live = live = OrderedDict()
            self._touch = live.move_to_end
        if self._idles:
            self._touch = self._use
        shortest = min(self._ttl, self._idle_ttl)
        self._wheel: ExpiryWheel[Registration[K, V]] = ExpiryWheel(min(max(shortest * LATENESS, FINEST), COARSEST))

    def _bind_clock(self) -> float:
        loop = kernel.running_loop()
        # The very function that this loop's clock calls, without the call around it; virtual loops have their own.
        self._clock = monotonic if type(loop).time is BaseEventLoop.time else loop.time
        return self._clock()

    # Taking in

    def put(self, key: K, value: V) -> Registration[K, V]:
        """Own *value* under *key*; the public face says more."""
        raise NotImplementedError

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take the very value that *registration* stands for out; return whether it was there."""
        if self._live.get(registration.key) is not registration:
            return False
        self._retire(registration, EXPLICIT)
        return True

    def _admit(self, key: K, value: V, cause: RemovalCause, leases: int = 0) -> Registration[K, V]:
        """Take in a value that is on its way out already, so that it is finalized like any other."""
        registration = Registration(self, key, value, FOREVER)
        registration._leases = leases
        self._leases_out += leases
        self._opened += 1
        if _trace.sink is not None:
            self._report_opened(registration)
        self._dispose(registration, cause)
        return registration

    def _refuse_value(self, key: K, value: V) -> NoReturn:
        self._admit(key, value, SHUT)
        refuse(self, f"the value of {key!r}", f"it is {self._state.value}; the value is finalized")

    def _report_opened(self, registration: Registration[K, V]) -> None:
        if self._token is None:
            self._token = _trace.opened("registry", self.name)
        self._tokens[registration] = _trace.opened("entry", repr(registration.key), owner=self._token)

    def _weigh_in(self, registration: Registration[K, V], weight: int) -> None:
        """Count a new value's weight, and make room for it."""
        registration._weight = weight
        self._weight += weight
        while self._weight > self._largest:
            self._evict_one()

    def _evict_one(self) -> None:
        """Retire the least recently used value that is not leased."""
        live = self._live
        key, oldest = live.popitem(last=False)  # type: ignore[call-arg]
        if oldest._leases:
            live[key] = oldest
            live.move_to_end(key, last=False)  # type: ignore[attr-defined]
            oldest = self._pick_victim()
            del live[oldest.key]
        bucket = oldest._bucket
        if bucket is not None:
            del bucket[oldest]
        if self._weigher is not None:
            self._weight -= oldest._weight
        self._dispose(oldest, SIZE)

    def _pick_victim(self) -> Registration[K, V]:
        """Return one of the least recently used that is not leased; the oldest where all of them are."""
        oldest = list(islice(self._live.values(), min(SPARED, len(self._live) - 1)))  # never the newest
        return next((registration for registration in oldest if not registration._leases), oldest[0])

    # Leasing

    def _claim(self, registration: Registration[K, V]) -> None:
        registration._leases += 1
        self._leases_out += 1

    def _release(self, registration: Registration[K, V]) -> None:
        """Take one lease back; the last one of a retired value finalizes it."""
        registration._leases -= 1
        self._leases_out -= 1
        if registration._leases == 0 and registration in self._lingering:
            del self._lingering[registration]
            self._finalize(registration)
        elif self._idles and registration._state is LIVE:
            registration.expires_at = min(self._clock() + self._idle_ttl, registration._limit)

    # Letting go

    def _detach(self, registration: Registration[K, V]) -> None:
        """Take a live registration out of the map and the wheel."""
        del self._live[registration.key]
        bucket = registration._bucket
        if bucket is not None:
            del bucket[registration]
        if self._weigher is not None:
            self._weight -= registration._weight

    def _retire(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        self._detach(registration)
        self._dispose(registration, cause)

    def _dispose(self, registration: Registration[K, V], cause: RemovalCause) -> None:
        """Decide what becomes of a registration that has left the map."""
        registration._cause = cause
        self._removals[cause] += 1
        if registration._leases:
            registration._state = RETIRED
            self._lingering[registration] = None
        elif self._crew is None:
            registration._state = CLOSED
            self._closed += 1
            if self._tokens or self._endings or self._watchers:
                self._announce_end(registration)
        else:
            registration._state = RETIRED
            self._crew.submit(registration)

    def _finalize(self, registration: Registration[K, V]) -> None:
        """See to a retired registration whose last lease has come back."""
        if self._crew is None:
            self._end(registration)
        else:
            self._crew.submit(registration)

    def _ended(self, registration: Registration[K, V], error: BaseException | None) -> None:
        """The crew's answer: the finalizer is over."""
        if error is not None:
            self._close_errors += 1
            self._report_error(f"finalizing {registration.key!r}", error)
        self._end(registration)

    def _end(self, registration: Registration[K, V]) -> None:
        registration._state = CLOSED
        self._closed += 1
        self._announce_end(registration)

    def _announce_end(self, registration: Registration[K, V]) -> None:
        """Tell whoever looks, or waits for it."""
        if self._tokens:
            _trace.closed(self._tokens.pop(registration, None))
        future = self._endings.pop(registration, None)
        if future is not None and not future.done():
            future.set_result(None)
        self._progress()

    async def _wait_closed(self, registration: Registration[K, V]) -> None:
        future = self._endings.get(registration)
        if future is None:
            future = self._endings[registration] = kernel.new_future()
        await kernel.wait(future)

    # Creating

    def _take_off(self, key: K, factory: Callable[[], Any]) -> Flight[K, V] | Registration[K, V]:
        """Begin a creation; a synchronous factory has made its value when this returns, and it is leased."""
        made = factory()
        if not isawaitable(made):
            self._loads += 1
            return self._put_claimed(key, made)
        flight: Flight[K, V] = Flight(self, key)
        self._flights[key] = flight
        try:
            flight.chore = self._chores.begin(
                made,
                f"creation of {key!r} in {self}",
                timeout=self.create_timeout,
                settle=lambda chore: self._land(flight, chore),
                late=lambda value: self._undo(key, value, UNWANTED),
            )
        except BaseException:
            del self._flights[key]
            raise
        return flight

    def _land(self, flight: Flight[K, V], chore: Chore[V]) -> None:
        """Take in what a factory made or raised, and tell those who wait."""
        key = flight.key
        del self._flights[key]
        error = chore.error
        registration = None
        if error is None:
            registration, error = self._take_delivery(flight, chore.result)
        elif not flight.dying:
            self._load_failures += 1
            if self._failures is not None:
                self._failures.remember(key, error, self._clock())
                self._arm(min(self._armed_for, self._failures.next_due()))
        if flight.dying and self._state is not OPEN:
            error = OwnerClosed(
                f"{self} closed while it created the value of {key!r}; create it before the owner closes"
            )
        flight.land(registration, error)
        if registration is not None:
            self._release(registration)
        if self._watchers:
            self._progress()

    def _take_delivery(self, flight: Flight[K, V], value: V) -> tuple[Registration[K, V] | None, BaseException | None]:
        """Return what is under the flight's key now, leased once, or why there is nothing."""
        if flight.dying or self._state is not OPEN:
            self._undo(flight.key, value, UNWANTED if self._state is OPEN else SHUT)
            return None, None
        self._loads += 1
        present = self._live.get(flight.key)
        if present is not None and not self._is_due(present):
            self._undo(flight.key, value, REPLACED)
            self._claim(present)
            return present, None
        try:
            return self._put_claimed(flight.key, value), None
        except BaseException as error:  # of the weigher
            self._undo(flight.key, value, UNWANTED)
            return None, error

    def _undo(self, key: K, value: V, cause: RemovalCause) -> None:
        self._admit(key, value, cause if self._state is OPEN else SHUT)

    def _put_claimed(self, key: K, value: V) -> Registration[K, V]:
        """Put what a factory made, and lease it once in the same step: also what is too heavy to stay."""
        if self._weigher is not None and self._weigher(key, value) > self._largest:
            registration = self._admit(key, value, SIZE, leases=1)
        else:
            registration = self.put(key, value)
            self._claim(registration)
        return registration

    # Time

    def _use(self, key: K) -> None:
        """Note that a value of a registry with an idle time was used."""
        registration = self._live[key]
        registration.expires_at = min(self._clock() + self._idle_ttl, registration._limit)
        if self._ordered:
            self._live.move_to_end(key)  # type: ignore[attr-defined]

    def _is_due(self, registration: Registration[K, V]) -> bool:
        """Whether a live value's time is over; one in use has not been idle."""
        if not self._timed or registration.expires_at > (now := self._clock()):
            return False
        return not (registration._leases and self._idles and now < registration._limit)

    def _is_over(self, registration: Registration[K, V], now: float) -> bool:
        """Retire a value that has reached its ``expires_at``, unless it is in use and only seems idle."""
        if registration._leases and self._idles and now < registration._limit:
            return False
        self._retire(registration, self._cause_of_time(registration))
        return True

    def _cause_of_time(self, registration: Registration[K, V]) -> RemovalCause:
        return IDLE if self._idles and registration.expires_at < registration._limit else EXPIRED

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

    def _empty(self, bucket: dict[Registration[K, V], None], now: float, steps: int) -> int:
        """Retire up to *steps* registrations of a bucket that is due, or file them anew; return how many left."""
        live = self._live
        plain = not self._idles and self._crew is None and self._weigher is None and not self._is_observed()
        removed = closed = 0
        for _ in range(min(steps, len(bucket))):
            registration, _ = bucket.popitem()
            if plain and not registration._leases:  # what `_retire` comes to, without its calls: a million may be due
                del live[registration.key]
                registration._state = CLOSED
                registration._cause = EXPIRED
                closed += 1
            else:
                removed += self._expire_or_file(registration, now)
        self._closed += closed
        self._removals[EXPIRED] += closed
        return removed + closed

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

    def _is_observed(self) -> bool:
        """Whether anybody waits for the end of a registration, or keeps a ledger."""
        return bool(self._tokens or self._endings or self._watchers)

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

    # Closing

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        for flight in list(self._flights.values()):
            if flight.chore is not None and flight.chore.task not in exempt:
                flight.abandon(f"{self} is closing")
        if self._failures is not None:
            self._failures.clear()
        self._condemn(SHUT)
        if not self._condemned:
            self._arm(FOREVER)

    def _is_quiet(self, exempt: frozenset[Task[Any]], *, loans_too: bool) -> bool:
        if self._condemned or (loans_too and self._lingering):
            return False
        return self._chores.idle(exempt) and (self._crew is None or self._crew.idle(exempt))

    def _borrowed(self) -> list[str]:
        return [f"{registration.key!r} ({registration._leases} leases)" for registration in self._lingering]

    def _closes_from_inside(self) -> bool:
        task = kernel.current_task()
        return self._chores.has(task) or (self._crew is not None and self._crew.has(task))

    # Checking

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        condemned = sum(len(batch) for batch, _ in self._condemned)
        retired = len(self._lingering) + condemned + (len(self._crew) if self._crew is not None else 0)
        assert self._opened == len(self._live) + retired + self._closed, (self._opened, len(self._live), retired)
        assert sum(self._removals.values()) + len(self._live) + condemned == self._opened, self._removals
        filed = 0
        for key, registration in self._live.items():
            assert registration.key is key, f"{key!r} is filed under another key object"
            assert registration._state is LIVE, registration
            assert (registration._bucket is not None) == (registration.expires_at != FOREVER), registration
            filed += registration._bucket is not None
            assert registration._bucket is None or registration in registration._bucket, registration
        assert len(self._wheel) == filed, (len(self._wheel), filed)
        for registration in self._lingering:
            assert registration._state is RETIRED, registration
            assert registration._leases > 0, registration
        if self._weigher is not None:
            assert self._weight == sum(registration._weight for registration in self._live.values())
        assert (self._weight if self._weigher is not None else len(self._live)) <= self._largest
