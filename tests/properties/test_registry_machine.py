"""Random lives of a registry: one machine against an exact model, one with factories and finalizers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lifecycle import OwnerClosed, Registration, Registry, RemovalCause
from lifecycle.testing.machines import LoopMachine, RegistryMachine
from lifecycle.testing.machines._base import pick, picks

from .at_length import run_lives

KEYS = st.sampled_from("abcd")
FOREVER = float("inf")


@dataclass(eq=False)
class Value:
    """A value that knows what happened to it."""

    number: int
    weight: int = 1
    leases: int = 0
    finalized: int = 0


@dataclass
class Record:
    """What the model knows of a value that is live."""

    value: Value
    registration: Registration[str, Value]
    limit: float
    expires_at: float
    used: float


class ModelledRegistry(LoopMachine):
    """Every step that a registry can make by itself or be told to, beside a model that does the same by brute force."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[str, Record] = {}  # in order of use, oldest first
        self.gone: list[tuple[Record, RemovalCause]] = []
        self.handed_out: list[Value] = []
        self.held: list[tuple[Any, Value]] = []
        self.values: list[Value] = []

    @initialize(
        ttl=st.sampled_from([None, 5.0]),
        idle_ttl=st.sampled_from([None, 2.0]),
        max_size=st.sampled_from([None, 2, 5]),
        weighs=st.booleans(),
        stale=st.sampled_from([0.0, 3.0]),
    )
    def open_it(
        self, ttl: float | None, idle_ttl: float | None, max_size: int | None, weighs: bool, stale: float
    ) -> None:
        self.ttl, self.idle_ttl = ttl or FOREVER, idle_ttl or FOREVER
        self.stale = stale
        self.max_size = max_size or FOREVER
        self.weighs = weighs and max_size is not None
        weigher = (lambda key, value: value.weight) if self.weighs else None
        self.registry = Registry[str, Value](
            "machine",
            ttl=ttl,
            idle_ttl=idle_ttl,
            max_size=max_size,
            weigher=weigher,
            finalizer=self.finalize,
            close_timeout=3.0,
            stale_on_error=stale,
        )

    async def finalize(self, value: Value) -> None:
        assert not value.leases, f"{value} is finalized while it is leased"
        value.finalized += 1
        assert value.finalized == 1, f"{value} is finalized twice"
        if value.number % 3 == 0:
            await asyncio.sleep(0.3)
        if value.number % 7 == 0:
            raise OSError(value.number)
        if value.number % 11 == 0:
            await asyncio.sleep(1000)

    # The model

    @property
    def now(self) -> float:
        return self.bubble.clock.now

    def leave(self, key: str, cause: RemovalCause) -> None:
        self.gone.append((self.live.pop(key), cause))

    def expire(self) -> None:
        """Take out of the model what is due and serves no more; a leased value has not been idle."""
        for key, record in list(self.live.items()):
            if record.value.leases:
                record.used = self.now
                if record.expires_at < record.limit:
                    record.expires_at = max(record.expires_at, min(self.now + self.idle_ttl, record.limit))
            if record.expires_at < record.limit:
                if record.expires_at <= self.now:
                    self.leave(key, RemovalCause.IDLE)
            elif min(record.limit + self.stale, max(record.used + self.idle_ttl, record.limit)) <= self.now:
                self.leave(key, RemovalCause.EXPIRED)

    def fresh(self) -> dict[str, Record]:
        return {key: record for key, record in self.live.items() if record.expires_at > self.now}

    def use(self, key: str) -> Record | None:
        record = self.fresh().get(key)
        if record is not None:
            self.note_use(record)
            self.live[key] = self.live.pop(key)
        return record

    def note_use(self, record: Record) -> None:
        record.used = self.now
        record.expires_at = min(self.now + self.idle_ttl, record.limit)

    def size(self) -> float:
        return sum(record.value.weight if self.weighs else 1 for record in self.live.values())

    # The steps

    def at_the_same_time(self) -> None:
        """Bring both up to the moment: the registry's own sweep may come a little later."""
        self.inside(self.registry.sweep)
        self.expire()

    @rule(key=KEYS, weight=st.integers(1, 6), own=st.sampled_from([None, 0.0, 1.0, FOREVER]), leased=st.booleans())
    def put(self, key: str, weight: int, own: float | None, leased: bool) -> None:
        self.at_the_same_time()
        value = Value(len(self.values), weight)
        self.values.append(value)
        if leased:
            lease = self.registry.put_and_lease(key, value, ttl=own)
            self.inside(lease.__enter__)
            registration = lease.registration
            value.leases += 1
            self.held.append((lease, value))
        else:
            registration = self.inside(lambda: self.registry.put(key, value, ttl=own))
        limit = self.now + (self.ttl if own is None else own)
        record = Record(value, registration, limit, min(limit, self.now + self.idle_ttl), self.now)
        if key in self.live:
            self.leave(key, RemovalCause.REPLACED)
        self.live[key] = record
        if self.weighs and weight > self.max_size:
            self.leave(key, RemovalCause.SIZE)
        while self.size() > self.max_size:
            others = [other for other in self.live if other != key]
            free = [other for other in others if not self.live[other].value.leases]
            self.leave((free or others)[0], RemovalCause.SIZE)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        self.at_the_same_time()
        found = self.inside(self.registry.get, key)
        record = self.use(key)
        assert found is (None if record is None else record.value)

    @rule(key=KEYS)
    def look(self, key: str) -> None:
        self.at_the_same_time()
        record, old = self.fresh().get(key), self.live.get(key)
        assert self.inside(self.registry.peek, key) is (None if record is None else record.value)
        assert self.inside(lambda: self.registry.peek(key, stale=True)) is (None if old is None else old.value)
        items = self.inside(self.registry.items)
        assert dict(items) == {key: record.value for key, record in self.fresh().items()}
        assert self.inside(self.registry.values) == [value for _, value in items]

    @rule(key=KEYS, very=st.booleans())
    def lease(self, key: str, very: bool) -> None:
        self.at_the_same_time()
        record = self.use(key)
        lease: Any = record.registration.lease() if very and record is not None else self.registry.try_lease(key)
        if record is None:
            try:
                self.inside(lease.__enter__)
            except KeyError:
                return
            raise AssertionError("a lease of nothing")
        assert self.inside(lease.__enter__) is record.value
        record.value.leases += 1
        self.held.append((lease, record.value))

    @precondition(lambda self: self.held)
    @rule(number=picks, discard=st.booleans())
    def release(self, number: int, discard: bool) -> None:
        self.at_the_same_time()
        entry = pick(self.held, number)
        lease, value = entry
        key = next((key for key, record in self.live.items() if record.value is value), None)
        if discard:
            assert self.inside(lease.discard) == (key is not None)
            if key is not None:
                self.leave(key, RemovalCause.EXPLICIT)
        elif key is not None:
            self.note_use(self.live[key])
        self.held.remove(entry)
        value.leases -= 1
        self.inside(lease.__exit__)

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        self.at_the_same_time()
        assert self.inside(self.registry.discard, key) == (key in self.live)
        if key in self.live:
            self.leave(key, RemovalCause.EXPLICIT)

    @precondition(lambda self: self.values)
    @rule(number=picks, late=st.booleans())
    def remove(self, number: int, late: bool) -> None:
        self.at_the_same_time()
        records = [record for record, _ in self.gone] if late else list(self.live.values())
        if records:
            record = pick(records, number)
            key = next((key for key, other in self.live.items() if other is record), None)
            assert self.inside(record.registration.remove) == (key is not None)
            if key is not None:
                self.leave(key, RemovalCause.EXPLICIT)

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        self.at_the_same_time()
        value = self.inside(self.registry.pop, key, None)
        record = self.fresh().get(key)
        assert value is (None if record is None else record.value)
        if key in self.live:
            self.leave(key, RemovalCause.EXPLICIT)
        if value is not None:
            self.handed_out.append(value)

    @rule()
    def clear(self) -> None:
        self.at_the_same_time()
        self.start(self.registry.clear(), "clear")
        self.settle()
        for key in list(self.live):
            self.leave(key, RemovalCause.EXPLICIT)

    # What must hold

    @precondition(lambda self: hasattr(self, "registry"))
    @invariant()
    def both_agree(self) -> None:
        self.at_the_same_time()
        assert self.inside(lambda: set(self.registry)) == set(self.fresh())
        assert len(self.registry) == len(self.live)
        if self.max_size != FOREVER:
            assert self.inside(lambda: list(self.registry)) == list(self.fresh())
        for record, cause in self.gone:
            assert record.registration.cause is cause, (record, cause)
        for record in self.live.values():
            assert record.registration.cause is None
        statistics = self.registry.statistics()
        assert statistics.opened == statistics.live + statistics.retired + statistics.closed == len(self.values)
        assert statistics.leases == len(self.held)
        self.registry._check_invariants()

    async def shut_down(self) -> None:
        if not hasattr(self, "registry"):
            return
        held, self.held = self.held, []
        for lease, value in held:
            value.leases -= 1
            lease.__exit__()
        with contextlib.suppress(OSError, TimeoutError, BaseExceptionGroup):
            await self.registry.aclose()
        for value in self.values:
            assert value.finalized == (0 if value in self.handed_out else 1), value
        assert self.registry.statistics().closed == len(self.values)
        await asyncio.sleep(2000)


