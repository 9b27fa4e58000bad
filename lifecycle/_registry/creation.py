"""Creations: how values come to be in a registry: one factory per key at a time, however many ask meanwhile."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Generic, Protocol, TypeVar

from .._chores import Chore, Chores
from .._ground import kernel
from .._ground.checks import checked_callable, checked_timeout
from .._ground.errors import OwnerClosed, TaskCancelled
from .._ground.foreign import in_words
from .._ground.roots import Thing
from .._lender import OPEN, Closing
from .failures import Failures
from .flights import Flight
from .leases import Leases
from .registrations import REPLACED, SHUT, SIZE, UNWANTED, Registration, RemovalCause
from .shelf import Shelf
from .sweeper import Sweeper

K = TypeVar("K")
V = TypeVar("V")


class Destination(Protocol[K, V]):
    """What takes in the values that are created."""

    def put(self, key: K, value: V) -> Registration[K, V]:
        """Own *value* under *key*."""

    def _admit(self, key: K, value: V, cause: RemovalCause, leases: int = 0) -> Registration[K, V]:
        """Own a value that is on its way out already."""


class Creations(Generic[K, V]):
    """The values of one registry that are being made.

    Attributes:
        timeout: seconds that a factory may take.
        flights: the creations in progress, by key.
        chores: the tasks that make them.
        failures: errors that answer for their keys; None where the registry keeps none.
        loads: values that factories made.
        load_failures: factories that raised, or took too long.
        patience: seconds that the last caller to leave a creation waits for its clean-up.
        awaited: the flights that are waited for, by the task that waits.
    """

    __slots__ = (
        "_closing",
        "_destination",
        "_leases",
        "_shelf",
        "_sweeper",
        "awaited",
        "chores",
        "claim",
        "failures",
        "flights",
        "load_failures",
        "loads",
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
        self.chores = Chores(closing)
        self.loads = self.load_failures = 0
        # What flights need; see `Nursery`.
        self.patience = closing.timeout
        self.awaited: dict[Task[Any], Flight[K, V]] = {}
        self.claim = leases.claim
        self.release = leases.release
        self.report_error = closing.report_error

    async def obtain(self, key: K, factory: Callable[[], Awaitable[V] | V]) -> Registration[K, V]:
        """Return the value's registration, leased once for the caller, whose look-up has missed."""
        while True:
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
                    self.failures.check(key, self._shelf._clock())
                begun = self._begin_flight(key, factory)
                if isinstance(begun, Registration):
                    return begun
                flight = begun
            elif flight.is_awaited_by(kernel.current_task()):
                raise self._circle_error(key)
            return await flight.join()

    def abandon_all(self, exempt: frozenset[Task[Any]]) -> None:
        """Cancel every factory but those of *exempt* tasks, and forget which ones failed."""
        for flight in list(self.flights.values()):
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

    def _circle_error(self, key: K) -> RuntimeError:
        name = in_words(key)
        return RuntimeError(
            f"the factory of {name} in {self._closing} asks for {name} itself, or through other factories, and would "
            "wait for ever; make what factories share under a key of its own"
        )

    def _begin_flight(self, key: K, factory: Callable[[], Any]) -> Flight[K, V] | Registration[K, V]:
        """Begin a creation; a synchronous factory has made its value when this returns, and it is leased."""
        checked_callable(factory, "factory")
        try:
            made = factory()
        except BaseException as error:
            self._note_failure(key, error)
            raise
        if not isawaitable(made):
            self.loads += 1
            return self._put_claimed(key, made)
        flight: Flight[K, V] = Flight(self, key)
        self.flights[key] = flight
        try:
            flight.chore = self.chores.begin(
                made,
                f"creation of {in_words(key)} in {self._closing}",
                timeout=self.timeout,
                settle=lambda chore: self._flight_ended(flight, chore),
                late=lambda value: self._undo(key, value, UNWANTED),
            )
        except BaseException:
            del self.flights[key]
            raise
        return flight

    def _flight_ended(self, flight: Flight[K, V], chore: Chore[V]) -> None:
        """Take in what a factory made or raised, and tell those who wait."""
        key = flight.key
        del self.flights[key]
        error = chore.error
        registration = None
        if error is None:
            registration, error = self._take_in(flight, chore.result)
        elif not flight.dying:
            self._note_failure(key, error)
        elif not isinstance(error, TaskCancelled):  # which is how a creation that is stopped should end
            self._closing.report_error("creation failed", error, key=in_words(key))
        if registration is None and self._closing.state is not OPEN and (error is None or flight.dying):
            error = OwnerClosed(
                f"{self._closing} closed while it created the value of {in_words(key)}; create it before the owner "
                "closes"
            )
        flight.land(registration, error)
        if registration is not None:
            self.release(registration)
        self._closing.progress()

    def _note_failure(self, key: K, error: BaseException) -> None:
        self.load_failures += 1
        if self.failures is not None:
            self.failures.remember(key, error, self._shelf._clock())
            self._sweeper.wake_by(self.failures.next_due())

    def _take_in(self, flight: Flight[K, V], value: V) -> tuple[Registration[K, V] | None, BaseException | None]:
        """Return what is under the flight's key now, leased once, or why there is nothing."""
        if flight.dying or self._closing.begun:
            self._undo(flight.key, value, UNWANTED)
            return None, None
        self.loads += 1
        present = self._shelf._live.get(flight.key)
        if present is not None and not self._shelf._is_due(present):
            self._undo(flight.key, value, REPLACED)
            self.claim(present)
            return present, None
        try:
            return self._put_claimed(flight.key, value), None
        except BaseException as error:  # of the weigher
            return None, error

    def _undo(self, key: K, value: V, cause: RemovalCause) -> None:
        self._destination._admit(key, value, cause if self._closing.state is OPEN else SHUT)

    def _put_claimed(self, key: K, value: V) -> Registration[K, V]:
        """Put what a factory made, and lease it once in the same step: also what cannot stay."""
        if self._closing.state is not OPEN:
            return self._destination._admit(key, value, SHUT, leases=1)
        opened = self._shelf._opened
        try:
            if self._shelf._weigher is not None and self._shelf._weigh(key, value) > self._shelf._capacity:
                return self._destination._admit(key, value, SIZE, leases=1)
            registration = self._destination.put(key, value)
        except BaseException:
            if self._shelf._opened == opened:  # it could not be weighed, and is owned by no one
                self._undo(key, value, UNWANTED)
            raise
        self.claim(registration)
        return registration
