"""Registry: keyed live values with time to live, idle time and size, finalized exactly once and never while leased.

Values are made by the creations, live on the shelf, and leave through the departures; the sweeper sees when. Nothing of
the caller's reaches what belongs to all: factories and finalizers run in tasks of the registry, each with a deadline.
"""

from __future__ import annotations

import warnings
from asyncio import Task
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Self, TypeVar, overload

from .._ground import kernel, trace
from .._ground.checks import check_choice, checked_callable, checked_limit, checked_part, checked_timeout
from .._ground.errors import KeyMissing
from .._ground.roots import Portrait, enroll
from .._lender import OPEN, Closing, ComeBack, Lender, ReturnReport
from .._task.waiting import closing_tasks, let_be_seen
from .creation import Creations
from .departures import Departures
from .failures import Failures
from .intake import Intake
from .leases import Lease, Leases, PutLease, TryLease
from .lifetimes import Lifetime, Timed, TimeToLive, checked_lifetime
from .registrations import EXPLICIT, SHUT, Registration, RegistrationLease
from .shelf import FOREVER, K, V
from .statistics import RegistryStatistics
from .sweeper import Sweeper
from .telltale import ToldDepartures

D = TypeVar("D")

_MISSING: Any = object()

WhenFull = Literal["evict", "refuse"]


