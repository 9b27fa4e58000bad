"""Closing registries and pools from inside what they wait for, in circles, and under keys that have no name."""

import asyncio

import pytest

from lifecycle import OwnerClosed, Pool, Registry, TaskManager, take_snapshot
from lifecycle.testing import Bubble

from .loops import virtual


@virtual
async def test_two_registries_whose_finalizers_close_each_other(bubble: Bubble) -> None:
    """Neither waits for the other to wait for it."""

    async def close_second(value: int) -> None:
        await second.aclose()

    async def close_first(value: int) -> None:
        await first.aclose()

    first = Registry[str, int]("first", finalizer=close_second)
    second = Registry[str, int]("second", finalizer=close_first)
    first.put("a", 1)
    second.put("a", 1)
    await first.aclose()
    assert first.closed
    assert second.closed
    assert bubble.clock.now == 0.0


@virtual
async def test_a_finalizer_that_closes_the_manager_of_the_closer(bubble: Bubble) -> None:
    """Its task closes the registry and waits for the finalizer; so the manager does not wait for that task."""

    async def end(value: int) -> None:
        await manager.aclose()

    registry = Registry[str, int](finalizer=end)
    registry.put("a", 1)
    async with TaskManager() as manager:
        await manager.create_task(registry.aclose())
        assert registry.closed
        assert bubble.clock.now == 0.0


@pytest.mark.parametrize("step", ["create", "destroy", "check", "reset"])
@virtual
async def test_every_step_of_a_pool_may_close_it(bubble: Bubble, step: str) -> None:
    """It waits for all but itself, and what it was working on is ended."""

    async def close_it(*_: object) -> object:
        await pool.aclose()
        return object()

    steps = {"create": object, "destroy": lambda value: None, step: close_it}
    pool: Pool[object] = Pool(max_size=1, check_bypass=0.0, **steps)  # type: ignore[arg-type]
    try:
        async with pool.acquire():
            if step == "destroy":
                pool.expire()
        async with pool.acquire():
            pytest.fail("was lent")
    except OwnerClosed:
        pass
    await pool.aclose()
    await asyncio.sleep(1)
    assert len(pool) == 0
    assert bubble.clock.now == 1.0


class Nameless:
    """A key that cannot be put into words."""

    def __repr__(self) -> str:
        raise ValueError("no words")


@virtual
async def test_a_key_whose_repr_fails_changes_nothing(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """It is created, shown, finalized with an error, and the accounts close."""

    async def make() -> int:
        return 1

    async def end(value: int) -> None:
        raise OSError("planned")

    key = Nameless()
    registry = Registry[Nameless, int](finalizer=end)
    assert await registry.get_or_create(key, make) == 1
    assert "Nameless object" in str(take_snapshot())
    registration = registry.put(key, 2)
    assert "Nameless object" in repr(registration)
    await asyncio.sleep(0.1)
    assert "Nameless object" in caplog.records[0].__dict__["key"]
    with pytest.raises(OSError, match="planned"):
        await registry.aclose()
    statistics = registry.statistics()
    assert statistics.opened == statistics.closed == 2
