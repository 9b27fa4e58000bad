"""@cached: single flight, keys, failures, methods, and one registry per loop."""

import asyncio
from typing import Any

import pytest

from lifecycle import cached
from lifecycle.testing import Bubble, explore_cancellation, run_virtual
from lifecycle.types import CachedFunction


def counted(*, seconds: float = 1.0, **options: Any) -> tuple[CachedFunction[..., Any], list[Any]]:
    calls: list[Any] = []

    @cached(**options)
    async def function(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        await asyncio.sleep(seconds)
        if "fail" in args:
            raise OSError("planned")
        return len(calls)

    return function, calls


def test_one_call_serves_all_who_ask() -> None:
    """At the same time, and later until the time to live is over; it keeps name and documentation."""

    @cached(ttl=10.0)
    async def slow(number: int) -> int:
        """Say it again, slowly."""
        calls.append(number)
        await asyncio.sleep(1)
        return number

    calls: list[int] = []

    async def scenario(bubble: Bubble) -> None:
        assert await asyncio.gather(slow(1), slow(1), slow(2)) == [1, 1, 2]
        assert await slow(1) == 1
        assert calls == [1, 2]
        await asyncio.sleep(10)
        await slow(1)
        assert calls == [1, 2, 1]
        assert slow.statistics().loads == 3
        await slow.aclose()

    run_virtual(scenario)
    assert (slow.__name__, slow.__doc__) == ("slow", "Say it again, slowly.")
    assert "slow" in repr(slow)


def test_keywords_make_one_key_in_any_order() -> None:
    """And are told from positional arguments of the same value."""

    async def scenario(bubble: Bubble) -> None:
        function, calls = counted()
        await function(1, a=1, b=2)
        await function(1, b=2, a=1)
        assert len(calls) == 1
        await function(1, ("a", 1), ("b", 2))
        assert len(calls) == 2
        await function.aclose()

    run_virtual(scenario)


def test_a_key_of_ones_own() -> None:
    """Arguments that are not hashable are for the key function."""

    async def scenario(bubble: Bubble) -> None:
        function, calls = counted(key=lambda things: len(things))
        await function([1, 2])
        await function([3, 4])
        assert len(calls) == 1
        assert function.discard([5, 6])
        await function([3, 4])
        assert len(calls) == 2
        await function.clear()
        assert function.statistics().live == 0
        await function.aclose()

    run_virtual(scenario)


@pytest.mark.parametrize(("failure_ttl", "calls_made"), [(None, 2), (5.0, 1)])
def test_failures_are_kept_only_where_asked(failure_ttl: float | None, calls_made: int) -> None:
    """By default the next caller tries again."""

    async def scenario(bubble: Bubble) -> None:
        function, calls = counted(failure_ttl=failure_ttl)
        for _ in range(2):
            with pytest.raises(OSError, match="planned"):
                await function("fail")
        assert len(calls) == calls_made
        await function.aclose()

    run_virtual(scenario)


def test_the_least_recently_used_results_go() -> None:
    """max_size bounds how many are kept."""

    async def scenario(bubble: Bubble) -> None:
        function, calls = counted(max_size=2)
        for number in (1, 2, 1, 3, 1, 2):
            await function(number)
        assert [args[0] for args, _ in calls] == [1, 2, 3, 2]
        await function.aclose()

    run_virtual(scenario)


def test_a_method_is_bound_to_its_instance() -> None:
    """Each instance has results of its own; on the class it is the function."""

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        @cached()
        async def ask(self, question: str) -> str:
            return f"{self.name}: {question}"

    async def scenario(bubble: Bubble) -> None:
        assert await Client("a").ask("x") == "a: x"
        assert await Client("b").ask("x") == "b: x"
        client = Client("c")
        assert await Client.ask(client, "x") == "c: x"
        assert client.ask.statistics().live == 1
        assert Client.ask.discard(client, "x")
        assert client.ask.statistics().live == 0
        await client.ask.aclose()

    run_virtual(scenario)


def test_each_loop_has_its_own_results() -> None:
    """What a loop has made is not handed to the next one."""
    function, calls = counted()

    async def ask(bubble: Bubble) -> None:
        await function(1)
        await function.aclose()
        await function(1)
        await function.aclose()

    run_virtual(ask)
    run_virtual(ask)
    assert len(calls) == 4


def test_loops_of_several_threads_keep_apart() -> None:
    """Two loops that take turns keep what each has made, and nothing is kept of a loop that has closed."""
    function, calls = counted(seconds=0.001)

    async def ask(number: int) -> Any:
        return await function(number)

    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        for loop in loops * 3:
            loop.run_until_complete(ask(1))
        assert len(calls) == 2
        for loop in loops:
            loop.run_until_complete(function.aclose())
            loop.run_until_complete(function.aclose())  # of nothing
            loop.run_until_complete(ask(1))
    finally:
        for loop in loops:
            loop.close()

    async def look(bubble: Bubble) -> None:
        await function(1)
        assert len(function._own._registries) == 1
        await function.aclose()

    run_virtual(look)


def test_no_interruption_leaves_anything() -> None:
    """Callers that share a call, struck at every point."""

    async def scenario(bubble: Bubble) -> None:
        @cached(ttl=0.05)
        async def open_it(name: str) -> str:
            with bubble.ledger.acquire(name):
                await asyncio.sleep(0.01)
            return name

        try:
            async with asyncio.TaskGroup() as group:
                for name in ("a", "a", "b"):
                    group.create_task(open_it(name))
        finally:
            await open_it.aclose()

    explore_cancellation(scenario).assert_clean()
