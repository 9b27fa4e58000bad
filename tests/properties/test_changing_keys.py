"""Random programs on a registry whose keys change while they are in it, meet each other, and raise.

Whatever they do, each value that the registry has taken is finalized once and none under a lease, every creation ends,
the bookkeeping agrees with itself after each step, time goes on doing its work, and the close ends.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import Registration, Registry
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import RegistryStatistics

from .at_length import at_length

KEYS = 3


class Key:
    """A key that is equal to others of the same name, as long as nobody asks while it raises."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.raises = False

    def __hash__(self) -> int:
        if self.raises:
            raise LookupError("of the key")
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        if self.raises:
            raise LookupError("of the key")
        return isinstance(other, Key) and self.name == other.name


NEEDS_KEY = {"put", "get", "discard"}  # the others are told of such an error by those who wait, or by nobody
Step = tuple[str, int, int]

steps = st.tuples(
    st.sampled_from(["put", "get", "make", "fail", "lease", "discard", "remove", "rename", "raise", "wait", "clear"]),
    st.integers(0, KEYS - 1),  # which key
    st.integers(0, KEYS - 1),  # and what becomes of it, or how long
)
PROGRAMS = st.fixed_dictionaries(
    {
        "steps": st.lists(steps, min_size=15, max_size=40),
        "ttl": st.sampled_from([None, 2.0]),
        "idle_ttl": st.sampled_from([None, 1.0]),
        "max_size": st.sampled_from([None, 2]),
        "weigher": st.sampled_from([None, lambda key, value: 1]),
        "failure_ttl": st.sampled_from([0.0, 2.0]),
    }
)


class Run:
    """One program, and what has become of the values."""

    def __init__(self, program: dict[str, Any]) -> None:
        options = {name: value for name, value in program.items() if name != "steps"}
        if options["max_size"] is None:
            options["weigher"] = None
        self.registry = Registry[Key, int]("changing", finalizer=self.finalize, close_timeout=1.0, **options)
        self.keys = [Key(number) for number in range(KEYS)]
        self.registrations: list[Registration[Key, int]] = []
        self.made = 0
        self.owned: list[int] = []
        self.ended: list[int] = []
        self.leased: list[int] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def finalize(self, value: int) -> None:
        assert value not in self.leased
        self.ended.append(value)

    def value(self) -> int:
        self.made += 1
        return self.made

    def step(self, what: str, key: Key, number: int) -> None:
        registry = self.registry
        match what:
            case "put":
                value = self.value()
                self.registrations.append(registry.put(key, value))
                self.owned.append(value)
            case "get":
                registry.get(key)
            case "make":
                self.tasks.append(asyncio.create_task(registry.get_or_create(key, lambda: self.make(number))))
            case "fail":
                self.tasks.append(asyncio.create_task(registry.get_or_create(key, lambda: self.fail(number))))
            case "lease":
                self.tasks.append(asyncio.create_task(self.lease(key, number)))
            case "discard":
                registry.discard(key)
            case "remove" if self.registrations:
                self.registrations[number % len(self.registrations)].remove()
            case "rename":
                key.name = number
            case "raise":
                key.raises = not key.raises

    async def make(self, number: int) -> int:
        await asyncio.sleep(number / 4)
        value = self.value()
        self.owned.append(value)
        return value

    async def fail(self, number: int) -> int:
        await asyncio.sleep(number / 4)
        raise OSError("of the factory")

    async def lease(self, key: Key, number: int) -> None:
        async with self.registry.lease(key, lambda: self.make(number)) as value:
            self.leased.append(value)
            try:
                await asyncio.sleep(number / 2)
            finally:
                self.leased.remove(value)

    async def run(self, program: list[Step]) -> RegistryStatistics:
        for what, which, number in program:
            try:
                if what == "wait":
                    await asyncio.sleep(number / 2)
                elif what == "clear":
                    await self.registry.clear()
                else:
                    self.step(what, self.keys[which], number)
            except LookupError as error:
                assert (what, *error.args) in [(each, "of the key") for each in NEEDS_KEY]  # noqa: PT017
            self.registry._check_invariants()
        async with asyncio.timeout(60):
            for answer in await asyncio.gather(*self.tasks, return_exceptions=True):
                assert answer is None or isinstance(answer, int | LookupError | OSError), answer
            await self.registry.aclose()
        return self.registry.statistics()


def run_program(program: dict[str, Any]) -> None:
    """Run one program, and check it."""

    async def scenario(_: Bubble) -> None:
        run = Run(program)
        statistics = await run.run(program["steps"])
        assert sorted(run.ended) == sorted(run.owned)
        assert statistics.opened == statistics.closed
        assert not statistics.loading
        run.registry._check_invariants()

    run_virtual(scenario)


@settings(max_examples=100, deadline=None)
@given(PROGRAMS)
def test_keys_that_change(program: dict[str, Any]) -> None:
    """Whatever they become, and when."""
    run_program(program)


@at_length(20_000, PROGRAMS)
def test_keys_that_change_at_length(program: dict[str, Any]) -> None:
    """The same, for a night."""
    run_program(program)
