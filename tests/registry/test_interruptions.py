"""A registry struck at every await, and in any order: nothing stays behind."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import Registry
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules


def opener(bubble: Bubble, name: str) -> Callable[[], Awaitable[Any]]:
    async def open_it() -> Any:
        await asyncio.sleep(0.01)
        return bubble.ledger.acquire(name, kind="client")

    return open_it


async def end(token: Any) -> None:
    await asyncio.sleep(0.01)
    token.release()


async def lease_and_expire(bubble: Bubble) -> None:
    """Three lease one key, one of them discards it, one comes late; the registry is small and short of time."""
    async with Registry[str, Any](
        "clients", idle_ttl=0.05, ttl=0.2, max_size=2, finalizer=end, close_timeout=1.0
    ) as registry:

        async def uses(key: str, *, discard: bool = False, wait: float = 0.02) -> None:
            lease = registry.lease(key, opener(bubble, key))
            async with lease as token:
                await asyncio.sleep(wait)
                assert not token.releases, "finalized under its lease"
                if discard:
                    lease.discard()
                await asyncio.sleep(0.01)
                assert not token.releases, "finalized under its lease"

        async with asyncio.TaskGroup() as group:
            group.create_task(uses("a"))
            group.create_task(uses("a", discard=True))
            group.create_task(uses("b", wait=0.1))
            await asyncio.sleep(0.02)
            group.create_task(uses("a"))
            group.create_task(uses("c"))
        await registry.clear()
    registry._check_invariants()


async def create_and_leave(bubble: Bubble) -> None:
    """Three wait for one creation and two of them leave, while others create and the registry is closed."""
    registry = Registry[str, Any]("clients", finalizer=end, close_timeout=1.0, create_timeout=1.0)

    async def asks() -> None:
        with contextlib.suppress(Exception):
            await registry.get_or_create("a", opener(bubble, "a"))

    try:
        callers = [asyncio.create_task(asks()) for _ in range(3)]
        await asyncio.sleep(0.005)
        callers[0].cancel()
        callers[1].cancel()
        await asyncio.sleep(0.003)
        callers[2].cancel()
        late = asyncio.create_task(asks())
        await asyncio.wait([*callers, late])
    finally:
        await registry.aclose()
    registry._check_invariants()


@pytest.mark.parametrize("scenario", [lease_and_expire, create_and_leave], ids=lambda function: function.__name__)
def test_no_interruption_leaves_anything(scenario: Any, part: dict[str, int]) -> None:
    """Cancellations and errors at every point of every user task: nothing is left, nothing released twice or early."""
    explore_cancellation(scenario, schedules=2, **part).assert_clean()


@pytest.mark.parametrize("scenario", [lease_and_expire, create_and_leave], ids=lambda function: function.__name__)
def test_no_order_leaves_anything(scenario: Any) -> None:
    """A few hundred orders of the ready tasks."""
    explore_schedules(scenario, runs=300).assert_clean()
