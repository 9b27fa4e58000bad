"""Closing a registry: what it finalizes, waits for, ends and refuses, and who may close it."""

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from lifecycle import OwnerClosed, Registry, RemovalCause, Scope, StillLent
from lifecycle.testing import Bubble, run_virtual

from .clients import Client, Frozen, close


def test_closing_finalizes_all_and_loses_no_error() -> None:
    """Two failures come as a group, with the body's error if there is one."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(value: int) -> None:
            await asyncio.sleep(0.1)
            ended.append(value)
            if value % 2:
                raise OSError(value)

        with pytest.raises(ExceptionGroup) as caught:
            async with Registry[int, int](finalizer=end) as registry:
                for number in range(4):
                    registry.put(number, number)
                raise KeyError("body")
        assert sorted(ended) == [0, 1, 2, 3]
        leaves = [type(error) for error in flatten(caught.value)]
        assert leaves.count(OSError) == 2
        assert leaves.count(KeyError) == 1

    run_virtual(scenario)


def flatten(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in flatten(inner)]
    return [error]


def test_a_close_waits_for_leases_and_names_those_that_stay() -> None:
    """A value is never finalized under its lease, not even by the close; it is when the lease ends."""

    async def scenario(bubble: Bubble) -> None:
        registry = Registry[str, Client]("kept", finalizer=close, close_timeout=5.0)
        brief, long = Client("brief"), Client("long")
        registry.put("brief", brief)
        registration = registry.put("long", long)

        async def holds(key: str, seconds: float) -> None:
            async with registry.lease(key):
                await asyncio.sleep(seconds)

        async with asyncio.TaskGroup() as group:
            group.create_task(holds("brief", 2))
            group.create_task(holds("long", 20))
            await asyncio.sleep(1)
            with pytest.raises(StillLent, match="'long'") as caught:
                await registry.aclose()
            assert len(caught.value.borrowed) == 1
            assert (brief.closes, long.closes) == (1, 0)
            assert registry.closed
        await registration.closed()
        assert long.closes == 1
        registry._check_invariants()

    run_virtual(scenario)


def test_a_closed_registry_refuses_and_finalizes_what_it_is_offered() -> None:
    """put, get_or_create and lease are refused; the offered value is not lost."""

    async def scenario(bubble: Bubble) -> None:
        registry = Registry[str, Client](finalizer=close)
        await registry.aclose()
        client = Client("offered")
        with pytest.raises(OwnerClosed):
            registry.put("a", client)
        with pytest.raises(OwnerClosed):
            await registry.get_or_create("a", lambda: Client("never"))
        with pytest.raises(OwnerClosed):
            async with registry.lease("a", lambda: Client("never")):
                pass
        with pytest.raises(OwnerClosed):
            async with registry:
                pass
        await asyncio.sleep(1)
        assert client.closes == 1

    run_virtual(scenario)


def test_a_close_ends_creations_and_tells_those_who_wait() -> None:
    """They get OwnerClosed; a value that is made nevertheless is finalized as CLOSED."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("late")

        async def stubborn() -> Client:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            return client

        registry = Registry[str, Client](finalizer=close)
        callers = [asyncio.create_task(registry.get_or_create("a", stubborn)) for _ in range(2)]
        await asyncio.sleep(1)
        await registry.aclose()
        for caller in callers:
            with pytest.raises(OwnerClosed):
                await caller
        assert client.closes == 1
        assert registry.statistics().removals[RemovalCause.CLOSED] == 1

    run_virtual(scenario)


def test_close_is_idempotent_from_any_task() -> None:
    """A second closer waits for the first; a cancelled first one closes all the same, and is cancelled then."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        registry = Registry[str, Client](finalizer=close)
        registry.put("a", client)
        first = asyncio.create_task(registry.aclose())
        await asyncio.sleep(0)
        first.cancel()
        await registry.aclose()
        assert client.closes == 1
        with pytest.raises(asyncio.CancelledError):
            await first
        await registry.aclose()

    run_virtual(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_task_of_the_registry_may_close_it(late: bool) -> None:
    """Factories and finalizers that close their own registry cause no deadlock."""

    async def scenario(bubble: Bubble) -> None:
        async def end(value: int) -> None:
            await registry.aclose()

        async def factory() -> int:
            await registry.aclose()
            return 2

        registry = Registry[str, int](finalizer=end, close_timeout=30.0)
        registration = registry.put("a", 1)
        caller = asyncio.create_task(registry.get_or_create("b", factory))
        if not late:
            registry.discard("a")
        await asyncio.sleep(1)
        await registry.aclose()
        with pytest.raises(OwnerClosed):
            await caller
        await registration.closed()
        assert bubble.clock.now < 5.0
        assert registry.closed

    run_virtual(scenario)


def test_a_scope_owns_a_registry() -> None:
    """`await scope.enter(registry)`: closed at its place, after the tasks that came later."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")

        async def uses(registry: Registry[str, Client]) -> None:
            async with registry.lease("a") as leased:
                leased.users += 1
                try:
                    await asyncio.sleep(60)
                finally:
                    leased.users -= 1

        async with Scope() as scope:
            registry = await scope.enter(Registry[str, Client](finalizer=close))
            registry.put("a", client)
            scope.start_soon(uses, registry)
            await asyncio.sleep(1)
        assert client.closes == 1

    run_virtual(scenario)


def test_a_forgotten_close_is_a_warning() -> None:
    """It names the registry and what was in it; a registry without finalizer owns nothing that could leak."""

    def forgets(**options: Any) -> None:
        registry = Registry[str, int]("forgotten", clock=Frozen(), **options)
        registry.put("a", 1)
        del registry
        gc.collect()

    with pytest.warns(ResourceWarning, match="registry 'forgotten' was dropped with 1 values"):
        forgets(finalizer=print)
    forgets()
