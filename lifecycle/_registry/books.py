"""The books of a registry: every change of state as one plain synchronous step.

Whatever removes a value takes its registration out of the map and the wheel first (`Books._detach`), and disposes of it
then (`Books._dispose`): at once when it is not leased, with its last lease otherwise. What has to be finalized goes to
the crew, which ends it in the background and comes back to `Books._ended`. Nothing here awaits anything.
"""

from __future__ import annotations

from asyncio import BaseEventLoop, Future, Handle, Task
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any, Generic, NoReturn, TypeVar

from .._chores import Chores
from .._ground import kernel, trace
from .._ground.checks import checked_limit, checked_timeout
from .._ground.closing import OwnerState, refuse
from .._lender import Lender
from .finalizing import Crew
from .flights import Failures, Flight
from .leases import Claim
from .registrations import CLOSED, LIVE, RETIRED, Registration, RemovalCause, in_words
from .wheel import ExpiryWheel

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


class Books(Lender, Generic[K, V]):
    """What a registry holds, and every step that changes it."""

    __slots__ = (
        "_armed_for",
        "_awaited",
        "_bare",
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
        "_holders",
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
        self.create_timeout: float = checked_timeout(create_timeout, "create_timeout")
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
                label=lambda registration: f"{in_words(registration.key)} of {self}",
                done=self._ended,
            )
        self._bare = finalizer is None and weigher is None  # whether a value that leaves is just forgotten
        self._weight = 0
        self._flights: dict[K, Flight[K, V]] = {}
        self._awaited: dict[Task[Any], Flight[K, V]] = {}  # by the task that waits
        self._chores = Chores()
        self._holders: dict[Claim[K, V], Task[Any] | None] = {}  # who has a lease out
        self._lingering: dict[Registration[K, V], None] = {}  # retired, and still leased
        self._condemned: deque[tuple[dict[K, Registration[K, V]], RemovalCause]] = deque()  # taken out all at once
        self._endings: dict[Registration[K, V], Future[None]] = {}
        self._tokens: dict[Registration[K, V], trace.Token | None] = {}
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
            live: OrderedDict[K, Registration[K, V]] = OrderedDict()
            self._live = live
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
        if trace.sink is not None:
            self._report_opened(registration)
        self._dispose(registration, cause)
        return registration

    def _refuse_value(self, key: K, value: V) -> NoReturn:
        self._admit(key, value, SHUT)
        refuse(self, f"the value of {in_words(key)}", f"it is {self._state.value}; the value is finalized")

    def _report_opened(self, registration: Registration[K, V]) -> None:
        if self._token is None:
            self._token = trace.opened("registry", self.name)
        self._tokens[registration] = trace.opened("entry", in_words(registration.key), owner=self._token)

    def _open_bucket(self, expires_at: float) -> dict[Registration[K, V], None]:
        """Return the wheel's bucket for a time, and see that the timer wakes for it."""
        raise NotImplementedError

    # Making room

    def _weigh(self, key: K, value: V) -> int:
        """Return what a value weighs; nothing has changed when it is not fit to be counted."""
        assert self._weigher is not None
        weight = self._weigher(key, value)
        if not isinstance(weight, int):
            raise TypeError(f"the weigher of {self} must return a whole number, got {weight!r} for {in_words(key)}")
        if weight < 0:
            raise ValueError(f"the weigher of {self} must return 0 or more, got {weight} for {in_words(key)}")
        return weight

    def _weigh_in(self, registration: Registration[K, V], weight: int) -> None:
        """Count a new value's weight, and make room for it."""
        registration._weight = weight
        self._weight += weight
        while self._weight > self._largest:
            self._evict_one()

    def _evict_one(self) -> None:
        """Retire the least recently used value that is not leased."""
        live = self._live
        key, oldest = live.popitem(False)  # type: ignore[call-arg]
        if oldest._leases:
            live[key] = oldest
            live.move_to_end(key, last=False)  # type: ignore[attr-defined]
            oldest = self._pick_victim()
            del live[oldest.key]
        bucket = oldest._bucket
        if bucket is not None:
            del bucket[oldest]
        if (
            self._bare and not oldest._leases and not (self._tokens or self._endings or self._watchers)
        ):  # what `_dispose` comes to
            oldest._cause = SIZE
            oldest._state = CLOSED
            self._closed += 1
            self._removals[SIZE] += 1
            return
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
            if self._is_observed():
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
            self._report_error(f"finalizing {in_words(registration.key)}", error)
        self._end(registration)

    def _end(self, registration: Registration[K, V]) -> None:
        registration._state = CLOSED
        self._closed += 1
        if self._token is not None or self._is_observed():
            self._announce_end(registration)

    def _announce_end(self, registration: Registration[K, V]) -> None:
        """Tell whoever looks, or waits for it."""
        if self._tokens:
            trace.closed(self._tokens.pop(registration, None))
        future = self._endings.pop(registration, None)
        if future is not None and not future.done():
            future.set_result(None)
        self._progress()

    def _is_observed(self) -> bool:
        """Whether anybody waits for the end of a registration, or keeps a ledger."""
        return bool(self._tokens or self._endings or self._watchers)

    async def _wait_closed(self, registration: Registration[K, V]) -> None:
        future = self._endings.get(registration)
        if future is None:
            future = self._endings[registration] = kernel.new_future()
        await kernel.wait(future)

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