class ContendedRegistry(RegistryMachine):
    """Users that share, leave, are cancelled and close, with factories and finalizers that fail, hang and refuse."""

    def make(self, finalizer: Any) -> Any:
        async def end(value: Any) -> None:
            await finalizer(value)
            if self._made % 5 == 0:
                raise OSError("planned")
            if self._made % 7 == 0:
                await asyncio.sleep(1000)

        limits = {"ttl": 2.0, "idle_ttl": 1.0, "create_timeout": 1.0, "close_timeout": 1.0}
        return Registry("machine", finalizer=end, max_size=2, **limits)

    async def new_value(self) -> Any:
        self._asked = getattr(self, "_asked", 0) + 1
        manner = self._asked % 6
        if manner == 1:
            raise OSError("planned")
        if manner == 2:
            await asyncio.sleep(1000)
        if manner == 3:
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                return self._new_token()  # late, and unwanted
        return await super().new_value()

    async def _use(self, key: str, seconds: float) -> None:
        with contextlib.suppress(OSError, TimeoutError, OwnerClosed):
            await super()._use(key, seconds)

    @rule(key=KEYS)
    def ask_without_a_lease(self, key: str) -> None:
        self.start(self._ask(key), f"asks for {key}")

    async def _ask(self, key: str) -> None:
        with contextlib.suppress(OSError, TimeoutError, OwnerClosed):
            await self.registry.get_or_create(self.key_of(key), self.new_value)

    @rule()
    def clear(self) -> None:
        self.start(self.registry.clear(), "clears")

    @invariant()
    def one_factory_per_key(self) -> None:
        detached = [flight.chore for flight in self.registry._creations.detached]
        live = self.registry._creations.chores.live.values()
        keys = [chore.name for chore in live if chore not in detached]
        assert len(keys) == len(set(keys)), keys

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError, BaseExceptionGroup):
            await super().close()
        await asyncio.sleep(3000)
        statistics = self.registry.statistics()
        assert statistics.opened == statistics.closed, statistics


