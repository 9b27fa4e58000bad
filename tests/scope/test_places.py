"""Which entry stands for a value is found in large scopes as in small ones, at the same cost for each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import ref

import pytest

from lifecycle import Scope
from lifecycle._scope.places import entry_of, look_through
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual


class Value:
    """What can be told from its likes, and referred to weakly."""

    def close(self) -> None: ...


@asynccontextmanager
async def held(value: Value) -> AsyncIterator[Value]:
    yield value


@asynccontextmanager
async def entered_slowly(gate: asyncio.Event) -> AsyncIterator[None]:
    await gate.wait()
    yield


@pytest.mark.parametrize("seed", range(20))
@virtual
async def test_what_is_found_is_what_a_look_at_every_entry_finds(bubble: Bubble, seed: int) -> None:
    """Whatever has come and gone, twice perhaps, or is half made: asked now and then, for all that there ever was."""
    chance = random.Random(seed)
    few = pytest.MonkeyPatch()
    few.setattr("lifecycle._scope.places.FEW", 0)
    scope = Scope("random")
    known: list[Any] = [Value()]

    async def step(scope: Scope) -> Scope:
        kind = chance.randrange(10)
        if kind <= 1:
            known.append(await scope.acquire(chance.choice([Value, lambda: shared])))
        elif kind == 2:
            known.append(cm := held(shared if chance.random() < 0.5 else Value()))
            known.append(await scope.enter(cm))
        elif kind == 3:
            known.append(scope.start_soon(asyncio.sleep, chance.choice([0, 3600])))
        elif kind == 4:
            gates.append(gate := asyncio.Event())
            known.append(cm := entered_slowly(gate))
            entering.append(asyncio.create_task(scope.enter(cm)))
            await some_turns()
        elif kind == 5:
            known.append(scope.push(lambda *_: None))
        elif kind == 6:
            with suppress(LookupError):
                await scope.release(chance.choice(known))
        elif kind == 7:
            scope.callback(int)
        elif kind == 8 and gates:
            gates.pop(chance.randrange(len(gates))).set()
            await some_turns()
        elif chance.random() < 0.2:
            scope = scope.pop_all()
        return scope

    shared = Value()
    known.append(shared)
    entering: list[asyncio.Task[Any]] = []
    gates: list[asyncio.Event] = []
    try:
        for _ in range(60):
            scope = await step(scope)
            for value in known if chance.random() < 0.2 else ():
                assert entry_of(scope._books, value) is look_through(scope._books, value)
    finally:
        few.undo()
        await scope.aclose()
        await asyncio.gather(*entering, return_exceptions=True)


@virtual
async def test_what_was_released_is_not_kept(bubble: Bubble) -> None:
    """Nor is it found again, also where its identity has become another's."""
    async with Scope() as scope:
        values = [await scope.acquire(Value) for _ in range(100)]
        await scope.release(values[50])
        gone = ref(values.pop(50))
        assert gone() is None
        with pytest.raises(LookupError):
            await scope.release(Value())
