"""What registries and pools answer alike: to a second block, to close and drain, and to arguments that cannot be."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import OwnerClosed, Pool, Registry
from lifecycle.testing import Bubble

from .loops import virtual


@pytest.mark.parametrize("make", [Registry[str, int], lambda: Pool(object, lambda value: None, max_size=1)])
@virtual
async def test_a_block_is_entered_once(bubble: Bubble, make: Callable[[], Any]) -> None:
    """The second time is refused with the state, inside the first block and after its end."""
    owner = make()
    async with owner:
        with pytest.raises(OwnerClosed, match="it is open and has been entered before"):
            await owner.__aenter__()
    with pytest.raises(OwnerClosed, match="it is closed"):
        await owner.__aenter__()


@virtual
async def test_a_registry_that_refuses_keeps_what_it_has(bubble: Bubble) -> None:
    """After close() values are found and leased; new ones are refused, and creations in progress are handed over."""
    ended: list[int] = []

    async def make() -> int:
        await asyncio.sleep(1)
        return 2

    async with Registry[str, int](finalizer=ended.append) as registry:
        registry.put("a", 1)
        asking = asyncio.create_task(registry.get_or_create("b", make))
        await asyncio.sleep(0.5)
        registry.close()
        registry.close()
        assert registry.get("a") == 1
        async with registry.lease("a") as value:
            assert value == 1
        with pytest.raises(OwnerClosed):
            registry.put("c", 3)
        with pytest.raises(OwnerClosed):
            await registry.get_or_create("c", make)
        assert await asking == 2
        registry._check_invariants()
        assert not registry.closed
        await asyncio.sleep(0.1)
        assert sorted(ended) == [2, 3]
    assert sorted(ended) == [1, 2, 3]


@virtual
async def test_a_registry_drains(bubble: Bubble) -> None:
    """It waits for leases, creations and finalizers, says what is still out when the time is up, and stays open."""

    async def make() -> int:
        await asyncio.sleep(3)
        return 2

    async def end(value: int) -> None:
        await asyncio.sleep(5)

    async def use() -> None:
        async with registry.lease("a"):
            await asyncio.sleep(2)

    async with Registry[str, int]("clients", finalizer=end) as registry:
        registry.put("a", 1)
        tasks = [asyncio.create_task(use(), name="user"), asyncio.create_task(registry.get_or_create("b", make))]
        await asyncio.sleep(0.5)
        registry.put("c", 3)
        registry.discard("c")
        async with registry.lease("a"):  # its own lease it does not wait for
            report = await registry.drain(1.0)
            assert not report.clean
            assert report.lent[0].startswith("'a', leased by task 'user', suspended at ")
            assert report.pending == ("creation of 'b' in registry 'clients'", "1 finalizers")
            assert (await registry.drain()).clean
        assert bubble.clock.now == 5.5
        assert all(task.done() for task in tasks)
        registry.put("d", 4)


@virtual
async def test_a_borrower_that_drains_its_pool_does_not_wait_for_itself(bubble: Bubble) -> None:
    """It would wait for ever."""
    async with Pool(object, lambda value: None, max_size=1) as pool, pool.acquire():
        assert (await pool.drain()).clean
        assert bubble.clock.now == 0.0


@pytest.mark.parametrize("make", [Registry, lambda **bounds: Pool(object, print, max_size=1, **bounds)])
def test_a_lender_says_what_it_was_given(make: Any) -> None:
    """Its name and its bounds can be read; no bound is infinity."""
    lender = make(name="clients", create_timeout=2.0, close_timeout=3.0)
    assert (lender.name, lender.create_timeout, lender.close_timeout) == ("clients", 2.0, 3.0)
    lender = make(create_timeout=None, close_timeout=None)
    assert lender.create_timeout == lender.close_timeout == float("inf")


@pytest.mark.parametrize("kind", ["creation", "finalizer", "end"])
@virtual
async def test_what_swallows_its_first_cancellation_is_cancelled_again(bubble: Bubble, kind: str) -> None:
    """A bound after the first; nothing is abandoned then."""
    cancelled: list[float] = []

    async def swallows(*_: object) -> object:
        for _ in range(2):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                cancelled.append(bubble.clock.now)
                if len(cancelled) == 2:
                    raise
        return None

    with contextlib.suppress(TimeoutError):
        if kind == "creation":
            async with Registry[str, object](create_timeout=2.0) as registry:
                await registry.get_or_create("a", swallows)
        elif kind == "finalizer":
            async with Registry[str, object](finalizer=swallows, close_timeout=2.0) as registry:
                registry.put("a", 1)
        else:
            async with Pool(object, swallows, max_size=1, close_timeout=2.0) as pool, pool.acquire():
                pass
    assert cancelled == [2.0, 4.0]
    assert bubble.clock.now == 4.0


def make_pool(**options: Any) -> Pool[object]:
    return Pool(**({"create": object, "destroy": print, "max_size": 1} | options))


@pytest.mark.parametrize(
    ("make", "options", "error"),
    [
        *((Registry, {name: 3}, TypeError) for name in ("finalizer", "clock", "name")),
        (Registry, {"weigher": 3, "max_size": 1}, TypeError),
        *((make_pool, {name: 3}, TypeError) for name in ("create", "destroy", "check", "reset", "name")),
        *((make_pool, {name: None}, TypeError) for name in ("create", "destroy", "max_size", "min_size")),
        (make_pool, {"lifetime_jitter": "x"}, TypeError),
        (make_pool, {"lifetime_jitter": 1.0}, ValueError),
        (make_pool, {"pending_limit": -1}, ValueError),
    ],
)
def test_arguments_are_checked_when_they_are_given(
    make: Callable[..., object], options: dict[str, Any], error: type[Exception]
) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=next(iter(options))):
        make(**options)
