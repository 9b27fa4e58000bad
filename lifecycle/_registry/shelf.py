"""Shelf: the live registrations of a registry by key, in order of use, filed by the time they are due, and weighed.

It decides nothing: it knows which value is due, which is the least recently used, and whether there is room. Its
attributes are open because a look-up and a `put` cannot afford a call for each of them.
"""

from __future__ import annotations

from asyncio import BaseEventLoop
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Generic

from typing_extensions import TypeVar

from .._ground import kernel
from .._ground.checks import checked_limit, checked_sync, checked_timeout
from .._ground.foreign import in_words
from .._ground.roots import Thing
from .._ground.trace import Mark
from .keyed import first_in, in_order
from .registrations import EXPIRED, IDLE, LIVE, Lasting, Registration, RemovalCause
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


#: Types of keys that cannot change.
STABLE = (str, int, bytes, float, bool, type(None))

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
        _stale_ttl: seconds after its time in which a value is handed out while a new one is made.
        _stale_on_error: seconds after its time in which a value is handed out where that has failed.
        _is_plain: whether values have neither a weight nor, unless they say so, a time after their time.
        _capacity: how many values may be live, or their total weight; infinity for no bound.
        _weigher: weighs a value; None where each counts one.
        _weight: the total weight of what is live, where there is a weigher.
        _wheel: the registrations by the time they are due.
        _opened: how many values were ever taken in.
        _key_type: the type of the last key.
        _keys_are_stable: whether all keys have been of types whose hash and equality never change.
        _open_bucket: returns the wheel's bucket for a time, and sees that somebody wakes for it.
    """

    __slots__ = (
        "_capacity",
        "_clock",
        "_has_idle_ttl",
        "_idle_ttl",
        "_is_lru",
        "_is_plain",
        "_key_type",
        "_keys_are_stable",
        "_live",
        "_open_bucket",
        "_opened",
        "_stale_on_error",
        "_stale_ttl",
        "_timed",
        "_touch",
        "_ttl",
        "_weigher",
        "_weight",
        "_wheel",
    )

    _touch: Callable[[K], None] | None
    _open_bucket: Callable[[float], dict[Registration[K, V], None]]

    def __init__(
        self,
        *,
        ttl: float | None,
        idle_ttl: float | None,
        max_size: int | None,
        weigher: Callable[[K, V], int] | None,
        clock: Callable[[], float] | None,
        stale_ttl: float | None,
        stale_on_error: float | None,
    ) -> None:
        self._ttl = checked_timeout(ttl, "ttl")
        self._idle_ttl = checked_timeout(idle_ttl, "idle_ttl")
        checked_limit(max_size, what="max_size")
        if weigher is not None:
            checked_sync(weigher, "weigher", takes=2)
        if clock is not None:
            checked_sync(clock, "clock", takes=0)
        if weigher is not None and max_size is None:
            raise ValueError("a weigher needs max_size: the total weight that the registry may hold")
        self._capacity = FOREVER if max_size is None else max_size
        self._weigher = weigher
        self._stale_ttl = 0.0 if stale_ttl is None else checked_timeout(stale_ttl, "stale_ttl")
        self._stale_on_error = 0.0 if stale_on_error is None else checked_timeout(stale_on_error, "stale_on_error")
        self._is_plain = weigher is None and not self._stale_ttl and not self._stale_on_error
        self._clock: Callable[[], float] = clock or self._bind_clock
        self._has_idle_ttl = self._idle_ttl != FOREVER
        self._timed = self._has_idle_ttl or self._ttl != FOREVER
        self._is_lru = max_size is not None
        self._opened = 0
        self._key_type: type = str
        self._keys_are_stable = True
        self._start_anew()

    def _bind_clock(self) -> float:
        loop = kernel.running_loop()
        # The very function that this loop's clock calls, without the call around it; virtual loops have their own.
        self._clock = monotonic if type(loop).time is BaseEventLoop.time else loop.time
        return self._clock()

    def _start_anew(self) -> None:
        """Start with an empty map and an empty wheel; what was live is no longer found, whatever its number."""
        self._start_new_map()
        self._weight = 0
        shortest = min(self._ttl, self._idle_ttl)
        self._wheel: ExpiryWheel[Registration[K, V]] = ExpiryWheel(min(max(shortest * LATENESS, FINEST), COARSEST))

    def _start_new_map(self) -> None:
        self._live: dict[K, Registration[K, V]] = {}
        self._touch = None
        if self._is_lru:
            live: OrderedDict[K, Registration[K, V]] = OrderedDict()
            self._live = live
            self._touch = live.move_to_end
        if self._has_idle_ttl:
            self._touch = self._use

    def _meet_key_type(self, kind: type) -> None:
        self._key_type = kind
        if not any(kind is stable for stable in STABLE):
            self._keys_are_stable = False

    # Taking off

    def _take_off(self, registration: Registration[K, V]) -> None:
        """Take a live registration out of the map and the wheel."""
        if self._keys_are_stable:
            del self._live[registration.key]
        else:
            self._take_off_found(registration)
        bucket = registration._bucket
        if bucket is not None:
            del bucket[registration]
        if self._weigher is not None:
            self._weight -= registration._weight

    def _take_off_found(self, registration: Registration[K, V]) -> None:
        try:
            found = self._live.pop(registration.key)
        except Exception:  # nothing is found there, or the key itself raises
            found = None
        if found is not registration:
            self._take_off_lost(registration, found)

    def _take_off_lost(self, registration: Registration[K, V], found: Registration[K, V] | None) -> None:
        """Take a registration out of the map that its key does not lead to any more, because it has changed.

        All are filed anew by what their keys are now, which takes a walk over them. Where that does not work, or the
        place is taken, one is filed under itself, so that everything but a look-up by its key still finds it.

        Args:
            registration: what has to go.
            found: what was taken out in its place; its key has become equal to that one's.
        """
        itself: Any = registration
        if self._live.pop(itself, None) is not registration:
            self._report_lost(registration)
            former = self._live
            self._start_new_map()
            for other in in_order(former):
                if other is not registration:
                    self._file(other.key, other)
        if found is not None:
            self._file(found.key, found)

    def _report_lost(self, registration: Registration[K, V]) -> None:
        """Say that the key of a registration has changed."""

    def _file(self, key: K, registration: Registration[K, V]) -> Any:
        """Put a registration into the map, under itself where its key does not serve; return what it is under."""
        try:
            if self._live.setdefault(key, registration) is registration:
                return key
        except Exception:
            pass
        itself: Any = registration
        self._live[itself] = registration
        return itself

    def _spare(self, key: K, oldest: Registration[K, V]) -> Registration[K, V] | None:
        """Return one of the least recently used that is not leased; the oldest, taken out already, is put back then.

        None where all of them are leased.
        """
        candidates = first_in(self._live, min(SPARED, len(self._live)) - 1)  # never the newest
        victim = next((registration for registration in candidates if not registration._leases), None)
        if victim is not None:
            place = self._file(key, oldest)
            self._live.move_to_end(place, last=False)  # type: ignore[attr-defined]
        return victim

    # Weight

    def _weigh(self, key: K, value: V) -> int:
        """Return what a value weighs; nothing has changed when it is not fit to be counted."""
        assert self._weigher is not None
        weight = self._weigher(key, value)
        if not isinstance(weight, int):
            raise TypeError(
                f"the weigher of {self} must return a whole number, got {in_words(weight)} for {in_words(key)}"
            )
        if weight < 0:
            raise ValueError(f"the weigher of {self} must return 0 or more, got {weight} for {in_words(key)}")
        return weight

    # Time

    def _use(self, key: K) -> None:
        """Note that a value with an idle time was used."""
        self._restart_idle_time(self._live[key])
        if self._is_lru:
            self._live.move_to_end(key)  # type: ignore[attr-defined]

    def _note_use(self, registration: Registration[K, V]) -> None:
        """Note that this very value was used, if its key still leads to it."""
        if self._has_idle_ttl:
            self._restart_idle_time(registration)
        if self._is_lru:
            with suppress(Exception):  # of the key
                if self._live.get(registration.key) is registration:
                    self._live.move_to_end(registration.key)  # type: ignore[attr-defined]

    def _restart_idle_time(self, registration: Registration[K, V]) -> None:
        """Let the idle time of a value that was in use until now begin anew."""
        former = registration.expires_at
        due = self._clock() + self._idle_ttl
        if due >= registration._limit:
            if isinstance(registration, Lasting):
                self._restart_stale_time(registration, due)
            due = registration._limit
        registration.expires_at = due
        if due < former:  # it was leased when it would have been idle, and nobody looked after it since
            self._refile(registration)

    def _refile(self, registration: Registration[K, V]) -> None:
        """Put a registration where the wheel finds it when it is due."""
        bucket = registration._bucket
        if bucket is not None:
            del bucket[registration]
        leaves_at = self._leaves_at(registration)
        if leaves_at == FOREVER:
            registration._bucket = None
        else:
            registration._bucket = bucket = self._open_bucket(leaves_at)
            bucket[registration] = None

    def _is_due(self, registration: Registration[K, V]) -> bool:
        """Whether a live value's time is over."""
        if not self._timed or registration.expires_at > (now := self._clock()):
            return False
        return not self._only_seems_idle(registration, now)

    def _only_seems_idle(self, registration: Registration[K, V], now: float) -> bool:
        """Whether a value that has reached its ``expires_at`` is in use, and so not idle."""
        return registration._leases > 0 and self._has_idle_ttl and now < registration._limit

    # Time after that

    def _leaves_at(self, registration: Registration[K, V]) -> float:
        """Return when a value has to leave: when it is due, or later, where it still serves as an old one."""
        if isinstance(registration, Lasting) and registration.expires_at == self._fresh_until(registration):
            return registration._leaves_at
        return registration.expires_at

    def _fresh_until(self, registration: Registration[K, V]) -> float:
        return registration._limit if self._has_idle_ttl else registration.expires_at

    def _serves_until(self, registration: Lasting[K, V]) -> float:
        """Return when a value has to leave that is in use until then."""
        return self._fresh_until(registration) + max(registration._stale_ttl, registration._stale_on_error)

    def _restart_stale_time(self, registration: Lasting[K, V], idle_at: float) -> None:
        """Note when an old value, or one that is about to be one, is idle."""
        former = registration._leaves_at
        registration._leaves_at = min(idle_at, self._serves_until(registration))
        if registration._leaves_at < former:  # it was leased when it would have been idle
            self._refile(registration)

    def _is_kept(self, registration: Registration[K, V], now: float) -> bool:
        """Whether a value that is due stays all the same, as an old one that still serves."""
        if not isinstance(registration, Lasting):
            return False
        in_use = registration._leases > 0 and self._has_idle_ttl
        return now < (self._serves_until(registration) if in_use else self._leaves_at(registration))

    def _old(self, key: K, *, failed: bool) -> Registration[K, V] | None:
        """Return the old value that serves under *key*, while a new one is made or where that has *failed*, if any."""
        registration = self._live.get(key)
        if not isinstance(registration, Lasting) or not self._is_due(registration):
            return None
        seconds = registration._stale_on_error if failed else registration._stale_ttl
        now = self._clock()
        serves = now < self._fresh_until(registration) + seconds and self._is_kept(registration, now)
        return registration if serves else None

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
            for registration in first_in(self._live)
        ]

    def _check_invariants(self) -> None:
        filed = 0
        for key, registration in dict.items(self._live):
            assert key is registration.key or key is registration, f"{in_words(key)} is filed under another key object"
            assert registration._state is LIVE, registration
            assert (registration._bucket is not None) == (self._leaves_at(registration) != FOREVER), registration
            filed += registration._bucket is not None
            assert registration._bucket is None or registration in registration._bucket, registration
        assert len(self._wheel) == filed, (len(self._wheel), filed)
        if self._weigher is not None:
            assert self._weight == sum(registration._weight for registration in dict.values(self._live))
        assert (self._weight if self._weigher is not None else len(self._live)) <= self._capacity
