"""Shelf: the live registrations of a registry by key, in order of use, filed by the time they are due, and weighed.

It decides nothing: it knows which value is due, which is the least recently used, and whether there is room. Its
attributes are open because a look-up and a `put` cannot afford a call for each of them.
"""

from __future__ import annotations

from asyncio import BaseEventLoop
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any, Generic

from typing_extensions import TypeVar

from .._ground import kernel
from .._ground.checks import checked_callable, checked_limit, checked_timeout
from .._ground.foreign import in_words
from .._ground.roots import Thing
from .._ground.trace import Mark
from .registrations import EXPIRED, IDLE, LIVE, Registration, RemovalCause
from .wheel import ExpiryWheel

# With defaults, so that strict checkers let ``Registry("tokens")`` pass without an annotation.
K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)

FOREVER = kernel.FOREVER

#: A sweep comes at most this part of the time to live late, within these bounds in seconds. (A look-up is exact.)
LATENESS = 1 / 128
FINEST, COARSEST = 0.001, 0.1

#: How many of the least recently used values are looked at for one that is not leased.
SPARED = 16


#: A snapshot names the values of a registry one by one up to this number.
LISTED = 200


class Shelf(Generic[K, V]):
    """The live values of one registry.

    Attributes:
        _live: the registrations by key, least recently used first where there is a capacity.
        _touch: called with the key at every use; None where uses do not count.
        _clock: seconds that never go back.
        _timed: whether any value has ever had a time.
        _ttl: seconds that a value lives; infinity for no bound.
        _idle_ttl: seconds without a use after which a value goes; infinity for no bound.
        _has_idle_ttl: whether there is such a bound.
        _capacity: how many values may be live, or their total weight; infinity for no bound.
        _weigher: weighs a value; None where each counts one.
        _weight: the total weight of what is live, where there is a weigher.
        _wheel: the registrations by the time they are due.
        _opened: how many values were ever taken in.
    """

    __slots__ = (
        "_capacity",
        "_clock",
        "_has_idle_ttl",
        "_idle_ttl",
        "_is_lru",
        "_live",
        "_opened",
        "_timed",
        "_touch",
        "_ttl",
        "_weigher",
        "_weight",
        "_wheel",
    )

    _touch: Callable[[K], None] | None

    def __init__(
        self,
        *,
        ttl: float | None,
        idle_ttl: float | None,
        max_size: int | None,
        weigher: Callable[[K, V], int] | None,
        clock: Callable[[], float] | None,
    ) -> None:
        self._ttl = checked_timeout(ttl, "ttl")
        self._idle_ttl = checked_timeout(idle_ttl, "idle_ttl")
        checked_limit(max_size, what="max_size")
        for what, function in (("weigher", weigher), ("clock", clock)):
            if function is not None:
                checked_callable(function, what)
        if weigher is not None and max_size is None:
            raise ValueError("a weigher needs max_size: the total weight that the registry may hold")
        self._capacity = FOREVER if max_size is None else max_size
        self._weigher = weigher
        self._clock: Callable[[], float] = clock or self._bind_clock
        self._has_idle_ttl = self._idle_ttl != FOREVER
        self._timed = self._has_idle_ttl or self._ttl != FOREVER
        self._is_lru = max_size is not None
        self._opened = 0
        self._start_anew()

    def _bind_clock(self) -> float:
        loop = kernel.running_loop()
        # The very function that this loop's clock calls, without the call around it; virtual loops have their own.
        self._clock = monotonic if type(loop).time is BaseEventLoop.time else loop.time
        return self._clock()

    def _start_anew(self) -> None:
        """Start with an empty map and an empty wheel; what was live is no longer found, whatever its number."""
        self._live: dict[K, Registration[K, V]] = {}
        self._weight = 0
        self._touch = None
        if self._is_lru:
            live: OrderedDict[K, Registration[K, V]] = OrderedDict()
            self._live = live
            self._touch = live.move_to_end
        if self._has_idle_ttl:
            self._touch = self._use
        shortest = min(self._ttl, self._idle_ttl)
        self._wheel: ExpiryWheel[Registration[K, V]] = ExpiryWheel(min(max(shortest * LATENESS, FINEST), COARSEST))

    # Taking off

    def _take_off(self, registration: Registration[K, V]) -> None:
        """Take a live registration out of the map and the wheel."""
        del self._live[registration.key]
        bucket = registration._bucket
        if bucket is not None:
            del bucket[registration]
        if self._weigher is not None:
            self._weight -= registration._weight

    def _swap_for_unleased(self, key: K, oldest: Registration[K, V]) -> Registration[K, V]:
        """Put a registration that was taken out of the map back, and take one out that is not leased.

        That is one of the least recently used; the oldest where all of them are leased.
        """
        live = self._live
        live[key] = oldest
        live.move_to_end(key, last=False)  # type: ignore[attr-defined]
        candidates = list(islice(live.values(), min(SPARED, len(live) - 1)))  # never the newest
        victim = next((registration for registration in candidates if not registration._leases), oldest)
        del live[victim.key]
        return victim

    # Weight

    def _weigh(self, key: K, value: V) -> int:
        """Return what a value weighs; nothing has changed when it is not fit to be counted."""
        assert self._weigher is not None
        weight = self._weigher(key, value)
        if not isinstance(weight, int):
            raise TypeError(f"the weigher of {self} must return a whole number, got {weight!r} for {in_words(key)}")
        if weight < 0:
            raise ValueError(f"the weigher of {self} must return 0 or more, got {weight} for {in_words(key)}")
        return weight

    # Time

    def _use(self, key: K) -> None:
        """Note that a value with an idle time was used."""
        self._restart_idle_time(self._live[key])
        if self._is_lru:
            self._live.move_to_end(key)  # type: ignore[attr-defined]

    def _restart_idle_time(self, registration: Registration[K, V]) -> None:
        """Let the idle time of a value that was in use until now begin anew."""
        registration.expires_at = min(self._clock() + self._idle_ttl, registration._limit)

    def _is_due(self, registration: Registration[K, V]) -> bool:
        """Whether a live value's time is over."""
        if not self._timed or registration.expires_at > (now := self._clock()):
            return False
        return not self._only_seems_idle(registration, now)

    def _only_seems_idle(self, registration: Registration[K, V], now: float) -> bool:
        """Whether a value that has reached its ``expires_at`` is in use, and so not idle."""
        return registration._leases > 0 and self._has_idle_ttl and now < registration._limit

    def _cause_of_time(self, registration: Registration[K, V]) -> RemovalCause:
        """Return why the time of a value is over."""
        return IDLE if self._has_idle_ttl and registration.expires_at < registration._limit else EXPIRED

    # Looking

    def _things(self, mark_of: Callable[[Registration[K, V]], Mark | None]) -> list[Thing]:
        """Return what a snapshot shows of them."""
        if len(self._live) > LISTED:
            return [Thing("entry", "any", count=len(self._live))]
        return [
            Thing(
                "entry",
                in_words(registration.key),
                "leased" if registration._leases else "",
                mark=mark_of(registration),
            )
            for registration in self._live.values()
        ]

    def _check_invariants(self) -> None:
        filed = 0
        for key, registration in self._live.items():
            assert registration.key is key, f"{in_words(key)} is filed under another key object"
            assert registration._state is LIVE, registration
            assert (registration._bucket is not None) == (registration.expires_at != FOREVER), registration
            filed += registration._bucket is not None
            assert registration._bucket is None or registration in registration._bucket, registration
        assert len(self._wheel) == filed, (len(self._wheel), filed)
        if self._weigher is not None:
            assert self._weight == sum(registration._weight for registration in self._live.values())
        assert (self._weight if self._weigher is not None else len(self._live)) <= self._capacity
