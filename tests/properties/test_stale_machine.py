"""Random lives of values that serve on when their time is over, beside a model of what each caller gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lifecycle import Registry
from lifecycle.testing.machines import LoopMachine
from lifecycle.testing.machines._base import pick, picks

from .at_length import run_lives

KEYS = st.sampled_from("ab")
TTL = 3.0


@dataclass(eq=False)
class Value:
    """A value that knows what happened to it."""

    number: int
    leases: int = 0
    finalized: int = 0


@dataclass(eq=False)
class Making:
    """A creation in progress, and who waits for it."""

    key: str
    outcome: asyncio.Future[Value]
    kept: bool = False
    overtaken: bool = False
    waiting: list[asyncio.Task[Value]] = field(default_factory=list)


class StaleValues(LoopMachine):
    """Callers that ask, wait and leave, creations that end well and badly, news, and time, beside a model of it all."""

    def __init__(self) -> None:
        super().__init__()
        self.present: dict[str, tuple[Value, float]] = {}  # with when its time is over
        self.making: dict[str, Making] = {}
        self.overtaken: list[Making] = []
        self.failed: dict[str, float] = {}
        self.begun: list[Making] = []
        self.values: list[Value] = []
        self.held: list[tuple[Any, Value]] = []

    @initialize(
        stale_ttl=st.sampled_from([0.0, 2.0, 4.0]),
        stale_on_error=st.sampled_from([0.0, 3.0, 6.0]),
        failure_ttl=st.sampled_from([None, 1.0]),
    )
    def open_it(self, stale_ttl: float, stale_on_error: float, failure_ttl: float | None) -> None:
        self.stale_ttl, self.stale_on_error, self.failure_ttl = stale_ttl, stale_on_error, failure_ttl
        self.registry = Registry[str, Value](
            "machine",
            ttl=TTL,
            stale_ttl=stale_ttl,
            stale_on_error=stale_on_error,
            failure_ttl=failure_ttl,
            create_timeout=None,
            finalizer=self.finalize,
        )

    def finalize(self, value: Value) -> None:
        assert not value.leases, f"{value} is finalized while it is leased"
        value.finalized += 1

    def new_value(self) -> Value:
        self.values.append(Value(len(self.values)))
        return self.values[-1]

    async def make(self, key: str) -> Value:
        making = Making(key, asyncio.get_running_loop().create_future())
        self.begun.append(making)
        return await making.outcome

    async def ask(self, key: str, *, lease: bool) -> Value:
        if not lease:
            return await self.registry.get_or_create(key, lambda: self.make(key))
        claim = self.registry.lease(key, lambda: self.make(key))
        value = await claim.__aenter__()
        value.leases += 1
        self.held.append((claim, value))
        return value

    # The model

    @property
    def now(self) -> float:
        return self.bubble.clock.now

    def serves(self, key: str, seconds: float) -> Value | None:
        value, over = self.present.get(key, (None, 0.0))
        return value if value is not None and self.now < over + seconds else None

    def overtake(self, key: str) -> None:
        """What is being made is for those who wait for it; what nobody waits for is stopped."""
        self.failed.pop(key, None)
        making = self.making.pop(key, None)
        if making is not None:
            making.overtaken = True
            if making.waiting:
                self.overtaken.append(making)

    def outcomes(self, making: Making, expected: Any) -> None:
        """See what those who wait for *making* have got."""
        for task in making.waiting:
            assert task.done()
            if isinstance(expected, Value):
                assert task.result() is expected, (task, expected)
            else:
                assert isinstance(task.exception(), OSError), task
            self._tasks.remove(task)

    def the_one_begun(self) -> Making:
        [making] = self.begun
        self.begun.clear()
        return making

    # The steps

    @rule(key=KEYS, lease=st.booleans())
    def asks(self, key: str, lease: bool) -> None:
        fresh, meanwhile, on_error = (self.serves(key, time) for time in (0.0, self.stale_ttl, self.stale_on_error))
        task = self.start(self.ask(key, lease=lease), f"asks for {key}")
        self.settle()
        failed = self.failed.get(key, 0.0) > self.now
        if fresh is not None:
            assert task.result() is fresh
        elif meanwhile is not None:
            assert task.result() is meanwhile
            if key in self.making:
                self.making[key].kept = True
            elif not failed:
                self.making[key] = self.the_one_begun()
                self.making[key].kept = True
        elif key not in self.making and failed:
            if on_error is None:
                assert isinstance(task.exception(), OSError)
                self._tasks.remove(task)
            else:
                assert task.result() is on_error
        else:
            if key not in self.making:
                self.making[key] = self.the_one_begun()
            assert not task.done()
            self.making[key].waiting.append(task)
        assert not self.begun

    @precondition(lambda self: self.making or self.overtaken)
    @rule(number=picks, well=st.booleans())
    def one_ends(self, number: int, well: bool) -> None:
        making = pick([*self.making.values(), *self.overtaken], number)
        key = making.key
        if making.overtaken:
            self.overtaken.remove(making)
        else:
            del self.making[key]
        expected: Any = OSError
        if well:
            expected = made = self.new_value()
            making.outcome.set_result(made)
            if making.overtaken:
                expected = self.serves(key, 0.0) or made
            else:
                self.present[key] = made, self.now + TTL
        else:
            making.outcome.set_exception(OSError("planned"))
            if not making.overtaken:
                expected = self.serves(key, self.stale_on_error)
                if self.failure_ttl is not None:
                    self.failed[key] = self.now + self.failure_ttl
        self.settle()
        self.outcomes(making, expected)

    @precondition(lambda self: self.making or self.overtaken)
    @rule(number=picks, who=picks)
    def one_leaves(self, number: int, who: int) -> None:
        making = pick([*self.making.values(), *self.overtaken], number)
        if making.waiting:
            task = pick(making.waiting, who)
            making.waiting.remove(task)
            self._tasks.remove(task)
            task.cancel()
            self.settle()
            assert task.cancelled()
        if not making.waiting and not making.kept:
            assert making.outcome.cancelled()
            if making.overtaken:
                self.overtaken.remove(making)
            else:
                del self.making[making.key]

    @rule(key=KEYS)
    def put(self, key: str) -> None:
        self.overtake(key)
        value = self.new_value()
        self.present[key] = value, self.now + TTL
        self.inside(self.registry.put, key, value)
        self.settle()

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        there = self.serves(key, max(self.stale_ttl, self.stale_on_error)) is not None or key in self.making
        self.overtake(key)
        self.present.pop(key, None)
        assert self.inside(self.registry.discard, key) == there
        self.settle()

    @rule()
    def clear(self) -> None:
        for key in "ab":
            self.overtake(key)
        self.failed.clear()
        self.present.clear()
        self.start(self.registry.clear(), "clears")
        self.settle()

    @precondition(lambda self: self.held)
    @rule(number=picks)
    def gives_back(self, number: int) -> None:
        entry = pick(self.held, number)
        self.held.remove(entry)
        claim, value = entry
        value.leases -= 1
        self.finish(claim.__aexit__(None, None, None))

    # What must hold

    @precondition(lambda self: hasattr(self, "registry"))
    @invariant()
    def both_agree(self) -> None:
        longest = max(self.stale_ttl, self.stale_on_error)
        for key in "ab":
            assert self.inside(self.registry.peek, key) is self.serves(key, 0.0)
            assert self.inside(lambda key=key: self.registry.peek(key, stale=True)) is self.serves(key, longest)
        statistics = self.registry.statistics()
        assert statistics.loading == len(self.making) + len(self.overtaken)
        assert statistics.opened == statistics.live + statistics.retired + statistics.closed
        assert statistics.leases == len(self.held)
        assert all(value.finalized <= 1 for value in self.values)
        self.registry._check_invariants()

    async def shut_down(self) -> None:
        held, self.held = self.held, []
        for claim, value in held:
            value.leases -= 1
            await claim.__aexit__(None, None, None)
        if hasattr(self, "registry"):
            await self.registry.aclose()
            assert [value.finalized for value in self.values] == [1] * len(self.values)


TestStaleValues = StaleValues.TestCase
TestStaleValues.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_thousands_of_lives() -> None:
    """The same, at length."""
    run_lives(StaleValues, 4000, 60)
