"""A registry that is full and refuses, instead of having others go."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from lifecycle import LifecycleError, Registry, RegistryFull
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .clients import Client, close


@virtual
async def test_what_has_no_place_is_refused(bubble: Bubble) -> None:
    """And is still the caller's; what is there stays, and can be replaced, renewed and used."""
    async with Registry[str, Client](max_size=2, when_full="refuse", finalizer=close) as registry:
        clients = [Client(name) for name in "abc"]
        for client in clients[:2]:
            registry.put(client.name, client)
        for base in (LifecycleError, anyio.WouldBlock):
            with pytest.raises(base, match="'c': of 2 there are 2 live, 0 that have left") as caught:
                registry.put("c", clients[2])
            assert type(caught.value) is RegistryFull
        with pytest.raises(RegistryFull), registry.put_and_lease("c", clients[2]):
            pass
        for _ in range(2):
            with pytest.raises(RegistryFull):
                await registry.get_or_create("c", lambda: clients[2])
        assert [registry.get(key) for key in "abc"] == [*clients[:2], None]
        assert await registry.get_or_create("a", lambda: clients[2]) is clients[0]
        registry.put("a", clients[0])
        registry.put("a", clients[2])
        statistics = registry.statistics()
        assert (statistics.refused, statistics.loads, statistics.load_failures) == (5, 0, 0)
        registry.discard("b")
        registry.put("b", Client("d"))
        registry._check_invariants()


@virtual
async def test_what_is_lent_counts(bubble: Bubble) -> None:
    """Also where it has left, or would leave."""
    async with Registry[str, Client](max_size=2, when_full="refuse", finalizer=close) as registry:
        registry.put("a", Client("a"))
        async with registry.lease("a"):
            registry.discard("a")
            registry.put("b", Client("b"))
            with pytest.raises(RegistryFull, match="1 live, 1 that have left and are still leased"):
                registry.put("a", Client("c"))
        registry.put("a", Client("c"))
        async with registry.lease("a"):
            with pytest.raises(RegistryFull):
                registry.put("a", Client("d"))
        registry.put("a", Client("d"))
        registry._check_invariants()


@virtual
async def test_what_is_being_made_counts(bubble: Bubble) -> None:
    """So that no factory is called in vain; others may join."""
    made = 0

    async def make() -> Client:
        nonlocal made
        made += 1
        await asyncio.sleep(1)
        return Client("made")

    async with Registry[Any, Client](max_size=3, when_full="refuse", finalizer=close) as registry:

        async def user(key: int) -> bool:
            try:
                async with registry.lease(key, make):
                    await asyncio.sleep(1)
            except RegistryFull:
                return False
            return True

        assert sum(await asyncio.gather(*(user(key % 10) for key in range(20)))) == 6
        assert made == 3
        await registry.clear()
        users = [asyncio.create_task(user(key)) for key in range(3)]
        await some_turns()
        await registry.clear()  # they are still being made, for those who wait
        with pytest.raises(RegistryFull, match="3 being made"):
            registry.put("other", Client("other"))
        assert all(await asyncio.gather(*users))
        registry.put("other", Client("other"))
        registry._check_invariants()


@virtual
async def test_what_is_due_goes_first(bubble: Bubble) -> None:
    """Also before it was swept."""
    now = [0.0]
    async with Registry[str, Client](
        max_size=2, ttl=1.0, clock=lambda: now[0], when_full="refuse", finalizer=close
    ) as registry:
        for key in "abcd":  # when the third comes, the first is due
            registry.put(key, Client(key))
            now[0] += 0.5
        assert await registry.get_or_create("e", lambda: Client("e"))
        with pytest.raises(RegistryFull):
            registry.put("f", Client("f"))
        assert list(registry) == ["d", "e"]
        registry._check_invariants()


def test_before_there_is_a_loop() -> None:
    """It refuses too."""
    registry = Registry[str, int](max_size=1, when_full="refuse")
    registry.put("a", 1)
    with pytest.raises(RegistryFull):
        registry.put("b", 2)
    registry.discard("a")
    registry.put("b", 2)


def test_it_needs_a_size_in_values() -> None:
    """And is one of two words."""
    with pytest.raises(ValueError, match="max_size"):
        Registry[str, int](when_full="refuse")
    with pytest.raises(ValueError, match="weigher"):
        Registry[str, int](when_full="refuse", max_size=5, weigher=lambda key, value: 1)
    with pytest.raises(ValueError, match="when_full"):
        Registry[str, int](max_size=5, when_full="wait")  # type: ignore[arg-type]
