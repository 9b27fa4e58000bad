"""Leases of a very registration, and of a value that is put in by the same step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lifecycle import KeyMissing, OwnerClosed, Registry, RemovalCause
from lifecycle.testing import Bubble

from ..loops import LOOPS, run_on, virtual
from .clients import Client, close
from .test_keys import Key

WEIGHERS: list[Any] = [None, lambda key, value: 1]


@virtual
async def test_a_registration_is_leased(bubble: Bubble) -> None:
    """In both manners; what is leased outlives its replacement, and is leased anew no more."""
    async with Registry[str, Client](finalizer=close) as registry:
        client = Client("a")
        registration = registry.put("a", client)
        with registration.lease() as first:
            assert first is client
            async with registration.lease() as second:
                assert second is client
                assert registration.leases == 2
                registry.put("a", Client("b"))
            with pytest.raises(KeyMissing), registration.lease():
                pass
            await asyncio.sleep(1)
            assert client.closes == 0
            registry._check_invariants()
        await registration.closed()
        assert client.closes == 1
        with pytest.raises(KeyMissing):
            async with registration.lease():
                pass
        assert registry.statistics().leases == 0


@virtual
async def test_it_counts_as_a_use(bubble: Bubble) -> None:
    """Of the idle time, of the order, and in the books; what is due goes."""
    async with Registry[str, int](idle_ttl=10.0, ttl=15.0, max_size=3) as registry:
        registration = registry.put("a", 1)
        registry.put("b", 2)
        await asyncio.sleep(9.0)
        with registration.lease() as value:
            assert value == 1
        assert list(registry) == ["b", "a"]
        assert registry.statistics().hits == 1
        await asyncio.sleep(5.0)
        assert registry.items() == [("a", 1)]
        lease = registration.lease()
        await asyncio.sleep(1.0)
        with pytest.raises(KeyMissing), lease:
            pass
        assert registration.cause is RemovalCause.EXPIRED
        registry._check_invariants()


@virtual
async def test_its_key_may_change(bubble: Bubble) -> None:
    """The registration is what counts."""
    async with Registry[Any, int](idle_ttl=10.0, max_size=3) as registry:
        key = Key("a")
        registration = registry.put(key, 1)
        key.what = "b"
        with registration.lease() as value:
            assert value == 1


@pytest.mark.parametrize("weigher", WEIGHERS)
@virtual
async def test_put_and_lease_is_one_step(bubble: Bubble, weigher: Any) -> None:
    """Not even a time to live of nothing ends the value before its block."""
    async with Registry[str, Client](max_size=2, weigher=weigher, finalizer=close) as registry:
        client = Client("a")
        lease = registry.put_and_lease("a", client, ttl=0.0)
        assert "a" not in registry
        assert registry.statistics().opened == 0
        with lease as value:
            assert value is client
            assert lease.registration.leases == 1
            await asyncio.sleep(1)
            assert client.closes == 0
            with pytest.raises(RuntimeError, match="held already"):
                lease.__enter__()
        await lease_ends(registry)
        assert client.closes == 1
        with pytest.raises(KeyMissing), lease:
            pass
        async with registry.put_and_lease("b", Client("b")) as other:
            assert registry.peek("b") is other
        assert registry.peek("b") is other
        registry._check_invariants()


async def lease_ends(registry: Registry[str, Client]) -> None:
    registry.sweep()
    await registry.drain()


@virtual
async def test_a_value_that_is_too_heavy_is_leased_all_the_same(bubble: Bubble) -> None:
    """It goes after the block."""
    async with Registry[str, Client](max_size=2, weigher=lambda key, value: 3, finalizer=close) as registry:
        client = Client("a")
        with registry.put_and_lease("a", client):
            await asyncio.sleep(1)
            assert client.closes == 0
            assert "a" not in registry
        await registry.drain()
        assert client.closes == 1


@pytest.mark.parametrize("weigher", WEIGHERS)
@virtual
async def test_what_is_refused_is_not_leased(bubble: Bubble, weigher: Any) -> None:
    """By a time that is none before anything has happened, by the close when it is entered."""
    registry = Registry[str, Client](max_size=2, weigher=weigher, finalizer=close)
    client = Client("a")
    with pytest.raises(ValueError, match="ttl"):
        registry.put_and_lease("a", client, ttl=-1.0)
    lease = registry.put_and_lease("a", client)
    async with registry:
        pass
    with pytest.raises(OwnerClosed), lease:
        pass
    await asyncio.sleep(1)
    assert client.closes == 1
    assert registry.statistics().leases == 0


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_a_full_registry_makes_room_for_it(factory: Any) -> None:
    """Whatever the loop does with the finalizer of what has to go."""

    async def main() -> None:
        def ends(client: Client) -> Any:
            registry.discard("b")
            return client.aclose()

        async with Registry[str, Client](max_size=1, finalizer=ends) as registry:
            registry.put("a", Client("a"))
            client = Client("b")
            with registry.put_and_lease("b", client):
                registry.put("c", Client("c"))
                await asyncio.sleep(0)
                assert client.closes == 0
            await registry.drain()
            assert client.closes == 1
            registry._check_invariants()

    run_on(factory, main())
