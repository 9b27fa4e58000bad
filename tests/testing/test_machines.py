"""The state machines: silent on correct subjects, and quick to find a wrong one; schedules shrink to a short story."""

import asyncio
import collections
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from lifecycle import Scope
from lifecycle._registry.registry import Registry
from lifecycle.testing import Bubble, run_virtual
from lifecycle.testing.machines import (
    PairMachine,
    PoolMachine,
    RegistryMachine,
    ResourceMachine,
    schedules,
)
from lifecycle.testing.orders import Deviations
from lifecycle.testing.types import Token

QUICK = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
UNSHRUNK = settings(QUICK, max_examples=300, phases=[Phase.generate])


def passes(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=QUICK)


def fails(machine: Any, word: str) -> None:
    with pytest.raises((AssertionError, BaseExceptionGroup)) as caught:
        run_state_machine_as_test(machine, settings=UNSHRUNK)
    text = str(caught.value) + "".join(str(error) for error in getattr(caught.value, "exceptions", ()))
    assert word in text


class Sockets(ResourceMachine):
    """A resource with a correct acquire and release."""

    async def acquire(self) -> Token:
        await asyncio.sleep(0.1)
        return self.bubble.ledger.acquire("socket")

    async def release(self, resource: Token) -> None:
        try:
            await asyncio.sleep(0.1)
        finally:
            if not resource.releases:
                resource.release()


class LeakySockets(Sockets):
    async def acquire(self) -> Token:
        token = self.bubble.ledger.acquire("socket")
        await asyncio.sleep(0.1)
        return token


def test_a_resource_that_is_right_passes() -> None:
    """Any order of acquiring, using, releasing and cancelling leaves nothing."""
    passes(Sockets)


def test_a_resource_that_leaks_on_cancel_is_found() -> None:
    """Opened before the wait, lost when the wait is cancelled."""
    fails(LeakySockets, "resource 'socket'")


class Clients(RegistryMachine):
    def make(self, finalizer: Any) -> Any:
        return Registry[str, Token]("clients", ttl=1.0, max_size=2, finalizer=finalizer)


class NaiveRegistry:
    """A dict with a lease that does not hold anything."""

    def __init__(self, finalizer: Any) -> None:
        self.values: dict[str, Token] = {}
        self.finalizer = finalizer
        self.closing: set[asyncio.Task[Any]] = set()
        self.loop = asyncio.get_running_loop()

    def put(self, key: str, value: Token) -> None:
        self.discard(key)
        self.values[key] = value

    def get(self, key: str) -> Token | None:
        return self.values.get(key)

    def discard(self, key: str) -> None:
        value = self.values.pop(key, None)
        if value is not None:
            self.closing.add(self.loop.create_task(self.finalizer(value)))

    @contextlib.asynccontextmanager
    async def lease(self, key: str, factory: Any) -> Any:
        if key not in self.values:
            self.values[key] = await factory()
        yield self.values[key]

    async def aclose(self) -> None:
        for key in list(self.values):
            self.discard(key)
        if self.closing:
            await asyncio.gather(*self.closing, return_exceptions=True)


class NaiveClients(RegistryMachine):
    def make(self, finalizer: Any) -> Any:
        return NaiveRegistry(finalizer)


def test_our_registry_passes() -> None:
    """Values are finalized once, never under a lease, whatever happens to their users."""
    passes(Clients)


def test_a_registry_that_finalizes_under_its_users_is_found() -> None:
    """A dict with clean-up on removal is not enough."""
    fails(NaiveClients, "value")


