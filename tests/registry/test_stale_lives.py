"""The lives of old values: who sees them, their times and places, and what ends them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lifecycle import KeyMissing, Lifetime, Registry, RegistryFull, RemovalCause, TaskCancelled, cached
from lifecycle.testing import Bubble

from ..loops import LOOPS, on_every_loop, run_on, some_turns, virtual
from .backend import THE_OLD, Backend, told
from .clients import Client, close

# What they are to everybody else


@virtual
async def test_to_all_others_it_is_not_there(bubble: Bubble) -> None:
    """Who has not said how a new one is made does not get an old one; `peek` shows it where it is asked for."""
    async with Registry[str, int](ttl=10.0, stale_ttl=60.0) as registry:
        registration = registry.put("a", 1)
        await asyncio.sleep(10.0)
        assert registry.get("a", 0) == registry.peek("a", 0) == 0
        assert "a" not in registry
        assert [*registry, *registry.values(), *registry.items()] == []
        for lease in (registry.try_lease("a"), registration.lease()):
            with pytest.raises(KeyMissing), lease:
                pass
        with pytest.raises(KeyMissing):
            async with registry.lease("a"):
                pass
        assert registry.sweep() == 0
        assert registry.peek("a", stale=True) == 1
        assert registration.cause is None
        registry._check_invariants()


@pytest.mark.parametrize("how", ["discard", "pop", "remove", "clear"])
@virtual
async def test_what_takes_a_value_out_takes_out_an_old_one(bubble: Bubble, how: str) -> None:
    """It is not handed out any more."""
    client = Client("a")
    async with Registry[str, Client](ttl=10.0, stale_ttl=60.0, finalizer=close) as registry:
        registration = registry.put("a", client)
        await asyncio.sleep(10.0)
        if how == "discard":
            assert registry.discard("a")
        elif how == "pop":
            with pytest.raises(KeyMissing):
                registry.pop("a")
        elif how == "remove":
            assert registration.remove()
        else:
            await registry.clear()
        assert registration.cause is RemovalCause.EXPLICIT
        new = Client("b")
        assert await registry.get_or_create("a", lambda: new) is new
        await some_turns()
        assert client.closes == 1


@pytest.mark.parametrize("how", ["discard", "clear", "put"])
@virtual
async def test_news_overtake_what_is_being_made(bubble: Bubble, how: str) -> None:
    """What has begun before is older than they are: it is stopped, as nobody waits for it, and never seen."""
    made: list[Client] = []
    cancelled: list[bool] = []

    async def make() -> Client:
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        made.append(Client("late"))
        return made[-1]

    async with Registry[str, Client](ttl=10.0, stale_ttl=60.0, finalizer=close) as registry:
        old, new = Client("old"), Client("new")
        registry.put("a", old)
        await asyncio.sleep(10.0)
        assert await registry.get_or_create("a", make) is old
        await some_turns()
        if how == "discard":
            assert registry.discard("a")
        elif how == "clear":
            await registry.clear()
        else:
            registry.put("a", new)
        await asyncio.sleep(2.0)
        assert (cancelled, made) == ([True], [])
        assert registry.peek("a") is (new if how == "put" else None)
        assert old.closes == 1
        registry._check_invariants()


@virtual
async def test_those_who_wait_for_what_was_overtaken_get_it(bubble: Bubble) -> None:
    """As for every creation: its value is for them alone."""
    backend = Backend(10.0)
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        registry.put("a", 0)
        await asyncio.sleep(14.0)
        assert await registry.get_or_create("a", backend) == 0
        await asyncio.sleep(2.0)
        waiting = asyncio.create_task(registry.get_or_create("a", backend))
        await some_turns()
        assert registry.discard("a")
        assert await waiting == 1
        assert registry.peek("a") is None


@virtual
async def test_an_old_value_under_a_lease_is_not_finalized(bubble: Bubble) -> None:
    """Also when the new one has come, and when its time is over; then it is, once."""
    made: list[Client] = []

    async def make() -> Client:
        await asyncio.sleep(1.0)
        made.append(Client(str(len(made))))
        return made[-1]

    async with Registry[str, Client](ttl=10.0, stale_ttl=5.0, finalizer=close) as registry:
        await registry.get_or_create("a", make)
        await asyncio.sleep(10.0)
        async with registry.lease("a", make) as old:
            assert old is made[0]
            await asyncio.sleep(20.0)
            assert len(made) == 2
            assert old.closes == 0
            registry._check_invariants()
        await registry.drain()
        assert old.closes == 1
    assert [client.closes for client in made] == [1, 1]


@virtual
async def test_a_factory_may_give_the_old_value_back(bubble: Bubble) -> None:
    """What has not changed is renewed, with its registration and its leases, and not finalized."""
    client = Client("a")
    async with Registry[str, Client](ttl=10.0, stale_ttl=5.0, finalizer=close) as registry:
        registration = registry.put("a", client)
        await asyncio.sleep(11.0)

        async def look_again() -> Client:
            old = registry.peek("a", stale=True)
            assert old is not None
            return old

        async with registry.lease("a", look_again):
            await some_turns()
            assert registry.peek("a") is client
            assert (registration.cause, registration.leases) == (None, 1)
        await asyncio.sleep(12.0)
        assert await registry.get_or_create("a", look_again) is client
        await some_turns()
        assert client.closes == 0
    assert client.closes == 1


# Time, room, and the end


@virtual
async def test_each_value_has_its_own_times(bubble: Bubble) -> None:
    """Those of its Lifetime, given or answered; what that leaves open is as the registry says."""
    async with Registry[str, int](ttl=10.0) as registry:
        for ttl in (Lifetime(stale_ttl=20.0), lambda _: Lifetime(stale_ttl=20.0)):
            assert await registry.get_or_create("a", lambda: 1, ttl=ttl) == 1
            await asyncio.sleep(29.0)
            assert await registry.get_or_create("a", lambda: 2) == 1
            await some_turns()
            assert registry.peek("a") == 2
            await asyncio.sleep(10.0)
            assert registry.peek("a", stale=True) is None
        registry.put("a", 1, ttl=Lifetime(ttl=1.0, stale_ttl=2.0))
        with registry.put_and_lease("b", 1, ttl=Lifetime(ttl=1.0, stale_ttl=2.0)):
            await asyncio.sleep(2.5)
            assert registry.peek("a", stale=True) == registry.peek("b", stale=True) == 1
            await asyncio.sleep(0.5)
            assert registry.peek("a", stale=True) is registry.peek("b", stale=True) is None
        registry._check_invariants()


@pytest.mark.parametrize("seconds", [0.0, -5.0])
@virtual
async def test_a_value_may_be_old_from_the_beginning(bubble: Bubble, seconds: float) -> None:
    """Without a time to live it is made anew each time, and the last one serves meanwhile."""
    backend = Backend()
    ttl = Lifetime(ttl=seconds, stale_ttl=60.0)
    async with Registry[str, int]() as registry:
        assert await registry.get_or_create("a", backend, ttl=ttl) == 1
        for number in (1, 2, 3):
            assert await registry.get_or_create("a", backend, ttl=ttl) == number
            await asyncio.sleep(2.0)


@pytest.mark.parametrize("weighs", [False, True])
@virtual
async def test_it_takes_its_place(bubble: Bubble, weighs: bool) -> None:
    """An old value counts and weighs, and is the more recently used the later it was handed out."""
    weigher = (lambda key, value: 1) if weighs else None
    async with Registry[str, int](ttl=10.0, stale_ttl=60.0, max_size=2, weigher=weigher) as registry:
        first, second = registry.put("a", 1), registry.put("b", 1)
        await asyncio.sleep(10.0)
        registry.close()  # so that none is made anew
        assert await registry.get_or_create("a", lambda: 2) == 1
        registry._closing.state = registry._closing.state.OPEN
        registry.put("c", 1)
        assert (first.cause, second.cause) == (None, RemovalCause.SIZE)
        registry.put("d", 1)
        assert first.cause is RemovalCause.SIZE
        registry._check_invariants()


@virtual
async def test_one_that_is_evicted_meanwhile_is_followed_all_the_same(bubble: Bubble) -> None:
    """Its successor was asked for."""
    backend = Backend()
    async with Registry[str, int](ttl=10.0, stale_ttl=60.0, max_size=1) as registry:
        registry.put("a", 0)
        await asyncio.sleep(10.0)
        assert await registry.get_or_create("a", backend) == 0
        registry.put("b", 1)
        await asyncio.sleep(1.5)
        assert registry.peek("a") == 1


@virtual
async def test_a_full_registry_makes_the_new_one_in_the_place_of_the_old(bubble: Bubble) -> None:
    """It is not refused, unless the old one is leased; then that serves until its time is over."""
    backend = Backend()
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0, max_size=1, when_full="refuse") as registry:
        registry.put("a", 0)
        await asyncio.sleep(10.0)
        assert await registry.get_or_create("a", backend) == 0
        await asyncio.sleep(1.5)
        assert registry.peek("a") == 1
        await asyncio.sleep(10.0)
        with registry.put_and_lease("a", 5, ttl=0.0):
            async with registry.lease("a", backend) as value:
                assert value == 5
            assert registry.statistics().loading == 0
            await asyncio.sleep(5.0)
            with pytest.raises(RegistryFull):
                await registry.get_or_create("a", backend)
        assert await registry.get_or_create("a", backend) == 2
        registry._check_invariants()


@virtual
async def test_it_is_idle_as_every_value(bubble: Bubble) -> None:
    """From its last use on, also before its time was over; what is leased is in use."""
    async with Registry[str, int](ttl=10.0, idle_ttl=6.0, stale_on_error=1000.0) as registry:
        idle = registry.put("idle", 1)
        used, leased = registry.put("used", 1), registry.put("leased", 1)
        lease = leased.lease()
        await asyncio.sleep(5.0)
        registry.get("used")
        lease.__enter__()
        await asyncio.sleep(1.0)
        registry.sweep()
        assert idle.cause is RemovalCause.IDLE
        await asyncio.sleep(4.5)
        registry.sweep()
        assert (used.cause, used.expires_at < bubble.clock.now) == (None, True)
        await asyncio.sleep(1.0)
        registry.sweep()
        assert used.cause is RemovalCause.EXPIRED
        await asyncio.sleep(500.0)
        registry.sweep()
        assert leased.cause is None
        assert registry._wheel.next_due() > bubble.clock.now + 400.0, "it is looked at again and again"
        lease.__exit__(None, None, None)
        await asyncio.sleep(5.0)
        registry.sweep()
        registry._check_invariants()
        assert leased.cause is None
        await asyncio.sleep(2.0)
        assert leased.cause is RemovalCause.EXPIRED


@virtual
async def test_old_values_are_swept(bubble: Bubble) -> None:
    """When they serve no more, by the timer as by a call, and not before."""
    async with Registry[int, int](ttl=10.0, stale_on_error=5.0) as registry:
        for number in range(1000):
            registry.put(number, number)
        await asyncio.sleep(14.0)
        assert (registry.sweep(), len(registry)) == (0, 1000)
        await asyncio.sleep(1.1)
        assert len(registry) == 0
        assert registry.statistics().removals[RemovalCause.EXPIRED] == 1000


@virtual
async def test_a_close_stops_what_is_being_made(bubble: Bubble, caplog: Any) -> None:
    """And waits for it; no error is told, as there is none."""
    made: list[Client] = []

    async def make() -> Client:
        try:
            await asyncio.sleep(10.0)
        finally:
            await asyncio.sleep(1.0)
            made.append(Client("late"))
        return made[-1]

    old = Client("old")
    registry = Registry[str, Client](ttl=10.0, stale_ttl=50.0, stale_on_error=50.0, finalizer=close)
    registry.put("a", old)
    await asyncio.sleep(10.0)
    assert await registry.get_or_create("a", make) is old
    await asyncio.sleep(5.0)
    begin = bubble.clock.now
    await registry.aclose()
    assert bubble.clock.now - begin == 1.0
    assert len(made) == old.closes == 1
    assert told(caplog) == []


@virtual
async def test_a_drain_waits_for_what_is_being_made(bubble: Bubble) -> None:
    """It is in progress."""
    backend = Backend()
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        registry.put("a", 0)
        await asyncio.sleep(10.0)
        await registry.get_or_create("a", backend)
        assert not (await registry.drain(0.5)).clean
        assert (await registry.drain()).clean
        assert registry.peek("a") == 1


@pytest.mark.parametrize(
    "ttl", [{"stale_ttl": -1}, {"stale_on_error": "5"}, {"ttl": float("nan")}, {"stale_ttl": True}]
)
def test_what_is_no_time_is_refused(ttl: Any) -> None:
    """Where it is said."""
    with pytest.raises((TypeError, ValueError)):
        Lifetime(**ttl)
    with pytest.raises((TypeError, ValueError)):
        Registry(**ttl)


# Everywhere


@on_every_loop
def test_cached_functions_and_every_loop(new_loop: Any, caplog: Any) -> None:
    """Results serve on as values do; the end of the loop stops what is being made, and nothing is said of it."""
    calls, now, up = 0, 0.0, True
    gate: asyncio.Event

    @cached(ttl=1.0, stale_ttl=1.0, stale_on_error=5.0, clock=lambda: now)
    async def item(name: str) -> int:
        nonlocal calls
        calls += 1
        made = calls
        await gate.wait()
        if not up:
            raise ConnectionError("down")
        return made

    async def main() -> None:
        nonlocal now, up, gate
        gate = asyncio.Event()
        gate.set()
        assert await item("a") == 1
        now = 1.5
        gate.clear()
        assert await item("a") == await item("a") == 1
        await some_turns()
        assert calls == 2
        gate.set()
        await item.registry.drain()
        assert await item("a") == 2
        now, up = 4.0, False
        assert await item("a") == 2
        assert told(caplog) == [THE_OLD]
        assert item.statistics().stale_on_error == 1
        now, up = 10.0, True
        assert await item("a") == 4
        now = 11.5
        gate.clear()
        assert await item("a") == 4
        await some_turns()
        assert item.statistics().loading == 1
        if new_loop is not LOOPS["asyncio"]:  # which leaves it to the end of the loop
            await item.aclose()

    if new_loop is LOOPS["asyncio"]:
        asyncio.run(main())
    else:
        run_on(new_loop, main())
    assert told(caplog) == [THE_OLD]


@virtual
async def test_a_task_factory_that_refuses(bubble: Bubble, caplog: Any) -> None:
    """The old value is there all the same, and the next caller tries again."""
    backend = Backend()
    loop = asyncio.get_running_loop()
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        registry.put("a", 0)
        await asyncio.sleep(10.0)

        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError("no more tasks")

        former = loop.get_task_factory()
        loop.set_task_factory(refuse)
        try:
            assert await registry.get_or_create("a", backend) == 0
        finally:
            loop.set_task_factory(former)
        assert told(caplog) == [THE_OLD]
        assert registry.statistics().loading == 0
        assert await registry.get_or_create("a", backend) == 0
        await asyncio.sleep(1.5)
        assert registry.peek("a") == 1


@virtual
async def test_a_factory_that_cancels_itself_has_failed(bubble: Bubble, caplog: Any) -> None:
    """And is told as a failure; its caller sees no cancellation."""

    async def cancels() -> int:
        raise asyncio.CancelledError

    async with Registry[str, int](ttl=10.0, stale_ttl=5.0, stale_on_error=50.0) as registry:
        registry.put("a", 0)
        for wait in (10.0, 10.0):
            await asyncio.sleep(wait)
            assert await registry.get_or_create("a", cancels) == 0
            await some_turns()
    assert told(caplog) == [THE_OLD] * 2
    assert isinstance(caplog.records[0].exc_info[1], TaskCancelled)
