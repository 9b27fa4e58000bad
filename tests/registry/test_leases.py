"""Leases and loans: one block at a time, in whichever task, and what a factory's value weighs."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lifecycle import Pool, Registry, StillLent
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import RegistryStatistics

from ..loops import virtual
from .clients import Client, close


async def slowly() -> int:
    await asyncio.sleep(1)
    return 1


@virtual
async def test_two_tasks_that_enter_one_lease(bubble: Bubble) -> None:
    """The second is refused, also where both waited for the value; nothing stays leased."""
    async with Registry[str, int](close_timeout=5.0) as registry:
        lease = registry.lease("a", slowly)

        async def use() -> None:
            async with lease:
                await asyncio.sleep(1)

        answers = await asyncio.gather(use(), use(), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), RuntimeError]
        assert registry.statistics().leases == 0


@virtual
async def test_two_tasks_that_enter_one_loan(bubble: Bubble) -> None:
    """The second is refused, also where both waited in line; no slot is lost."""
    async with Pool(slowly, lambda value: None, max_size=2, close_timeout=5.0) as pool:
        loan = pool.acquire()

        async def use() -> None:
            async with loan:
                await asyncio.sleep(1)

        answers = await asyncio.gather(use(), use(), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), RuntimeError]
        async with pool.acquire(timeout=1.0), pool.acquire(timeout=1.0):
            pool._check_invariants()


@pytest.mark.parametrize(("weight", "error"), [(-1, ValueError), (1.5, TypeError), ("heavy", TypeError)])
@pytest.mark.parametrize("factory", [slowly, lambda: 1])
@virtual
async def test_what_cannot_be_weighed_is_not_taken_in(
    bubble: Bubble, factory: Callable[[], Awaitable[int] | int], weight: int, error: type[Exception]
) -> None:
    """put leaves the value to its caller; what a factory made has no owner, and is finalized."""
    ended: list[int] = []
    async with Registry[str, int](max_size=3, weigher=lambda key, value: weight, finalizer=ended.append) as registry:
        with pytest.raises(error):
            registry.put("a", 1)
        with pytest.raises(error):
            await registry.get_or_create("a", factory)
        await registry.clear()
        assert ended == [1]
        registry._check_invariants()


@virtual
async def test_a_synchronous_factory_that_fails_counts_and_may_be_kept(bubble: Bubble) -> None:
    """As an asynchronous one."""
    calls = []

    def fail() -> int:
        calls.append(1)
        raise OSError("planned")

    async with Registry[str, int](failure_ttl=5.0) as registry:
        for _ in range(3):
            with pytest.raises(OSError, match="planned"):
                await registry.get_or_create("a", fail)
        statistics: RegistryStatistics = registry.statistics()
        assert (len(calls), statistics.load_failures) == (1, 1)
        await asyncio.sleep(5)
        with pytest.raises(OSError, match="planned"):
            await registry.get_or_create("a", fail)
        assert len(calls) == 2


@virtual
async def test_what_was_put_in_before_there_was_a_loop_expires_in_it(bubble: Bubble) -> None:
    """Entering the block starts the sweeper."""
    ended: list[int] = []
    loop = asyncio.get_running_loop()
    registry = Registry[str, int](ttl=5.0, clock=loop.time, finalizer=ended.append)
    asyncio._set_running_loop(None)  # as before the loop is there
    try:
        registry.put("a", 1)
    finally:
        asyncio._set_running_loop(loop)
    async with registry:
        await asyncio.sleep(6)
        assert ended == [1]


@pytest.mark.parametrize("synchronous", [False, True])
@virtual
async def test_a_holder_that_closes_the_registry_is_told_at_once(bubble: Bubble, synchronous: bool) -> None:
    """It would wait for itself; the value is finalized when its lease ends."""
    ended: list[int] = []
    registry = Registry[str, int]("clients", finalizer=ended.append, close_timeout=30.0)
    registry.put("a", 1)

    async def close_it() -> None:
        with pytest.raises(StillLent, match=r"'a', leased by task '.*'"):
            await registry.aclose()
        assert ended == []

    if synchronous:
        with registry.try_lease("a"):
            await close_it()
    else:
        async with registry.lease("a"):
            await close_it()
    await asyncio.sleep(0.1)
    assert ended == [1]
    assert bubble.clock.now < 1.0
    assert not registry._leases.holders


@virtual
async def test_a_holder_that_closes_waits_for_the_other_holders(bubble: Bubble) -> None:
    """Then it is told of its own lease alone; an error names who holds what, and where that task is."""
    registry = Registry[str, int]("clients", finalizer=lambda value: None, close_timeout=5.0)
    registry.put("a", 1)

    async def hold(seconds: float) -> None:
        async with registry.lease("a"):
            await asyncio.sleep(seconds)

    holders = [asyncio.create_task(hold(seconds), name=f"for {seconds:g} s") for seconds in (2.0, 20.0)]
    await asyncio.sleep(1)
    async with registry.lease("a"):
        with pytest.raises(StillLent) as caught:
            await registry.aclose()
        assert bubble.clock.now == 6.0
        (line,) = caught.value.borrowed
        assert "leased by task 'for 20 s', suspended at " in line
        assert "for 2 s" not in line
    await asyncio.gather(*holders)


def test_the_last_lease_finalizes_a_value_that_has_left() -> None:
    """Two leases, a removal between them, a new value under the key meanwhile."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, Client](finalizer=close) as registry:
            first = registry.put("a", Client("first"))
            async with registry.lease("a") as one:
                lease = registry.lease("a")
                async with lease as two:
                    assert one is two
                    assert lease.registration is first
                    assert lease.discard()
                    assert not lease.discard()
                    async with registry.lease("a", lambda: Client("second")) as other:
                        assert other is not one
                await asyncio.sleep(1)
                assert first.value.closes == 0
                assert first.leases == 1
            await first.closed()
            assert first.value.closes == 1
            registry._check_invariants()

    run_virtual(scenario)


def test_a_lease_without_value_or_factory_is_a_key_error() -> None:
    """Both kinds say so on entering, and neither leases anything."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=1.0) as registry:
            registry.put("expired", 1, ttl=0.0)
            for key in ("none", "expired"):
                with pytest.raises(KeyError), registry.try_lease(key):
                    pytest.fail("was entered")
                with pytest.raises(KeyError):
                    async with registry.lease(key):
                        pytest.fail("was entered")
            assert registry.statistics().leases == 0

    run_virtual(scenario)


def test_a_lease_is_used_by_one_block_at_a_time() -> None:
    """Entering it again inside its block, and asking it outside of it, are errors; a second block is fine."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int]() as registry:
            registry.put("a", 1)
            for _ in range(2):
                lease = registry.lease("a")
                async with lease:
                    with pytest.raises(RuntimeError, match="held already"):
                        await lease.__aenter__()
                with pytest.raises(RuntimeError, match="not held"):
                    lease.discard()
            attempt = registry.try_lease("a")
            with attempt, pytest.raises(RuntimeError, match="held already"):
                attempt.__enter__()
            assert registry.statistics().leases == 0

    run_virtual(scenario)
