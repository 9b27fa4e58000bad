"""Creating in a registry: one factory per key at a time, and how a registry closes with creations in progress."""

from __future__ import annotations

from asyncio import Task
from collections import Counter
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

from .._chores import Chore
from .._ground import kernel
from .._ground.errors import OwnerClosed, TaskCancelled
from .._ground.roots import Portrait, Thing
from .._lender import borrower_in_words
from .books import FOREVER, OPEN, REPLACED, SHUT, SIZE, UNWANTED
from .flights import Flight
from .registrations import LIVE, RETIRED, Registration, RemovalCause, in_words
from .time import TimedBooks

K = TypeVar("K")
V = TypeVar("V")

#: A snapshot names the values of a registry one by one up to this number.
LISTED = 200


class CreatingBooks(TimedBooks[K, V]):
    """The books, and the values in the making."""

    __slots__ = ()

    async def _obtain(self, key: K, factory: Callable[[], Awaitable[V] | V]) -> Registration[K, V]:
        """Return the value's registration, leased once for the caller, whose look-up has missed."""
        while True:
            if self._state is not OPEN:
                self._check_open(f"the creation of {in_words(key)}")
            registration = self._live.get(key)
            if registration is not None and not self._is_due(registration):
                self._claim(registration)
                return registration
            flight = self._flights.get(key)
            if flight is not None and flight.dying:
                await flight.over()
                continue
            if flight is None:
                if self._failures is not None:
                    self._failures.check(key, self._clock())
                begun = self._take_off(key, factory)
                if isinstance(begun, Registration):
                    return begun
                flight = begun
            elif flight.is_awaited_by(kernel.current_task()):
                raise self._circle(key)
            return await flight.join()

    def _circle(self, key: K) -> RuntimeError:
        name = in_words(key)
        return RuntimeError(
            f"the factory of {name} in {self} asks for {name} itself, or through other factories, and would wait for "
            "ever; make what factories share under a key of its own"
        )

    def _take_off(self, key: K, factory: Callable[[], Any]) -> Flight[K, V] | Registration[K, V]:
        """Begin a creation; a synchronous factory has made its value when this returns, and it is leased."""
        try:
            made = factory()
        except BaseException as error:
            self._note_failure(key, error)
            raise
        if not isawaitable(made):
            self._loads += 1
            return self._put_claimed(key, made)
        flight: Flight[K, V] = Flight(self, key)
        self._flights[key] = flight
        try:
            flight.chore = self._chores.begin(
                made,
                f"creation of {in_words(key)} in {self}",
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
            self._note_failure(key, error)
        elif not isinstance(error, TaskCancelled):  # which is how a creation that is given up should end
            self._report_error(f"giving up the creation of {in_words(key)}", error)
        if registration is None and self._state is not OPEN and (error is None or flight.dying):
            error = OwnerClosed(
                f"{self} closed while it created the value of {in_words(key)}; create it before the owner closes"
            )
        flight.land(registration, error)
        if registration is not None:
            self._release(registration)
        if self._watchers:
            self._progress()

    def _note_failure(self, key: K, error: BaseException) -> None:
        self._load_failures += 1
        if self._failures is not None:
            self._failures.remember(key, error, self._clock())
            self._arm(min(self._armed_for, self._failures.next_due()))

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
            return None, error

    def _undo(self, key: K, value: V, cause: RemovalCause) -> None:
        self._admit(key, value, cause if self._state is OPEN else SHUT)

    def _put_claimed(self, key: K, value: V) -> Registration[K, V]:
        """Put what a factory made, and lease it once in the same step: also what is too heavy to stay."""
        opened = self._opened
        try:
            if self._weigher is not None and self._weigh(key, value) > self._largest:
                return self._admit(key, value, SIZE, leases=1)
            registration = self.put(key, value)
        except BaseException:
            if self._opened == opened:  # it could not be weighed, and nobody has it
                self._undo(key, value, UNWANTED)
            raise
        self._claim(registration)
        return registration

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
        if self._condemned or (loans_too and self._is_leased_by_others(exempt)):
            return False
        return self._chores.idle(exempt) and (self._crew is None or self._crew.idle(exempt))

    def _is_leased_by_others(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether a value that has left is leased by anybody but *exempt* tasks, which wait for the asker."""
        if not self._lingering:
            return False
        own = Counter(claim.registration for claim, task in self._holders.items() if task in exempt)
        return any(registration._leases > own[registration] for registration in self._lingering)

    def _borrowed(self) -> list[str]:
        holders: dict[Registration[K, V], list[str]] = {registration: [] for registration in self._lingering}
        for claim, task in self._holders.items():
            if claim.registration in holders:
                holders[claim.registration].append(borrower_in_words(task))
        return [
            f"{in_words(registration.key)}, leased by {', '.join(who) or 'whoever it was made for'}"
            for registration, who in holders.items()
        ]

    def _employs(self, task: Task[Any]) -> bool:
        return self._chores.has(task) or (self._crew is not None and self._crew.has(task))

    # Looking

    def _portrait(self) -> Portrait:
        tokens = self._tokens
        things = [Thing("task", chore.name, "creating", task=chore.task) for chore in self._chores.live]
        if self._crew is not None:
            things += [Thing("task", "finalizer", "finalizing", task=task) for task in self._crew.tasks()]
        for registration in self._lingering:
            things.append(Thing("entry", in_words(registration.key), "retired, leased", token=tokens.get(registration)))
        if len(self._live) <= LISTED:
            for registration in self._live.values():
                state = "leased" if registration._leases else ""
                things.append(Thing("entry", in_words(registration.key), state, token=tokens.get(registration)))
        else:
            things.append(Thing("entry", "any", count=len(self._live)))
        counts = {"hits": self._hits, "misses": self._misses, "leases": self._leases_out}
        return Portrait("registry", self.name, self._state.value, None, things, counts, self._token)

    # Checking

    def _check_invariants(self) -> None:
        """Check that the accounts close; called by tests after every step."""
        condemned = sum(len(batch) for batch, _ in self._condemned)
        retired = len(self._lingering) + condemned + (len(self._crew) if self._crew is not None else 0)
        assert self._opened == len(self._live) + retired + self._closed, (self._opened, len(self._live), retired)
        assert sum(self._removals.values()) + len(self._live) + condemned == self._opened, self._removals
        filed = 0
        for key, registration in self._live.items():
            assert registration.key is key, f"{in_words(key)} is filed under another key object"
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
