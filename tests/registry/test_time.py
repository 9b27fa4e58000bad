"""Values that leave by time: how long they live, how long they may lie idle, and the sweeper."""

import asyncio

from lifecycle import Registry, RemovalCause
from lifecycle.testing import Bubble, run_virtual

from .clients import Client, Frozen, close


def test_time_to_live_ends_a_value_exactly_and_by_itself() -> None:
    """A look-up is exact; the sweep finalizes without anybody asking, soon after."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        async with Registry[str, Client](ttl=10.0, finalizer=close) as registry:
            registration = registry.put("a", client)
            await asyncio.sleep(9.999)
            assert registry.get("a") is client
            await asyncio.sleep(0.001)
            assert "a" not in registry
            await registration.closed()
            assert 10.0 <= asyncio.get_running_loop().time() <= 10.0 * (1 + 1 / 64) + 0.1
            assert registration.cause is RemovalCause.EXPIRED
            assert repr(registration) == "<Registration 'a' closed>"
            assert client.closes == 1

    run_virtual(scenario)


def test_idle_time_counts_from_the_last_use() -> None:
    """Every hit starts the idle time anew, but never beyond the time to live."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=10.0, idle_ttl=3.0) as registry:
            used, unused = registry.put("used", 1), registry.put("unused", 2)
            for _ in range(4):
                await asyncio.sleep(2.4)
                assert registry.get("used") == 1
            assert unused.cause is RemovalCause.IDLE
            await asyncio.sleep(0.5)
            assert registry.get("used") is None
            assert used.cause is RemovalCause.EXPIRED

    run_virtual(scenario)


def test_a_leased_value_is_not_idle() -> None:
    """However long the lease, the idle time begins when it ends."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        async with Registry[str, Client](idle_ttl=1.0, finalizer=close) as registry:
            registration = registry.put("a", client)
            async with registry.lease("a") as leased:
                await asyncio.sleep(60)
                assert leased.closes == 0
                assert "a" in registry
            await asyncio.sleep(0.99)
            assert registration.cause is None
            await asyncio.sleep(0.2)
            assert registration.cause is RemovalCause.IDLE

    run_virtual(scenario)


def test_a_value_may_have_its_own_time() -> None:
    """put(ttl=) stands in for the registry's, in both directions, and infinity means no bound."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=5.0) as registry:
            registry.put("short", 1, ttl=1.0)
            registry.put("long", 2, ttl=50.0)
            registry.put("for ever", 3, ttl=float("inf"))
            await asyncio.sleep(2)
            assert set(registry) == {"long", "for ever"}
            await asyncio.sleep(60)
            assert set(registry) == {"for ever"}
            registry._check_invariants()

    run_virtual(scenario)


def test_sweep_is_exact_and_may_be_limited() -> None:
    """With a clock of its own a registry needs no loop; what is due is due to the millisecond."""
    clock = Frozen()
    registry = Registry[int, int](clock=clock)
    for number in range(100):
        registry.put(number, number, ttl=number / 1000)
    clock.now += 0.05
    assert registry.sweep(limit=10) == 10
    assert len(registry) == 90
    assert registry.sweep() == 41
    registry._check_invariants()
    assert registry.sweep() == 0
    clock.now += 1000
    assert registry.sweep() == 49
    assert len(registry._wheel) == 0


def test_buckets_do_not_outlive_what_was_in_them() -> None:
    """A long time to live and a quick removal leave nothing in the wheel, however often."""
    clock = Frozen()
    registry = Registry[int, int](clock=clock, ttl=86_400.0)
    for number in range(5000):
        clock.now += 1000.0 * 86.4
        registry.put(number, number)
        registry.discard(number)
    assert len(registry._wheel._buckets) <= 200


def test_mass_expiry_works_in_turns() -> None:
    """The loop goes round many times while tens of thousands expire, and nothing is forgotten."""

    async def scenario() -> int:
        registry = Registry[int, int](ttl=0.05)
        for number in range(60_000):
            registry.put(number, number)
        turns = 0
        while len(registry):
            await asyncio.sleep(0 if len(registry) < 60_000 else 0.01)
            turns += 1
        registry._check_invariants()
        await registry.aclose()
        return turns

    assert asyncio.run(scenario()) > 10


def test_clearing_many_works_in_turns() -> None:
    """All are out in the same step, and worked off while others run; a put meanwhile is kept."""

    async def scenario() -> None:
        registry = Registry[int, int](ttl=100.0, max_size=100_000)
        for number in range(60_000):
            registry.put(number, number)
        clearing = asyncio.create_task(registry.clear())
        await asyncio.sleep(0)
        assert len(registry) == 0
        assert len(registry._sweeper)
        registry._check_invariants()
        registry.put(1, 1)
        await clearing
        assert (len(registry), registry.statistics().closed) == (1, 60_000)
        await registry.aclose()

    asyncio.run(scenario())
