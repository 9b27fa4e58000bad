"""A time to live that is known from the value."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import Registry, RemovalCause, TaskCancelled, cached
from lifecycle.testing import Bubble

from ..loops import virtual
from .clients import Client, close


def makers() -> list[Callable[[], Any]]:
    async def slowly() -> Client:
        await asyncio.sleep(0.1)
        return Client("a")

    return [slowly, lambda: Client("a")]


both = pytest.mark.parametrize("make", makers(), ids=["async", "sync"])


@both
@virtual
async def test_it_is_asked_once_of_what_was_made(bubble: Bubble, make: Callable[[], Any]) -> None:
    """However many wait for it; hits do not ask."""
    asked: list[Client] = []

    def ttl(client: Client) -> float:
        asked.append(client)
        return 5.0

    async with Registry[str, Client](ttl=100.0, finalizer=close) as registry:
        got = await asyncio.gather(*(registry.get_or_create("a", make, ttl=ttl) for _ in range(3)))
        async with registry.lease("a", make, ttl=ttl) as client:
            assert asked == [client]
            assert got == [client] * 3
        await asyncio.sleep(4.0)
        assert registry.peek("a") is client
        await asyncio.sleep(1.0)
        assert registry.peek("a") is None


@pytest.mark.parametrize("weigher", [None, lambda key, value: 1])
@pytest.mark.parametrize(
    ("ttl", "left"),
    [(5, 5.0), (5.0, 5.0), (lambda _: None, 100.0), (lambda _: float("inf"), float("inf")), (lambda _: 7, 7.0)],
)
@virtual
async def test_its_answers(bubble: Bubble, ttl: Any, left: float, weigher: Any) -> None:
    """Seconds, None for the registry's, infinity for ever."""
    async with Registry[str, int](ttl=100.0, max_size=5, weigher=weigher) as registry:
        async with registry.lease("a", lambda: 1, ttl=ttl) as value:
            assert value == 1
        [registration] = registry._present()
        assert registration.expires_at == bubble.clock.now + left
        registry._check_invariants()


@both
@pytest.mark.parametrize("seconds", [0, 0.0, -1, -2.5, float("-inf")])
@virtual
async def test_with_nothing_left_those_who_wait_get_it(bubble: Bubble, make: Any, seconds: float) -> None:
    """And it is not kept: who comes later has another one made, and not each of those."""
    async with Registry[str, Client](finalizer=close) as registry:

        async def user() -> Client:
            async with registry.lease("a", make, ttl=lambda _: seconds) as client:
                assert client.closes == 0
                await asyncio.sleep(1)
                assert client.closes == 0
                return client

        first, second = await asyncio.gather(user(), user())
        if inspect.iscoroutinefunction(make):
            assert first is second
            assert registry.statistics().loads == 1
        await registry.drain()
        assert first.closes == second.closes == 1
        assert registry.statistics().removals[RemovalCause.EXPIRED] == registry.statistics().loads
        registry._check_invariants()


def fails(_: Client) -> float:
    raise OSError("no date")


def cancels(_: Client) -> float:
    raise asyncio.CancelledError


@both
@pytest.mark.parametrize(
    ("ttl", "error"),
    [
        (fails, OSError),
        (cancels, TaskCancelled),
        (lambda _: float("nan"), ValueError),
        (lambda _: True, TypeError),
        (lambda _: "5", TypeError),
    ],
)
@virtual
async def test_its_error_fails_the_creation(bubble: Bubble, make: Any, ttl: Any, error: type[Exception]) -> None:
    """Its value is finalized; the error is kept as every other; the next one may succeed."""
    made: list[Client] = []

    def noting(client: Client) -> Any:
        made.append(client)
        return ttl(client)

    async with Registry[str, Client](finalizer=close, failure_ttl=10.0) as registry:
        for _ in range(2):
            with pytest.raises(error):
                await registry.get_or_create("a", make, ttl=noting)
        await registry.drain()
        assert [client.closes for client in made] == [1]
        statistics = registry.statistics()
        assert (statistics.load_failures, statistics.live, statistics.leases) == (1, 0, 0)
        await asyncio.sleep(11)
        assert await registry.get_or_create("a", make)
        registry._check_invariants()


@both
@virtual
async def test_it_may_use_the_registry(bubble: Bubble, make: Any) -> None:
    """What it discards is what is being made; what it puts wins."""
    async with Registry[str, Client](finalizer=close) as registry:

        def discards(_: Client) -> float:
            assert registry.discard("a")
            return 5.0

        other = Client("b")

        def puts(_: Client) -> float:
            registry.put("a", other)
            return 5.0

        first = await registry.get_or_create("a", make, ttl=discards)
        assert "a" not in registry
        assert await registry.get_or_create("a", make, ttl=puts) is other
        await registry.drain()
        assert (first.closes, other.closes) == (1, 0)
        registry._check_invariants()


@virtual
async def test_what_is_no_time_is_refused(bubble: Bubble) -> None:
    """Before anything has happened."""
    async with Registry[str, int]() as registry:
        for ttl, error in ((-1.0, ValueError), ("5", TypeError), (float("nan"), ValueError)):
            with pytest.raises(error, match="ttl"):
                registry.lease("a", lambda: 1, ttl=ttl)  # type: ignore[arg-type]
            with pytest.raises(error, match="ttl"):
                await registry.get_or_create("a", lambda: 1, ttl=ttl)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="factory"):
            registry.lease("a", ttl=1.0)
        assert registry.statistics().loads == 0


@virtual
async def test_of_cached_results(bubble: Bubble) -> None:
    """Of functions and of methods."""
    calls: list[int] = []

    @cached(ttl=lambda seconds: seconds)
    async def fetch(seconds: float) -> float:
        calls.append(1)
        return seconds

    class Source:
        @cached(ttl=lambda seconds: seconds)
        async def fetch(self, seconds: float) -> float:
            calls.append(1)
            return seconds

    for function in (fetch, Source().fetch):
        calls.clear()
        for _ in range(2):
            await function(5.0)
        await asyncio.sleep(5.0)
        await function(5.0)
        assert len(calls) == 2
    await fetch.aclose()
