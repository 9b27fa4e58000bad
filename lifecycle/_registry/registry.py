"""Registry: keyed live values with time to live, idle time and size, finalized exactly once and never while leased.

Theory of operation
-------------------

*The registration is the token.* Whatever removes a value (its time, its idle time, the size, a replacement, a call, the
close) first takes that very registration out of the map, in one synchronous step, and only then is it finalized: at
once when it is not leased, with its last lease otherwise. States only move LIVE, RETIRED, CLOSED, so "exactly once" is
a state and not a flag per path, and ``opened == live + retired + closed`` at every await.

*Nothing of the caller's can reach what belongs to all*: factories and finalizers run in tasks of the registry, each
with a deadline (`_flights`, `_finalizing`).

*Time*: a hit compares one number. What is due is found through a wheel of buckets (`_wheel`) by a timer that sleeps to
the first due bucket and works in turns of a fraction of a millisecond.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar, overload

from .._ground import kernel, trace
from .._ground.checks import checked_timeout
from .._ground.roots import enroll
from .._task.waiting import closing_tasks
from .books import EXPLICIT, FOREVER, OPEN, REPLACED, SIZE
from .creation import CreatingBooks
from .leases import Lease, TryLease
from .registrations import LIVE, Registration
from .statistics import RegistryStatistics

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_MISSING: Any = object()
_blank = object.__new__


class Registry(CreatingBooks[K, V]):
    """Keeps live values by key: clients, connections, sessions, results that are dear to make.

    A value leaves by its time to live, its idle time, the size, a replacement, an explicit call or the close, and is
    then finalized exactly once, in a task of the registry, and never while a lease of it is out. Concurrent creations
    of one key run one factory. A value that leaves is detached first and finalized after, so that the next `lease` of
    its key makes a new one meanwhile.

    Do not use it for plain data that needs no end and no single flight: a dict, or a cache library, is faster. Do not
    use it for interchangeable values that are lent to one borrower at a time: that is a ``Pool``.

    Everything but `sweep` costs the same however many values there are. All methods belong into the loop's thread.

    Example::

        async with Registry("clients", idle_ttl=300.0, max_size=50, finalizer=Client.aclose) as clients:
            async with clients.lease(cluster, lambda: connect(cluster)) as client:
                await client.run(job)

    Args:
        name: for logs, errors and statistics.
        ttl: seconds from `put` to the end, None for no bound.
        idle_ttl: seconds without a hit or a lease after which a value goes, None for no bound. A leased value is in
            use, however long.
        max_size: how many values may be live, from 1, or their total weight where there is a *weigher*; the least
            recently used go first. A leased value is spared while there is another among the sixteen least recently
            used.
        weigher: called as ``weigher(key, value)`` at every `put`; a whole number. What weighs more than ``max_size``
            alone is removed at once.
        finalizer: called with every value that left, in a task of the registry; synchronous or asynchronous.
        clock: seconds that never go back; by default the loop's clock.
        create_timeout: seconds that a factory may take, None for ever.
        close_timeout: seconds that each finalizer may take, and that closing waits for leases; None for ever.
        failure_ttl: seconds for which a factory's error answers further callers of its key; None, not at all.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str | None = None,
        *,
        ttl: float | None = None,
        idle_ttl: float | None = None,
        max_size: int | None = None,
        weigher: Callable[[K, V], int] | None = None,
        finalizer: Callable[[V], object] | None = None,
        clock: Callable[[], float] | None = None,
        create_timeout: float | None = 60.0,
        close_timeout: float | None = 30.0,
        failure_ttl: float | None = None,
    ) -> None:
        super().__init__(
            name or "registry",
            ttl=ttl,
            idle_ttl=idle_ttl,
            max_size=max_size,
            weigher=weigher,
            finalizer=finalizer,
            clock=clock,
            create_timeout=create_timeout,
            close_timeout=close_timeout,
            failure_ttl=failure_ttl,
        )
        enroll(self)  # last: whoever looks finds it whole

    # Looking

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return the live value under *key*, *default* where there is none; counts as a use.

        The value is not leased: it may be finalized as soon as you wait for anything. Use `lease` for what has a
        finalizer.
        """
        try:
            registration = self._live[key]
        except KeyError:
            self._misses += 1
            return default
        if self._timed and registration.expires_at <= self._clock() and self._is_over(registration, self._clock()):
            self._misses += 1
            return default
        if self._touch is not None:
            self._touch(key)
        self._hits += 1
        return registration.value

    def __contains__(self, key: object) -> bool:
        """Return whether *key* has a live value; counts as no use."""
        registration = self._live.get(key)  # type: ignore[arg-type]
        return registration is not None and not self._is_due(registration)

    def __len__(self) -> int:
        """How many values are live; some of them may be due and not yet swept."""
        return len(self._live)

    def __iter__(self) -> Iterator[K]:
        """Iterate over the keys of the live values, least recently used first where there is a ``max_size``."""
        return iter([key for key, registration in self._live.items() if not self._is_due(registration)])

    # Putting in and taking out

    def put(self, key: K, value: V, *, ttl: float | None = None) -> Registration[K, V]:
        """Own *value* under *key* from now on, and return its registration.

        A value that was there before is removed as REPLACED. The least recently used make room.

        Args:
            key: hashable.
            value: anything.
            ttl: this value's seconds to live in place of the registry's; infinity for no bound.

        Raises:
            OwnerClosed: the registry is closing or closed; *value* is finalized.
            TypeError, ValueError: *ttl* is no number of seconds, *key* is not hashable, or the weigher's answer is no
                whole number from 0; nothing has changed, and *value* is still yours.
        """
        if self._state is not OPEN:
            self._refuse_value(key, value)
        lifetime = self._ttl
        if ttl is not None:
            lifetime = checked_timeout(ttl, "ttl")
            self._timed = True
        live = self._live
        now = self._clock() if self._timed else 0.0
        expires_at = now + lifetime
        weight = 0
        if self._weigher is not None:
            weight = self._weigh(key, value)
        if key in live:
            self._give_way(live[key], now)
        if weight and weight > self._largest:
            return self._admit(key, value, SIZE)
        live[key] = registration = _blank(Registration)  # what its __init__ comes to, without the call: 8% of a put
        registration._registry = self
        registration.key = key
        registration.value = value
        registration.expires_at = expires_at
        registration._bucket = None
        registration._leases = 0
        registration._state = LIVE
        if self._idles:
            registration._limit = expires_at
            registration.expires_at = expires_at = min(expires_at, now + self._idle_ttl)
        if expires_at != FOREVER:
            wheel = self._wheel
            in_last = wheel.begins <= expires_at < wheel.ends
            registration._bucket = bucket = wheel.bucket if in_last else self._open_bucket(expires_at)
            bucket[registration] = None
        self._opened += 1
        if self._weigher is not None:
            self._weigh_in(registration, weight)
        elif len(live) > self._largest:
            self._evict_one()
        if trace.sink is not None:
            self._report_opened(registration)
        return registration

    def remove(self, registration: Registration[K, V]) -> bool:
        """Take the very value that *registration* stands for out; return whether it was there.

        It is finalized soon, or with its last lease.
        """
        return super().remove(registration)

    def discard(self, key: K) -> bool:
        """Take the value under *key* out, whichever it is; return whether there was one.

        A creation in progress is not touched: its value becomes the key's.
        """
        registration = self._live.get(key)
        if self._failures is not None:
            self._failures.forget(key)
        if registration is None:
            return False
        expired = self._is_due(registration)
        self._retire(registration, self._cause_of_time(registration) if expired else EXPLICIT)
        return not expired

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: V | D) -> V | D: ...
    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Take the value under *key* out and hand it to the caller, who owns it from now on: it is not finalized.

        Leases of it that are out keep using it; they end nothing.

        Raises:
            KeyError: there is none, and no *default*.
        """
        registration = self._live.get(key)
        if registration is None or self._is_due(registration):
            if default is _MISSING:
                raise KeyError(key)
            return default
        self._detach(registration)
        registration._cause = EXPLICIT
        self._removals[EXPLICIT] += 1
        self._handed_out += 1
        self._end(registration)
        return registration.value

    # Creating and leasing

    async def get_or_create(self, key: K, factory: Callable[[], Awaitable[V] | V]) -> V:
        """Return the value under *key*, made by ``factory()`` where there is none.

        However many callers ask at once, one factory runs, in a task of the registry. The value is not leased; use
        `lease` for what has a finalizer. A `put` during the creation wins: callers get what was put, and what the
        factory made is finalized.

        Cancellation: hurts no other caller. When the last one has left, the factory is cancelled, waited for (at most
        ``close_timeout``; not at all inside a shielded section), and what it still made is finalized.

        Raises:
            OwnerClosed: the registry is closed, or was closed meanwhile.
            CreationTimeout: the factory took longer than ``create_timeout``.
            RuntimeError: the factory of *key* asks for *key*, by itself or through other factories.
            BaseException: what the factory raised; every caller that waits gets it, the next call tries again.
        """
        try:
            registration = self._live[key]
            if self._timed and registration.expires_at <= self._clock() and self._is_over(registration, self._clock()):
                raise KeyError
        except KeyError:
            self._misses += 1
        else:
            if self._touch is not None:
                self._touch(key)
            self._hits += 1
            return registration.value
        registration = await self._obtain(key, factory)
        self._release(registration)
        return registration.value

    def lease(self, key: K, factory: Callable[[], Awaitable[V] | V] | None = None) -> Lease[K, V]:
        """Return an asynchronous context manager over the value under *key*, which cannot be finalized inside.

        Where there is no value, entering it makes one by ``factory()`` as `get_or_create` does, or raises KeyError
        where there is no *factory*. ``lease.discard()`` takes the value out of the registry.

        Cancellation: while it is entered as in `get_or_create`; leaving it never suspends.
        """
        return Lease(self, key, factory)

    def try_lease(self, key: K) -> TryLease[K, V]:
        """Return a synchronous context manager over the value under *key*, which cannot be finalized inside.

        Entering it raises KeyError where there is no value.
        """
        return TryLease(self, key)

    # Sweeping and closing

    def sweep(self, limit: int | None = None) -> int:
        """Take what is due out now, at most *limit* values; return how many.

        The registry does this by itself; call it where exactness matters more than the turn of the loop it holds.
        """
        now = self._clock()
        removed = 0
        while limit is None or removed < limit:
            bucket = self._wheel.due(now)
            if bucket is None:
                break
            removed += self._empty(bucket, now, 1 << 30 if limit is None else limit - removed)
        for registration in self._wheel.current(now):
            if limit is not None and removed >= limit:
                break
            if registration.expires_at <= now:
                removed += self._is_over(registration, now)
        return removed

    async def clear(self) -> None:
        """Take everything out, and wait until all that is not leased has been finalized.

        Called by a finalizer it does not wait for finalizers: two of them would wait for each other.

        Cancellation: ends the waiting; everything has left and is finalized all the same.
        """
        if self._failures is not None:
            self._failures.clear()
        self._condemn(EXPLICIT)
        await self._wait_until(lambda: not self._condemned)
        if self._crew is not None and not self._crew.has(kernel.current_task()):
            await self._wait_until(self._crew.fence(closing_tasks()))

    async def __aenter__(self) -> Self:
        self._check_open("an async with block")
        if trace.sink is not None and self._token is None:
            self._token = trace.opened("registry", self.name)
        self._arm(self._wheel.next_due())  # what was put in before there was a loop
        return self

    # Steps

    def _give_way(self, registration: Registration[K, V], now: float) -> None:
        """Retire what was under a key before a put, for its true cause."""
        late = registration.expires_at <= now and self._timed
        if not (late and self._is_over(registration, now)):
            self._retire(registration, REPLACED)

    def _claim_live(self, key: K) -> Registration[K, V] | None:
        """Lease the live value under *key*; None where there is none. Counts as a use."""
        registration = self._live.get(key)
        if registration is None or (
            self._timed and registration.expires_at <= (now := self._clock()) and self._is_over(registration, now)
        ):
            self._misses += 1
            return None
        if self._touch is not None:
            self._touch(key)
        self._hits += 1
        registration._leases += 1
        self._leases_out += 1
        return registration

    # The books

    def statistics(self) -> RegistryStatistics:
        """Return what the registry has done and holds at this moment."""
        pending = sum(len(batch) for batch, _ in self._condemned) + (len(self._crew) if self._crew is not None else 0)
        return RegistryStatistics(
            name=self.name,
            state=self._state.value,
            hits=self._hits,
            misses=self._misses,
            loads=self._loads,
            load_failures=self._load_failures,
            loading=len(self._flights),
            removals=dict(self._removals),
            live=len(self._live),
            retired=len(self._lingering) + pending,
            leases=self._leases_out,
            pending_close=pending,
            close_errors=self._close_errors,
            weight=self._weight if self._weigher is not None else len(self._live),
            opened=self._opened,
            closed=self._closed,
            handed_out=self._handed_out,
        )

    def __repr__(self) -> str:
        return f"registry {self.name!r}"

    def __del__(self) -> None:
        if getattr(self, "_crew", None) is not None and self._live and self._state is OPEN:
            warnings.warn(
                f"{self} was dropped with {len(self._live)} values in it; close it with `await registry.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