class HostileRegistry(ContendedRegistry):
    """The same with keys that change and raise, values put again, and finalizers that use the registry and stop it."""

    keys_change = True
    expected = (*ContendedRegistry.expected, LookupError)

    def make(self, finalizer: Any) -> Any:
        async def end(value: Any) -> None:
            await finalizer(value)
            manner = self._made % 5
            task = asyncio.current_task()
            assert task is not None
            if manner == 1:
                raise LookupError("planned")
            if manner == 2:
                task.cancel()
            if manner == 3:
                registry.put("grave", object())
            if manner == 4:
                registry.discard("grave")
                await registry.get_or_create("grave", object)

        async def end_whatever(value: Any) -> None:
            if hasattr(value, "releases"):
                await end(value)

        self.registrations: list[Registration[Any, Any]] = []
        limits = {"ttl": 2.0, "idle_ttl": 1.0, "create_timeout": 1.0, "close_timeout": 1.0}
        registry = Registry[Any, Any]("machine", finalizer=end_whatever, max_size=3, failure_ttl=0.5, **limits)
        return registry

    # A look-up raises what a key raises that it meets; nothing has happened then.

    def put(self, key: Any, value: Any) -> None:
        try:
            self.registrations.append(self.registry.put(key, value))
        except LookupError:
            value.release()

    def get(self, key: Any) -> Any:
        with contextlib.suppress(LookupError):
            return self.registry.get(key)

    def remove(self, key: Any) -> None:
        with contextlib.suppress(LookupError):
            self.registry.discard(key)

    @precondition(lambda self: self.registrations)
    @rule(number=picks)
    def put_the_same_again(self, number: int) -> None:
        registration = pick(self.registrations, number)

        def put_again() -> None:
            if registration.cause is None and not registration.key.changes:
                with contextlib.suppress(LookupError):
                    self.registry.put(registration.key, registration.value)

        self.inside(put_again)

    @precondition(lambda self: self.registrations)
    @rule(number=picks)
    def remove_by_registration(self, number: int) -> None:
        registration = pick(self.registrations, number)

        def remove() -> None:
            was_there = registration.cause is None
            assert registration.remove() == was_there
            assert registration.cause is not None

        self.inside(remove)

    @invariant()
    def one_factory_per_key(self) -> None:
        """Names tell nothing here."""

    async def _use(self, key: str, seconds: float) -> None:
        with contextlib.suppress(LookupError):
            await super()._use(key, seconds)

    async def _ask(self, key: str) -> None:
        with contextlib.suppress(LookupError):
            await super()._ask(key)

    async def close(self) -> None:
        with contextlib.suppress(LookupError, OwnerClosed):
            await super().close()


TestModelledRegistry = ModelledRegistry.TestCase
TestModelledRegistry.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestContendedRegistry = ContendedRegistry.TestCase
TestContendedRegistry.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHostileRegistry = HostileRegistry.TestCase
TestHostileRegistry.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [ModelledRegistry, ContendedRegistry, HostileRegistry])
def test_thousands_of_lives(machine: type[LoopMachine]) -> None:
    """The same, at length."""
    run_lives(machine, 4000, 60)
