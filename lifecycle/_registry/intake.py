"""Intake: how values are put into a registry, for the first time, in place of others, or once more."""

from __future__ import annotations

import random
from typing import Generic, NoReturn

from .._ground import kernel, trace
from .._ground.checks import checked_timeout
from .._ground.closing import refuse
from .._ground.errors import RegistryFull
from .._ground.foreign import in_words
from .._lender import OPEN
from .lifetimes import Lifetime
from .registrations import LIVE, SHUT, SIZE, Lasting, Registration, RemovalCause
from .residence import Residence
from .shelf import FOREVER, K, V

_blank = object.__new__


class Intake(Residence[K, V], Generic[K, V]):
    """A registry as far as values come into it.

    Attributes:
        _ttl_jitter: the part of the time to live that is left to chance.
        _refuses: whether what comes when it is full is refused, instead of others having to go.
        _refused: how often that was.
    """

    __slots__ = ("_refused", "_refuses", "_ttl_jitter")

    _refused: int
    _refuses: bool
    _ttl_jitter: float

    def put(self, key: K, value: V, *, ttl: float | Lifetime | None = None) -> Registration[K, V]:
        """Own *value* under *key* from now on, and return its registration.

        A value that was there before is removed as REPLACED. The very object that is there already is not: its time
        begins anew, and its registration and leases stay. The least recently used make room. A creation of *key* in
        progress is overtaken: those who wait for it get *value*.

        Args:
            key: hashable; its hash and equality must not change while it is in here.
            value: anything.
            ttl: this value's seconds to live in place of the registry's, infinity for no bound; or its Lifetime.

        Raises:
            OwnerClosed: the registry is closing or closed; *value* is finalized.
            RegistryFull: there is no place, and ``when_full`` is ``"refuse"``; *value* is still yours.
            WrongLoop: the registry has values in another event loop, which is not closed.
            TypeError, ValueError: *ttl* is not a number of seconds, *key* is not hashable, or the weigher's answer is
                not a whole number from 0; nothing has changed, and *value* is still yours.
        """
        ready = self._ready
        if not ready:
            self._prepare(key, value)
        if not self._is_plain:
            return self._put_in_full(key, value, ttl)
        lifetime = self._ttl
        if ttl is not None:
            if isinstance(ttl, Lifetime):
                return self._put_in_full(key, value, ttl)
            lifetime = checked_timeout(ttl, "ttl")
            self._timed = True
        elif not ready:
            lifetime = self._draw_lifetime()
        live = self._live
        now = self._clock() if self._timed else 0.0
        expires_at = now + lifetime
        if type(key) is not self._key_type:
            self._meet_key_type(type(key))
        if not ready:
            self._creations.supersede(key)  # before anything has changed: the key may raise
        while key in live:  # more than once where it was there already, as another key that it has been
            present = live[key]
            if present.value is value:
                return self._renew(present, key, now, expires_at)
            self._departures.give_way(present, now)
            live = self._live
        live[key] = registration = _blank(Registration)  # inlined Registration.__init__: 8% of a put
        registration._registry = self
        registration.key = key
        registration.value = value
        registration.expires_at = expires_at
        registration._leases = 0
        registration._state = LIVE
        if self._has_idle_ttl:
            registration._limit = expires_at
            registration.expires_at = expires_at = min(expires_at, now + self._idle_ttl)
        if expires_at == FOREVER:
            registration._bucket = None
        else:
            wheel = self._wheel
            in_last = wheel.begins <= expires_at < wheel.ends
            registration._bucket = bucket = wheel.bucket if in_last else self._sweeper.open_bucket(expires_at)
            bucket[registration] = None
        self._opened += 1
        if len(live) > self._capacity:
            self._departures.evict_oldest()
        if trace.sink is not None:
            self._departures.trace_opened(registration)
        return registration

    def _put_in_full(self, key: K, value: V, ttl: float | Lifetime | None, leases: int = 0) -> Registration[K, V]:
        """Do as `put` does, with weights and with old values that serve on; what comes in is leased that often."""
        stale_ttl, stale_on_error = self._stale_times(ttl)
        if isinstance(ttl, Lifetime):
            ttl = ttl.ttl
        lifetime = self._draw_lifetime()
        if ttl is not None:
            lifetime = checked_timeout(ttl, "ttl")
            self._timed = True
        now = self._clock() if self._timed else 0.0
        weight = 0 if self._weigher is None else self._weigh(key, value)
        self._meet_key_type(type(key))
        present = self._live.get(key)
        self._creations.supersede(key)
        if present is not None and present.value is value:
            present._leases += leases
            self._leases.count += leases
            if self._weigher is not None:
                self._weight += weight - present._weight
                present._weight = weight
            if weight > self._capacity:
                self._departures.retire(present, SIZE)
                return present
            if isinstance(present, Lasting):
                present._stale_ttl, present._stale_on_error = stale_ttl, stale_on_error
            self._renew(present, key, now, now + lifetime)
            self._make_room()
            return present
        while present is not None:
            self._departures.give_way(present, now)
            present = self._live.get(key)
        if weight > self._capacity:
            return self._admit(key, value, SIZE, leases)
        registration: Registration[K, V]
        if stale_ttl or stale_on_error:
            registration = lasting = Lasting(self, key, value, FOREVER)
            lasting._stale_ttl, lasting._stale_on_error = stale_ttl, stale_on_error
        else:
            registration = Registration(self, key, value, FOREVER)
        registration._leases = leases
        registration._weight = weight
        self._live[key] = registration
        self._begin_time(registration, now, now + lifetime)
        self._leases.count += leases
        self._opened += 1
        self._weight += weight
        self._make_room()
        if trace.sink is not None:
            self._departures.trace_opened(registration)
        return registration

    def _stale_times(self, ttl: float | Lifetime | None) -> tuple[float, float]:
        """Return for how long a value serves after its time, while a new one is made and where that has failed."""
        if not isinstance(ttl, Lifetime):
            return self._stale_ttl, self._stale_on_error
        return (
            self._stale_ttl if ttl.stale_ttl is None else ttl.stale_ttl,
            self._stale_on_error if ttl.stale_on_error is None else ttl.stale_on_error,
        )

    def _keeps(self, ttl: float | Lifetime | None) -> bool:
        """Whether a value with that time still serves when it is over."""
        return any(self._stale_times(ttl))

    def _put_leased(self, key: K, value: V, ttl: float | Lifetime | None) -> Registration[K, V]:
        """Put a value in, and lease it in the same step."""
        if not self._is_plain or isinstance(ttl, Lifetime):
            if not self._ready:
                self._prepare(key, value)
            return self._put_in_full(key, value, ttl, leases=1)
        registration = self.put(key, value, ttl=ttl)
        self._leases.claim(registration)
        return registration

    def _renew(self, present: Registration[K, V], key: K, now: float, expires_at: float) -> Registration[K, V]:
        """Let the time of a value that is put in once more begin anew."""
        self._begin_time(present, now, expires_at)
        if self._is_lru:
            self._live.move_to_end(key)  # type: ignore[attr-defined]
        return present

    def _begin_time(self, registration: Registration[K, V], now: float, expires_at: float) -> None:
        """Let the time of a value begin, which is over then unless it is idle before."""
        registration.expires_at = expires_at
        if self._has_idle_ttl:
            registration._limit = expires_at
            registration.expires_at = min(expires_at, now + self._idle_ttl)
        if isinstance(registration, Lasting):
            registration._leaves_at = self._serves_until(registration)
            if self._has_idle_ttl:
                registration._leaves_at = min(registration._leaves_at, now + self._idle_ttl)
        self._refile(registration)

    def _make_room(self) -> None:
        while (len(self._live) if self._weigher is None else self._weight) > self._capacity:
            self._departures.evict_oldest()

    def _draw_lifetime(self) -> float:
        return self._ttl if not self._ttl_jitter else self._ttl * (1.0 - random.random() * self._ttl_jitter)

    def _admit(self, key: K, value: V, cause: RemovalCause, leases: int = 0) -> Registration[K, V]:
        """Take in a value that is on its way out already, so that it is finalized like any other."""
        registration = Registration(self, key, value, FOREVER)
        registration._leases = leases
        self._leases.count += leases
        self._opened += 1
        if trace.sink is not None:
            self._departures.trace_opened(registration)
        self._departures.dispose(registration, cause)
        return registration

    def _refuse_value(self, key: K, value: V) -> NoReturn:
        what = f"the value of {in_words(key)}"
        crew = self._departures.crew
        if crew is not None and kernel.has_loop() and crew.has(kernel.current_task()):
            # It would be finalized by the next finalizer, that one's offer by another, and the close never be over.
            refuse(self, what, f"it is {self._closing.state.value}; a finalizer offers the value, which stays its own")
        self._admit(key, value, SHUT)
        refuse(self, what, f"it is {self._closing.state.value}; the value is finalized")

    def _prepare(self, key: K, value: V) -> None:
        """Look at everything that a put may have to look at; the next one need not if there is nothing."""
        if self._closing.state is not OPEN:
            self._refuse_value(key, value)
        if kernel.has_loop():
            self._come_home()
            creations = self._creations
            busy = creations.flights or creations.failures is not None or self._ttl_jitter or self._refuses
            self._ready = not busy
        if self._refuses:
            present = self._live.get(key)
            if present is None or (present._leases and present.value is not value):
                self._check_room(key)

    def _check_room(self, key: K) -> None:
        """Refuse one more value where those that are in here, lent or being made take all places.

        Raises:
            RegistryFull: so it is, also without what is due.
        """
        if not self._refuses or self._taken() < self._capacity:
            return
        if self._timed:
            self._sweeper.sweep(FOREVER)
        if self._taken() >= self._capacity:
            self._refused += 1
            lent, making = len(self._departures.retained), self._creations.under_way()
            raise RegistryFull(
                f"{self._closing} has no place for {in_words(key)}: of {self._capacity} there are {len(self._live)} "
                f"live, {lent} that have left and are still leased, and {making} being made; try again later"
            )

    def _taken(self) -> int:
        return len(self._live) + len(self._departures.retained) + self._creations.under_way()

    def _look_before_puts(self) -> None:
        self._ready = False
