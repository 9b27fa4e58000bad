"""Creations: how values come to be in a registry: one factory per key at a time, however many ask meanwhile."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable
from contextvars import Context
from inspect import isawaitable
from typing import Any, Generic, TypeVar

from .._chores import Chore, Chores
from .._ground import kernel
from .._ground.calls import call
from .._ground.checks import checked_callable, checked_timeout
from .._ground.errors import OwnerClosed, RegistryFull, TaskCancelled, failure_of
from .._ground.foreign import in_words
from .._ground.roots import Thing
from .._lender import OPEN, Closing
from .destination import Destination
from .failures import Failures
from .flights import Flight
from .keyed import take_out
from .leases import Leases, task_if_any
from .lifetimes import Timed, is_over, lifetime_of
from .registrations import EXPIRED, EXPLICIT, REPLACED, SHUT, UNWANTED, Registration, RemovalCause
from .shelf import Shelf
from .stale import OldValues
from .sweeper import Sweeper

K = TypeVar("K")
V = TypeVar("V")


class Creations(Generic[K, V]):
    """The values of one registry that are being made.

    Attributes:
        timeout: seconds that a factory may take.
        flights: the creations in progress, by key.
        detached: those in progress whose keys were invalidated meanwhile.
        chores: the tasks that make them.
        old: the values whose time is over, and that still serve.
        failures: errors that answer for their keys; None where the registry keeps none.
        loads: values that factories made.
        load_failures: factories that raised, or took too long.
        patience: seconds that the last caller to leave a creation waits for its clean-up.
    """

    __slots__ = (
        "_closing",
        "_destination",
        "_leases",
        "_shelf",
        "_sweeper",
        "chores",
        "claim",
        "detached",
        "failures",
        "flights",
        "load_failures",
        "loads",
        "old",
        "patience",
        "release",
        "report_error",
        "timeout",
    )

    def __init__(
        self,
        shelf: Shelf[K, V],
        destination: Destination[K, V],
        leases: Leases[K, V],
        sweeper: Sweeper[K, V],
        closing: Closing,
        failures: Failures[K] | None,
        timeout: float | None,
    ) -> None:
        self._shelf = shelf
        self._destination = destination
        self._sweeper = sweeper
        self._closing = closing
        self.failures = failures
        self.timeout: float = checked_timeout(timeout, "create_timeout")
        self.flights: dict[K, Flight[K, V]] = {}
        self.detached: dict[Flight[K, V], None] = {}
        self.chores = Chores(closing)
        self.loads = self.load_failures = 0
        self.old = OldValues(shelf, leases, closing)
        # What flights need; see `Nursery`.
        self.patience = closing.timeout
        self.claim = leases.claim
        self.release = leases.release
        self.report_error = closing.report_error

    async def obtain(self, key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V]) -> Registration[K, V]:
        """Return the value's registration, leased once for the caller, whose look-up has missed."""
        self._destination._come_home()
        old = self.old.meanwhile(key)
        if old is not None:
            if self._closing.state is OPEN:
                self._make_anew(key, factory)
            self.old.hits += 1
            return self.old.lend(old)
        while True:
            if self._closing.state is not OPEN:
                self._closing.check_open(f"the creation of {in_words(key)}")
            registration = self._shelf._live.get(key)
            if registration is not None and not self._shelf._is_due(registration):
                self.claim(registration)
                return registration
            flight = self.flights.get(key)
            if flight is not None and flight.dying:
                await flight.over()
                continue
            if flight is None:
                if self.failures is not None:
                    now = self._shelf._clock()
                    if self.failures.has(key, now) and (old := self.old.on_failure(key)) is not None:
                        self.old.on_error += 1
                        return self.old.lend(old)
                    self.failures.check(key, now)
                self._check_place(key)
                begun = self._begin_flight(key, factory)
                if isinstance(begun, Registration):
                    return begun
                flight = begun
            elif flight.is_awaited_by(kernel.current_task()):
                raise self._circle_error(key)
            return await flight.join()

    def _make_anew(self, key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V]) -> None:
        """Have the successor of an old value made, unless it is being made, or that has failed a moment ago.

        It is made for the registry: no caller waits for it, or is hurt by it, so that the factory is called in its task
        and in the registry's context.
        """
        flight = self.flights.get(key)
        if flight is not None:
            flight.kept = not flight.dying
            return
        if self.failures is not None and self.failures.has(key, self._shelf._clock()):
            return
        try:
            self._check_place(key)
        except RegistryFull:
            return
        flight, make = self._open_flight(key, factory)
        flight.kept = True
        try:
            self._begin_chore(flight, call(make), self._closing.home.context.copy())
        except Exception as error:  # of a task factory; the next caller tries again
            self.old.tell(flight, error)

    def _check_place(self, key: K) -> None:
        if not self.old.has_place(key):
            self._destination._check_room(key)

    def abandon_all(self, exempt: frozenset[Task[Any]]) -> None:
        """Cancel every factory but those of *exempt* tasks, and forget which ones failed."""
        for flight in (*self.flights.values(), *self.detached):
            if flight.chore is not None and flight.chore.task not in exempt:
                flight.abandon(f"{self._closing} is closing")
        self.forget_failures()

    def forget_failures(self) -> None:
        """Let every factory that failed be called again."""
        if self.failures is not None:
            self.failures.clear()

    def things(self) -> list[Thing]:
        """Return what a snapshot shows of them."""
        return [Thing("task", chore.name, "creating", task=chore.task) for chore in self.chores.live.values()]

    def under_way(self) -> int:
        """Return how many there are in progress."""
        return len(self.flights) + len(self.detached)

    def _circle_error(self, key: K) -> RuntimeError:
        name = in_words(key)
        return RuntimeError(
            f"the factory of {name} in {self._closing} asks for {name} itself, or through other factories, and would "
            "wait for ever; make what factories share under a key of its own"
        )

    def detach(self, key: K) -> bool:
        """Let the creation of *key* in progress, if any, answer only those who wait for it already."""
        flight = self.flights.get(key) if self.flights else None
        if flight is None or flight.dying:
            return False
        self._detach(flight)
        return True

    def detach_all(self) -> None:
        """Do so with every creation in progress."""
        for flight in list(self.flights.values()):
            if not flight.dying:
                self._detach(flight)

    def supersede(self, key: K) -> bool:
        """Take note of a put or a discard: what has failed for *key* is older, and so is what is being made, if any."""
        if self.failures is not None:
            self.failures.forget(key)
        return self.detach(key)

    def leave_loop(self) -> None:
        """Forget all creations: their loop is closed."""
        self.chores.disown_all()
        self.flights.clear()
        self.detached.clear()
        self.forget_failures()

    def _detach(self, flight: Flight[K, V]) -> None:
        take_out(self.flights, flight.key, flight)
        flight.detached = True
        self.detached[flight] = None
        if flight.kept and not flight.waiters and flight.chore is not None and flight.chore.task is not task_if_any():
            flight.abandon("nobody would get its value")

    def _begin_flight(self, key: K, factory: Callable[[], Any] | Timed[V]) -> Flight[K, V] | Registration[K, V]:
        """Begin a creation; a synchronous factory has made its value when this returns, and it is leased.

        It is one from before the factory is called: that may start an eager task that asks for the same key.
        """
        flight, make = self._open_flight(key, factory)
        settled = False  # whether there is a value already
        try:
            made = make()
            settled = not isawaitable(made)
            if settled:
                self._ask_lifetime(flight, made)
        except BaseException as error:
            failure = failure_of(f"creation of {in_words(key)} in {self._closing}", error)
            self._strike_out(flight)
            if settled:
                self._undo(key, made, UNWANTED)
            self._note_failure(flight, failure, in_caller=True)
            old = self.old.in_place_of(failure, flight)
            if old is not None:
                self.old.land(old, flight)
                self.old.on_error += 1
                return self.old.lend(old)
            flight.land(None, failure)
            try:
                if failure is error:
                    raise
                raise failure from error
            finally:
                del failure  # whose traceback refers to this frame: a cycle
        if settled:
            self._strike_out(flight)
            registration, refusal = self._settle(flight, made)
            flight.land(registration, refusal)
            if registration is not None:
                return registration
            assert refusal is not None
            try:
                raise refusal
            finally:
                del refusal  # as above
        self._begin_chore(flight, made)
        return flight

    def _open_flight(
        self, key: K, factory: Callable[[], Awaitable[V] | V] | Timed[V]
    ) -> tuple[Flight[K, V], Callable[[], Any]]:
        """Return a creation that has begun, with nothing done for it yet, and what makes its value."""
        make: Callable[[], Any] = factory.factory if isinstance(factory, Timed) else factory
        checked_callable(make, "factory")
        flight: Flight[K, V] = Flight(self, key, factory.ttl if isinstance(factory, Timed) else None)
        self.flights[key] = flight
        self._destination._look_before_puts()
        return flight, make

    def _begin_chore(self, flight: Flight[K, V], work: Awaitable[V], context: Context | None = None) -> None:
        try:
            flight.chore = self.chores.begin(
                work,
                f"creation of {in_words(flight.key)} in {self._closing}",
                timeout=self.timeout,
                settle=lambda chore: self._flight_ended(flight, chore),
                late=lambda value: self._undo(flight.key, value, UNWANTED),
                context=context,
            )
        except BaseException as error:  # a task factory has refused
            self._strike_out(flight)
            flight.land(None, error)
            raise

    def _strike_out(self, flight: Flight[K, V]) -> None:
        """Take a flight out of the books, before anybody is told of its end."""
        if flight.detached:
            self.detached.pop(flight, None)
        else:
            take_out(self.flights, flight.key, flight)

    def _flight_ended(self, flight: Flight[K, V], chore: Chore[V]) -> None:
        """Take in what a factory made or raised, and tell those who wait."""
        error = chore.error
        against = self._reason_against(flight, chore)
        self._strike_out(flight)
        if against is not None:
            self._undo(flight.key, chore.result, UNWANTED)
            error = against
        registration = None
        if error is None:
            registration, error = self._take_in(flight, chore.result)
        elif not flight.dying:
            self._note_failure(flight, error, in_caller=False)
        elif not isinstance(error, TaskCancelled):  # which is how a creation that is stopped should end
            self._closing.report_error("creation failed", error, key=in_words(flight.key))
        if registration is None and self._closing.state is not OPEN and (error is None or flight.dying):
            error = OwnerClosed(
                f"{self._closing} closed while it created the value of {in_words(flight.key)}; create it before the "
                "owner closes"
            )
        elif error is not None and (old := self.old.in_place_of(error, flight)) is not None:
            self.old.land(old, flight)
            self._closing.progress()
            return
        flight.land(registration, error)
        if registration is not None:
            self.release(registration)
        self._closing.progress()

    def _ask_lifetime(self, flight: Flight[K, V], value: V) -> None:
        """Have the flight know how long *value* may live; its key still leads to it, whatever the function does."""
        if callable(flight.ttl):  # which a Lifetime is not
            flight.ttl = lifetime_of(value, flight.ttl)

    def _reason_against(self, flight: Flight[K, V], chore: Chore[V]) -> BaseException | None:
        """Return why what a factory has made cannot be kept: its lifetime cannot be told."""
        if chore.error is None and not flight.dying and not self._closing.begun:
            try:
                self._ask_lifetime(flight, chore.result)
            except BaseException as error:
                return failure_of(f"creation of {in_words(flight.key)} in {self._closing}", error)
        return None

    def _note_failure(self, flight: Flight[K, V], error: BaseException, *, in_caller: bool) -> None:
        self.load_failures += 1
        if self.failures is not None and not flight.detached:
            try:
                self.failures.remember(flight.key, error, self._shelf._clock(), in_caller=in_caller)
            except Exception as failure:  # of the key, or of the clock: those who wait are told all the same
                self._closing.report_error("failure not kept", failure, key=in_words(flight.key))
            self._sweeper.wake_by(self.failures.next_due())

    def _take_in(self, flight: Flight[K, V], value: V) -> tuple[Registration[K, V] | None, BaseException | None]:
        """Return what a caller gets whose factory has made *value*, leased once, or why there is nothing."""
        if flight.dying or self._closing.begun:
            self._undo(flight.key, value, UNWANTED)
            return None, None
        return self._settle(flight, value)

    def _settle(self, flight: Flight[K, V], value: V) -> tuple[Registration[K, V] | None, BaseException | None]:
        self.loads += 1
        key = flight.key
        try:
            present = self._shelf._live.get(key)
            if present is not None and self._shelf._is_due(present):
                present = None
        except Exception as error:  # of the key, or the clock
            self._undo(key, value, UNWANTED)
            return None, error
        if present is not None:
            if present.value is not value:
                self._undo(key, value, REPLACED)
            self.claim(present)
            return present, None
        if flight.detached:
            cause = EXPLICIT if self._closing.state is OPEN else SHUT
            return self._destination._admit(key, value, cause, leases=1), None
        try:
            return self._put_claimed(flight, value), None
        except BaseException as error:  # of the weigher, or the key
            return None, error

    def _undo(self, key: K, value: V, cause: RemovalCause) -> None:
        """Have a value finalized that nobody gets, unless it was put in as well."""
        try:
            present = self._shelf._live.get(key)
        except Exception:  # of the key
            present = None
        if present is None or present.value is not value:
            self._destination._admit(key, value, cause if self._closing.state is OPEN else SHUT)

    def _put_claimed(self, flight: Flight[K, V], value: V) -> Registration[K, V]:
        """Put what a factory made, and lease it once in the same step: also what cannot stay."""
        key, ttl = flight.key, flight.ttl
        assert not callable(ttl)
        if self._closing.state is not OPEN:
            return self._destination._admit(key, value, SHUT, leases=1)
        if is_over(ttl) and not self._destination._keeps(ttl):
            return self._destination._admit(key, value, EXPIRED, leases=1)
        opened = self._shelf._opened
        try:
            return self._destination._put_leased(key, value, ttl)
        except BaseException:
            if self._shelf._opened == opened:  # it could not be weighed, or filed, and is owned by no one
                self._undo(key, value, UNWANTED)
            raise
