"""What is looked at is not used, and what is not there has an error of the family."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import KeyMissing, LifecycleError, Registry
from lifecycle.testing import Bubble

from ..loops import virtual


@virtual
async def test_a_look_is_no_use(bubble: Bubble) -> None:
    """Neither the order, nor the idle time, nor the books change."""
    async with Registry[str, int](idle_ttl=10.0, max_size=2) as registry:
        registry.put("a", 1)
        registry.put("b", 2)
        before = registry.statistics()
        await asyncio.sleep(9.0)
        assert registry.peek("a") == 1
        assert registry.peek("c") is None
        assert registry.peek("c", 0) == 0
        assert registry.values() == [1, 2]
        assert registry.items() == [("a", 1), ("b", 2)]
        assert registry.statistics() == before
        registry.put("c", 3)
        assert list(registry) == ["b", "c"]
        await asyncio.sleep(1.5)
        assert registry.items() == [("c", 3)]


@virtual
async def test_what_is_due_is_not_seen(bubble: Bubble) -> None:
    """Also where nobody has swept it."""
    now = [0.0]
    async with Registry[str, int](clock=lambda: now[0]) as registry:
        registry.put("a", 1, ttl=1.0)
        registry.put("b", 2)
        now[0] = 1.0
        assert registry.peek("a", 7) == 7
        assert (registry.values(), registry.items()) == ([2], [("b", 2)])
        assert len(registry) == 2
        assert registry.peek("b") == 2


@virtual
async def test_a_leased_value_is_seen_though_it_seems_idle(bubble: Bubble) -> None:
    """It is in use."""
    async with Registry[str, int](idle_ttl=1.0) as registry:
        registry.put("a", 1)
        async with registry.lease("a"):
            await asyncio.sleep(2.0)
            assert registry.peek("a") == 1
            assert registry.values() == [1]


@virtual
async def test_a_missing_key_is_an_error_of_the_family(bubble: Bubble) -> None:
    """And the KeyError that dicts raise, with the key as its argument."""
    async with Registry[str, int]() as registry:
        for base in (LifecycleError, KeyError):
            with pytest.raises(base) as caught:
                registry.pop("a")
            assert type(caught.value) is KeyMissing
            assert caught.value.args == ("a",)
            assert str(caught.value) == "'a'"
        with pytest.raises(KeyMissing):
            async with registry.lease("a"):
                pass
        with pytest.raises(KeyMissing), registry.try_lease("a"):
            pass
        assert registry.pop("a", 0) == 0
