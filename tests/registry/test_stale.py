"""Old values: handed out while new ones are made, and in place of errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from lifecycle import Lifetime, OwnerClosed, Registry, RemovalCause
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .backend import THE_OLD, Backend, told

# While a new one is made


@virtual
async def test_an_old_value_is_handed_out_at_once_while_one_new_one_is_made(bubble: Bubble) -> None:
    """However many ask; those who ask when it is made get the new one. Nobody waits."""
    backend = Backend()
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        assert await registry.get_or_create("a", backend) == 1
        await asyncio.sleep(10.0)
        begin = bubble.clock.now
        assert await registry.get_or_create("a", backend) == 1
        assert backend.calls == 1  # it is called in a task of the registry
        assert await asyncio.gather(*(registry.get_or_create("a", backend) for _ in range(49))) == [1] * 49
        async with registry.lease("a", backend) as leased:
            assert leased == 1
        assert bubble.clock.now == begin
        await asyncio.sleep(0.5)
        assert (await registry.get_or_create("a", backend), backend.calls) == (1, 2)
        await asyncio.sleep(1.0)
        assert (await registry.get_or_create("a", backend), backend.calls) == (2, 2)
        statistics = registry.statistics()
        assert (statistics.hits, statistics.misses, statistics.stale_hits) == (1, 1, 52)
        assert statistics.removals[RemovalCause.REPLACED] == 1
        registry._check_invariants()


@virtual
async def test_its_time_counts_from_the_end_of_the_time_to_live(bubble: Bubble) -> None:
    """And is over then: who comes later waits. Nobody who came before has made it longer."""
    backend = Backend()
    backend.up = True
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0, failure_ttl=1.0) as registry:
        await registry.get_or_create("a", backend)
        backend.up = False
        for _ in range(14):
            await asyncio.sleep(1.0)
            assert await registry.get_or_create("a", backend) == 1
        await asyncio.sleep(1.0)
        assert registry.peek("a", stale=True) is None
        with pytest.raises(ConnectionError):
            await registry.get_or_create("a", backend)
        assert len(registry) == 0
        backend.up = True
        await asyncio.sleep(1.0)
        assert await registry.get_or_create("a", backend) > 1


@virtual
async def test_one_that_takes_longer_than_that_is_joined(bubble: Bubble) -> None:
    """By those who come when the old value may no longer be handed out; it is not begun anew."""
    backend = Backend(20.0)
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        await registry.get_or_create("a", backend)
        await asyncio.sleep(11.0)
        assert await registry.get_or_create("a", backend) == 1
        await asyncio.sleep(5.0)
        assert await asyncio.gather(*(registry.get_or_create("a", backend) for _ in range(3))) == [2] * 3
        assert backend.calls == 2


@virtual
async def test_one_that_takes_longer_than_its_time_to_live_is_used(bubble: Bubble) -> None:
    """A value that is slow to make is not one that nobody ever sees."""
    backend = Backend(20.0)
    async with Registry[str, int](ttl=1.0, stale_ttl=100.0) as registry:
        seen = [await registry.get_or_create("a", backend)]
        for _ in range(100):
            await asyncio.sleep(1.0)
            seen.append(await registry.get_or_create("a", backend))
    assert sorted(set(seen)) == [1, 2, 3, 4, 5]


@virtual
async def test_a_caller_that_is_cancelled_hurts_it_not(bubble: Bubble) -> None:
    """Neither the one that it was begun for, nor the last of those who have come to wait for it."""
    backend = Backend(10.0)
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0) as registry:
        await registry.get_or_create("a", backend)
        await asyncio.sleep(14.0)

        async def first() -> None:
            await registry.get_or_create("a", backend)
            await asyncio.sleep(100.0)

        task = asyncio.create_task(first())
        await some_turns()
        task.cancel()
        await asyncio.sleep(2.0)
        waiting = asyncio.create_task(registry.get_or_create("a", backend))
        await some_turns()
        waiting.cancel()
        await asyncio.wait([task, waiting])
        assert registry.statistics().loading == 1
        await asyncio.sleep(8.0)
        assert registry.peek("a") == 2


@virtual
async def test_one_that_a_caller_waits_for_goes_on_without_it(bubble: Bubble) -> None:
    """Once somebody else was given the old value for that."""
    backend = Backend(3.0)
    async with Registry[str, int](ttl=10.0, stale_on_error=60.0) as registry:
        registry.put("a", 0, ttl=Lifetime(ttl=1.0))
        await asyncio.sleep(1.0)
        waiting = asyncio.create_task(registry.get_or_create("a", backend))
        await some_turns()
        registry._live["a"]._stale_ttl = 60.0  # type: ignore[attr-defined]
        assert await registry.get_or_create("a", backend) == 0
        waiting.cancel()
        await asyncio.sleep(3.0)
        assert registry.peek("a") == 1


WHO: ContextVar[str] = ContextVar("who", default="the registry")


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_it_belongs_to_the_registry(bubble: Bubble, asynchronous: bool) -> None:
    """Its factory runs in the registry's context, not in that of whoever has come by, and after that one's step."""
    seen: list[tuple[str, object]] = []

    async def asks() -> str:
        seen.append((WHO.get(), asyncio.current_task()))
        return WHO.get()

    def make() -> Any:
        if asynchronous:
            return asks()
        seen.append((WHO.get(), asyncio.current_task()))
        return WHO.get()

    async with Registry[str, str](ttl=10.0, stale_ttl=5.0) as registry:
        WHO.set("a caller")
        assert await registry.get_or_create("a", make) == "a caller"
        await asyncio.sleep(10.0)
        WHO.set("another one")
        assert await registry.get_or_create("a", make) == "a caller"
        assert len(seen) == 1
        await some_turns()
        assert await registry.get_or_create("a", make) == "the registry"
        assert seen[1][1] is not asyncio.current_task()


@virtual
async def test_a_failure_is_logged_and_not_tried_again_at_every_call(bubble: Bubble, caplog: Any) -> None:
    """With a ``failure_ttl`` so often at most; without one as soon as somebody asks. The next success ends it."""
    backend = Backend(0.0)
    async with Registry[str, int]("prices", ttl=10.0, stale_ttl=60.0, failure_ttl=5.0) as registry:
        await registry.get_or_create("a", backend)
        await asyncio.sleep(10.0)
        backend.up = False
        for _ in range(20):
            assert await registry.get_or_create("a", backend) == 1
            await asyncio.sleep(1.0)
        assert backend.calls == 5
        assert told(caplog) == [THE_OLD] * 4
        record = caplog.records[0]
        assert (record.levelno, record.owner, record.key) == (logging.WARNING, "prices", "'a'")
        assert isinstance(record.exc_info[1], ConnectionError)
        backend.up = True
        await asyncio.sleep(5.0)
        assert await registry.get_or_create("a", backend) == 1
        await some_turns()
        assert await registry.get_or_create("a", backend) == 6
        assert registry.statistics().load_failures == 4


# In place of an error


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_an_old_value_is_handed_out_in_place_of_an_error(bubble: Bubble, asynchronous: bool, caplog: Any) -> None:
    """To all who wait, as often as they ask, until its time for that is over; the error is logged once each time."""
    backend = Backend(1.0 if asynchronous else 0.0)

    def at_once() -> int:
        backend.calls += 1
        if not backend.up:
            raise ConnectionError("down")
        return backend.calls

    make: Callable[[], Any] = backend if asynchronous else at_once
    async with Registry[str, int](ttl=10.0, stale_on_error=50.0) as registry:
        await registry.get_or_create("a", make)
        backend.up = False
        await asyncio.sleep(10.0)
        for number in range(2, 5):
            assert await asyncio.gather(*(registry.get_or_create("a", make) for _ in range(4))) == [1] * 4
            if asynchronous:
                assert backend.calls == number
                assert told(caplog) == [THE_OLD] * (number - 1)
        async with registry.lease("a", make) as value:
            assert value == 1
        statistics = registry.statistics()
        assert (statistics.stale_on_error, statistics.stale_hits, statistics.leases) == (13, 0, 0)
        assert statistics.misses == 14
        await asyncio.sleep(50.0)
        with pytest.raises(ConnectionError):
            await registry.get_or_create("a", make)
        assert len(registry) == 0
        registry._check_invariants()


@virtual
async def test_who_waits_gets_the_new_value_where_it_can_be_made(bubble: Bubble) -> None:
    """Old values are for errors only, unless they are for more."""
    backend = Backend()
    async with Registry[str, int](ttl=10.0, stale_on_error=50.0) as registry:
        await registry.get_or_create("a", backend)
        await asyncio.sleep(10.0)
        assert registry.get("a") is None
        assert await registry.get_or_create("a", backend) == 2


@virtual
async def test_it_is_judged_when_the_creation_fails(bubble: Bubble) -> None:
    """What was old enough when it began may be too old when it fails."""
    backend = Backend(5.0)
    async with Registry[str, int](ttl=10.0, stale_on_error=4.0) as registry:
        await registry.get_or_create("a", backend)
        backend.up = False
        await asyncio.sleep(10.0)
        with pytest.raises(ConnectionError):
            await registry.get_or_create("a", backend)


@virtual
async def test_a_creation_that_hangs_is_a_failure(bubble: Bubble, caplog: Any) -> None:
    """After ``create_timeout``."""

    async def hangs() -> int:
        await asyncio.sleep(1000.0)
        return 2

    async with Registry[str, int](ttl=10.0, stale_on_error=60.0, create_timeout=3.0) as registry:
        await registry.get_or_create("a", lambda: 1)
        await asyncio.sleep(10.0)
        begin = bubble.clock.now
        assert await registry.get_or_create("a", hangs) == 1
        assert bubble.clock.now - begin == 3.0
        assert told(caplog) == [THE_OLD]


@virtual
async def test_an_error_that_is_kept_answers_with_the_old_value(bubble: Bubble) -> None:
    """Nothing is tried meanwhile."""
    backend = Backend(0.0)
    async with Registry[str, int](ttl=10.0, stale_on_error=60.0, failure_ttl=5.0) as registry:
        await registry.get_or_create("a", backend)
        backend.up = False
        await asyncio.sleep(10.0)
        assert [await registry.get_or_create("a", backend) for _ in range(9)] == [1] * 9
        assert backend.calls == 2
        await asyncio.sleep(5.0)
        assert await registry.get_or_create("a", backend) == 1
        assert backend.calls == 3


@virtual
async def test_an_error_that_says_that_it_is_gone(bubble: Bubble, caplog: Any) -> None:
    """A factory that discards its key before it raises has its error reach those who wait."""
    registry = Registry[str, int](ttl=10.0, stale_ttl=5.0, stale_on_error=60.0)

    async def gone() -> int:
        await asyncio.sleep(1.0)
        registry.discard("a")
        raise LookupError("no such thing")

    async with registry:
        for wait in (10.0, 15.0):
            registry.put("a", 1)
            await asyncio.sleep(wait)
            if wait == 10.0:
                assert await registry.get_or_create("a", gone) == 1
            with pytest.raises(LookupError):
                for _ in range(2):
                    await registry.get_or_create("a", gone)
                    await asyncio.sleep(1.5)
            assert registry.peek("a", stale=True) is None
    assert told(caplog) == ["creation failed"]


@virtual
async def test_a_refused_creation_is_no_failed_one(bubble: Bubble) -> None:
    """After ``close`` there are no creations; old values are there as long as they would be, like all others."""
    async with Registry[str, int](ttl=10.0, stale_ttl=5.0, stale_on_error=60.0) as registry:
        registry.put("a", 1)
        registry.close()
        await asyncio.sleep(10.0)
        assert await registry.get_or_create("a", lambda: 2) == 1
        assert registry.statistics().loading == 0
        await asyncio.sleep(5.0)
        with pytest.raises(OwnerClosed):
            await registry.get_or_create("a", lambda: 2)