class Registry(Intake[K, V], Lender):
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
        ttl_jitter: by which part of *ttl*, from 0 up to 1, the end of each value comes sooner at most, at random, so
            that what was made together does not go together.
        on_removed: called with the registration of every value that has left, whose ``cause`` says why, also where it
            is still leased: when the step that has removed it is over, before its finalizer. Synchronous, in the
            context that the registry was made in; it may use the registry, and an error of it is logged.
        when_full: ``"evict"``, so that the least recently used makes room, or ``"refuse"``: a `put` under another key,
            or the creation of a value, raises RegistryFull before anything has happened while ``max_size`` values are
            live, or have left and are still leased, or are being made. Needs ``max_size``, and takes no *weigher*.
        stale_ttl: seconds after the end of its time to live in which `get_or_create` and `lease` hand out the old value
            at once, while one creation for the registry makes the new one; None, not at all.
        stale_on_error: seconds after that in which they hand it out in place of an error of the factory, which is
            logged; None, not at all.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ("__weakref__", "_hits", "_misses")

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
        ttl_jitter: float = 0.0,
        on_removed: Callable[[Registration[K, V]], object] | None = None,
        when_full: WhenFull = "evict",
        stale_ttl: float | None = None,
        stale_on_error: float | None = None,
    ) -> None:
        super().__init__(
            ttl=ttl,
            idle_ttl=idle_ttl,
            max_size=max_size,
            weigher=weigher,
            clock=clock,
            stale_ttl=stale_ttl,
            stale_on_error=stale_on_error,
        )
        check_choice(when_full, WhenFull, "when_full")
        self._refuses = when_full == "refuse"
        self._refused = 0
        if self._refuses and (max_size is None or weigher is not None):
            raise ValueError('when_full="refuse" counts values: it needs max_size, and takes no weigher')
        self._ttl_jitter = checked_part(ttl_jitter, "ttl_jitter")
        self._hits = self._misses = 0
        self._ready = False  # whether a put has nothing to look at but the value; see `_prepare`
        self._warned = self._told_end = False
        self._closing = closing = Closing(self, "registry", name, close_timeout)
        departures: Departures[K, V]
        if on_removed is None:
            departures = Departures(self, closing, finalizer)
        else:
            departures = ToldDepartures(self, closing, finalizer, on_removed)
        self._departures = departures
        self._leases = leases = Leases(self, departures, closing)
        failures = None if failure_ttl is None else Failures[K](checked_timeout(failure_ttl, "failure_ttl"))
        self._sweeper = sweeper = Sweeper(self, departures, failures, closing)
        self._creations = Creations(self, self, leases, sweeper, closing, failures, create_timeout)
        enroll(self)  # last: a snapshot finds it whole

    @property
    def create_timeout(self) -> float:
        """Seconds that a factory may take; infinity for no bound."""
        return self._creations.timeout

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
        if self._timed and registration.expires_at <= self._clock() and self._expire(registration):
            self._misses += 1
            return default
        if self._touch is not None:
            self._touch(key)
        self._hits += 1
        return registration.value

    # Taking out

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: V | D) -> V | D: ...
    def pop(self, key: K, default: Any = _MISSING) -> Any:
        """Take the value under *key* out and hand it to the caller, who owns it from now on: it is not finalized.

        Leases of it that are out keep using it; they end nothing.

        Raises:
            KeyMissing: there is none, and no *default*; a ``KeyError``.
        """
        registration = self._live.get(key)
        if registration is None or self._is_due(registration):
            if registration is not None and self._is_kept(registration, self._clock()):
                self._departures.retire(registration, EXPLICIT)
            if default is _MISSING:
                raise KeyMissing(key)
            return default
        self._departures.hand_out(registration, EXPLICIT)
        return registration.value

    # Creating and leasing

    async def get_or_create(
        self, key: K, factory: Callable[[], Awaitable[V] | V], *, ttl: TimeToLive[V] | None = None
    ) -> V:
        """Return the value under *key*, made by ``factory()`` where there is none.

        However many callers ask at once, one factory runs, in a task of the registry. The value is not leased; use
        `lease` for what has a finalizer. A `put` during the creation wins: callers get what was put, and what the
        factory made is finalized. After a `discard` or `clear` during the creation, its callers get its value, and
        later ones a new one. The factory runs in a copy of the context of the caller that it was started for.

        *ttl*, of the caller that it was started for, is the value's time to live in place of the registry's: seconds,
        or a function that is called once with what the factory has made and returns seconds, infinity for no bound or
        None for the registry's; or a Lifetime in place of seconds. With 0 or less those who wait get the value, and it
        is not kept. An error of the function is one of the creation, and the value is finalized.

        With a ``stale_ttl`` the old value is returned for a while after its time, and the factory called for the
        registry, in its context and a task of its own; with a ``stale_on_error`` in place of an error of the factory.

        Cancellation: hurts no other caller. When the last one has left, the factory is cancelled, waited for (at most
        ``close_timeout``; not at all inside a shielded section), and what it still made is finalized.

        Raises:
            OwnerClosed: the registry is closed, or was closed meanwhile.
            RegistryFull: there is no place for what is to be made, and ``when_full`` is ``"refuse"``.
            CreationTimeout: the factory took longer than ``create_timeout``.
            RuntimeError: the factory of *key* asks for *key*, by itself or through other factories.
            BaseException: what the factory raised; every caller that waits gets it, the next call tries again.
        """
        try:
            registration = self._live[key]
            if self._timed and registration.expires_at <= self._clock() and self._expire(registration):
                raise KeyError
        except KeyError:
            self._misses += 1
        else:
            if self._touch is not None:
                self._touch(key)
            self._hits += 1
            return registration.value
        registration = await self._creations.obtain(key, factory if ttl is None else Timed(factory, ttl))
        self._leases.release(registration)
        return registration.value

    def lease(
        self, key: K, factory: Callable[[], Awaitable[V] | V] | None = None, *, ttl: TimeToLive[V] | None = None
    ) -> Lease[K, V]:
        """Return an asynchronous context manager over the value under *key*, which cannot be finalized inside.

        Where there is no value, entering it makes one by ``factory()`` as `get_or_create` does, or raises KeyMissing
        where there is no *factory*. *ttl* is that of what the factory makes, as there. ``lease.discard()`` takes the
        value out of the registry.

        Cancellation: while it is entered as in `get_or_create`; leaving it never suspends.

        Raises:
            TypeError, ValueError: *factory* is no function, or *ttl* no number of seconds, or without a factory.
        """
        if factory is not None:
            checked_callable(factory, "factory")
        if ttl is not None:
            if factory is None:
                raise ValueError("ttl is that of what a factory makes; give one, or put the value with its ttl")
            return Lease(self, key, Timed(factory, ttl))
        return Lease(self, key, factory)

    def try_lease(self, key: K) -> TryLease[K, V]:
        """Return a synchronous context manager over the value under *key*, which cannot be finalized inside.

        Entering it raises KeyMissing where there is no value.
        """
        return TryLease(self, key)

    def put_and_lease(self, key: K, value: V, *, ttl: float | Lifetime | None = None) -> RegistrationLease[K, V]:
        """Return a context manager, ``with`` or ``async with``, that puts *value* in and leases it in the same step.

        Entering it does what `put` does, with its errors, and never suspends; until then *value* is still yours. So
        nothing can end it between the two, neither its time nor somebody else. A value that is too heavy for the
        registry is finalized after the block.

        Raises:
            TypeError, ValueError: *ttl* is not a number of seconds.
        """
        return PutLease(self, key, value, None if ttl is None else checked_lifetime(ttl, "ttl"))

    # Sweeping and closing

    def close(self) -> None:
        """Refuse new values and creations from now on; what is live stays, and is found and leased. Idempotent."""
        self._ready = False
        super().close()

    def sweep(self, limit: int | None = None) -> int:
        """Take what is due out now, at most *limit* values; return how many.

        The registry does this by itself; call it where exactness matters more than the turn of the loop it holds.

        Raises:
            TypeError, ValueError: *limit* is neither a whole number from 0 nor None.
        """
        most = checked_limit(limit, least=0)
        return self._sweeper.sweep(FOREVER if most is None else most)

    async def clear(self) -> None:
        """Take everything out, and wait until all that is not leased has been finalized.

        Called by a finalizer it does not wait for finalizers: two of them would wait for each other.

        Cancellation: ends the waiting; everything has left and is finalized all the same.
        """
        self._come_home()
        self._creations.forget_failures()
        self._creations.detach_all()
        self._sweeper.remove_all(EXPLICIT)
        await self._closing.wait_until(lambda: not len(self._sweeper) and self._departures.all_told())
        crew = self._departures.crew
        if crew is not None and not crew.has(kernel.current_task()):
            await let_be_seen()
            await self._closing.wait_until(crew.fence(closing_tasks()))

    async def __aenter__(self) -> Self:
        """Open the block; does not suspend."""
        self._closing.enter()
        self._arrive()
        return self

    # Steps

    def _expire(self, registration: Registration[K, V]) -> bool:
        """Whether a value that has reached its ``expires_at`` is due; it leaves unless it is kept as an old one."""
        return self._departures.expire(registration, self._clock()) or self._is_due(registration)

    def _claim_live(self, key: K) -> Registration[K, V] | None:
        """Lease the live value under *key*; None where there is none. Counts as a use."""
        registration = self._live.get(key)
        if registration is None or (
            self._timed and registration.expires_at <= self._clock() and self._expire(registration)
        ):
            self._misses += 1
            return None
        if self._touch is not None:
            self._touch(key)
        self._hits += 1
        registration._leases += 1
        self._leases.count += 1
        return registration

    def _claim_this(self, registration: Registration[K, V]) -> bool:
        """Lease this very registration, if it is there, whatever its key has become. Counts as a use."""
        if not self._is_there(registration) or (self._is_due(registration) and self._expire(registration)):
            self._misses += 1
            return False
        self._hits += 1
        self._leases.claim(registration)
        self._note_use(registration)
        return True

    async def _obtain(self, key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V]) -> Registration[K, V]:
        return await self._creations.obtain(key, factory)

    # Closing

    def _begin_closing(self, exempt: frozenset[Task[Any]]) -> None:
        self._ready = False
        self._arrive()
        self._creations.abandon_all(exempt)
        self._sweeper.remove_all(SHUT)
        self._sweeper.stop()

    def _has_come_back(self, exempt: frozenset[Task[Any]], *, closing: bool) -> Callable[[], bool]:
        leases = self._leases
        if closing:
            return ComeBack(self._departures.retained.__len__, lambda: leases.retained_by_others(exempt))
        return ComeBack(leases.holders.__len__, lambda: leases.held_by_others(exempt))

    def _borrowers(self) -> set[Task[Any]]:
        return {task for task in self._leases.holders.values() if task is not None}

    def _still_out(self, exempt: frozenset[Task[Any]]) -> ReturnReport:
        ending = len(self._sweeper) + (0 if self._departures.is_idle(exempt) else len(self._departures))
        pending = self._creations.chores.names(exempt)
        return ReturnReport(self._leases.by_others(exempt), (*pending, f"{ending} finalizers") if ending else pending)

    def _borrowed(self) -> list[str]:
        return self._leases.in_words()

    # The books

    def statistics(self) -> RegistryStatistics:
        """Return what the registry has done and holds at this moment."""
        departures, creations = self._departures, self._creations
        pending = len(self._sweeper) + len(departures)
        return RegistryStatistics(
            name=self.name,
            state=self._closing.state.value,
            hits=self._hits,
            misses=self._misses - creations.old.hits,  # each was taken for one, in the same step
            loads=creations.loads,
            load_failures=creations.load_failures,
            loading=len(creations.flights) + len(creations.detached),
            removals=dict(departures.removals),
            live=len(self._live),
            retired=len(departures.retained) + pending,
            leases=self._leases.count,
            pending_close=pending,
            close_errors=departures.close_errors,
            weight=self._weight if self._weigher is not None else len(self._live),
            opened=self._opened,
            closed=departures.closed,
            handed_out=departures.handed_out,
            refused=self._refused,
            stale_hits=creations.old.hits,
            stale_on_error=creations.old.on_error,
        )

    def _portrait(self) -> Portrait:
        """Describe what is owned, for a snapshot."""
        closing, departures = self._closing, self._departures
        things = [*self._creations.things(), *departures.things(), *self._things(departures.mark_of)]
        statistics = self.statistics()
        counts = {"hits": statistics.hits, "misses": statistics.misses, "leases": statistics.leases}
        return Portrait(
            "registry", self.name, closing.state.value, None, things, counts, trace.mark_in(closing.account)
        )

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        departures, waiting = self._departures, len(self._sweeper)
        retired = len(departures.retained) + waiting + len(departures)
        assert self._opened == len(self._live) + retired + departures.closed, (self._opened, len(self._live), retired)
        assert sum(departures.removals.values()) + len(self._live) + waiting == self._opened, departures.removals
        super()._check_invariants()
        departures._check_invariants()

    def __del__(self) -> None:
        departures = getattr(self, "_departures", None)
        if departures is None or departures.crew is None or self._closing.state is not OPEN:
            return
        left = len(self._live) or len(self._sweeper)
        if left:
            warnings.warn(
                f"{self} was dropped with {left} values in it; close it with `await registry.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