class SmallPool:
    """A pool by hand: a semaphore and a list."""

    def __init__(self, create: Any, destroy: Any, size: int, *, careful: bool, late: bool = True) -> None:
        self.create, self.destroy, self.careful, self.late = create, destroy, careful, late
        self.closed = False
        self.free = asyncio.Semaphore(size)
        self.idle: collections.deque[Token] = collections.deque()

    @contextlib.asynccontextmanager
    async def acquire(self) -> Any:
        await self.free.acquire()
        try:
            value = self.idle.popleft() if self.idle else await self.create()
        except BaseException:
            if self.careful:
                self.free.release()
            raise
        try:
            yield value
        finally:
            if self.closed and self.late:
                await asyncio.shield(asyncio.ensure_future(self.destroy(value)))
            else:
                self.idle.append(value)
            self.free.release()

    async def aclose(self) -> None:
        self.closed = True
        while self.idle:
            await self.destroy(self.idle.popleft())


class CarefulPool(PoolMachine):
    def make(self, create: Any, destroy: Any) -> Any:
        return SmallPool(create, destroy, self.max_size, careful=True)


class CarelessPool(PoolMachine):
    def make(self, create: Any, destroy: Any) -> Any:
        return SmallPool(create, destroy, self.max_size, careful=False)


class PoolClosedTooEarly(PoolMachine):
    def make(self, create: Any, destroy: Any) -> Any:
        return SmallPool(create, destroy, self.max_size, careful=True, late=False)


class PoolThatEndsLoans(PoolMachine):
    """Destroys what is lent when it closes."""

    def make(self, create: Any, destroy: Any) -> Any:
        return SmallPool(create, destroy, self.max_size, careful=True)

    async def close(self) -> None:
        for value in self._lent:
            await self.destroy(value)
        await super().close()


def test_a_pool_that_forgets_what_comes_back_after_its_close_is_found() -> None:
    """The machine closes under loans."""
    fails(PoolClosedTooEarly, "left at the end")


def test_a_pool_that_ends_what_is_lent_is_found() -> None:
    """Under its borrower's hands."""
    fails(PoolThatEndsLoans, "is destroyed under its borrower")


def test_a_pool_that_is_right_passes() -> None:
    """Loans, broken ones and cancelled borrowers leave every slot usable."""
    passes(CarefulPool)


def test_a_pool_that_loses_slots_is_found() -> None:
    """A slot lost with a cancelled creation strands the borrowers that come later."""
    fails(CarelessPool, "a borrower waits for ever")


class ScopedPair(PairMachine):
    async def run_pair(self, reader: Any, worker: Any) -> None:
        async with Scope("pair") as scope:
            first = scope.start_soon(reader)
            second = scope.start_soon(worker)
            loop = asyncio.get_running_loop()
            either = loop.create_future()

            async def watch(handle: Any) -> None:
                await handle.wait()
                if not either.done():
                    either.set_result(None)

            scope.start_soon(watch, first)
            scope.start_soon(watch, second)
            await either


class OneWayPair(PairMachine):
    async def run_pair(self, reader: Any, worker: Any) -> None:
        reading, working = asyncio.create_task(reader()), asyncio.create_task(worker())
        try:
            await working
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def test_a_pair_that_is_linked_both_ways_passes() -> None:
    """Either end, by return or error, and a cancel of the whole, end both."""
    passes(ScopedPair)


def test_a_pair_that_tells_in_one_direction_only_is_found() -> None:
    """The reader ends, and the worker goes on for ever."""
    fails(OneWayPair, "pair still runs")


def test_schedules_shrink_to_the_fewest_deviations() -> None:
    """A race that needs two deviations from asyncio's order is reported with two."""
    found: list[Deviations] = []

    async def scenario(bubble: Bubble) -> None:
        order: list[str] = []

        async def step(name: str) -> None:
            await asyncio.sleep(0)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(step(name))
        assert order.index("d") > order.index("a")

    @settings(max_examples=500, deadline=None, database=None, derandomize=True)
    @given(schedule=schedules())
    def search(schedule: Deviations) -> None:
        try:
            run_virtual(scenario, schedule=schedule)
        except BaseException:
            found.append(schedule)
            raise

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        search()
    assert len(found[-1].deviations) <= 2
    run_virtual(scenario)
