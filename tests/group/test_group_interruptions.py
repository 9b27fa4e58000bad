"""A TaskGroup struck at every await, and in any order: nothing stays behind."""

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from lifecycle import TaskGroup
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules
from lifecycle.testing.faults import CANCEL

from .tasks import Boom


async def member(bubble: Bubble, name: str, seconds: float) -> str:
    """Hold something for a while, and let go of it in a clean-up that suspends."""
    with bubble.ledger.acquire(name):
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.sleep(0)
    return name


async def broken(seconds: float) -> None:
    """Fail."""
    await asyncio.sleep(seconds)
    raise Boom


async def joined(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        group.create_task(member(bubble, "a", 1))
        group.start_soon(member, bubble, "b", 2)
        await asyncio.sleep(1)
        group.create_task(member(bubble, "c", 1))


async def failed(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup() as group:
            group.create_task(member(bubble, "a", 1))
            group.start_soon(member, bubble, "b", 3)
            group.start_soon(broken, 2)
            await asyncio.sleep(1)
            group.create_task(member(bubble, "c", 5))
            await asyncio.sleep(5)
    await asyncio.sleep(1)


async def failed_in_the_body(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup() as group:
            group.create_task(member(bubble, "a", 1))
            group.start_soon(member, bubble, "b", 3)
            raise Boom
    await asyncio.sleep(1)


async def bounded(bubble: Bubble) -> None:
    async with TaskGroup(limit=2) as group:
        group.create_task(member(bubble, "a", 1))
        group.start_soon(member, bubble, "b", 2)
        group.start_soon(member, bubble, "c", 3)
        group.create_task(member(bubble, "d", 1))
        group.create_task(member(bubble, "e", 1))
        await asyncio.sleep(1)
        group.create_task(member(bubble, "f", 1))


async def timed_out(bubble: Bubble) -> None:
    with contextlib.suppress(TimeoutError):
        async with TaskGroup(limit=2, timeout=3) as group:
            group.create_task(member(bubble, "a", 2))
            group.start_soon(member, bubble, "b", 9)
            group.start_soon(member, bubble, "c", 9)
            group.create_task(member(bubble, "d", 9))
            await asyncio.sleep(9)
    await asyncio.sleep(1)


async def told_to_end(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        group.create_task(member(bubble, "a", 2))
        group.start_soon(member, bubble, "b", 2)
        await asyncio.sleep(1)
        group.cancel()
    await asyncio.sleep(1)


async def told_to_end_empty(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        await asyncio.sleep(1)
        group.cancel()


async def raced(bubble: Bubble) -> None:
    async with TaskGroup(policy="race") as group:
        group.create_task(member(bubble, "a", 2))
        group.start_soon(member, bubble, "b", 1)
        group.start_soon(broken, 0.5)
        await asyncio.sleep(9)


async def collected(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup(policy="collect") as group:
            group.create_task(member(bubble, "a", 2))
            group.start_soon(broken, 1)
            await asyncio.sleep(1)
    await asyncio.sleep(1)


async def started(bubble: Bubble) -> None:
    async def serve(*, task_status: Any) -> None:
        with bubble.ledger.acquire("server"):
            await asyncio.sleep(1)
            task_status.started("port")
            await asyncio.sleep(1)

    async with TaskGroup() as group:
        await group.start(serve)
        await asyncio.sleep(0.5)


async def shielded(bubble: Bubble) -> None:
    async def work() -> None:
        with bubble.ledger.acquire("section"), anyio.CancelScope(shield=True):
            await asyncio.sleep(1)

    async with TaskGroup() as group:
        group.create_task(work())
        group.start_soon(work)
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.5)
        group.cancel()


async def nested(bubble: Bubble) -> None:
    async with TaskGroup() as outer:
        outer.create_task(member(bubble, "a", 3))
        async with anyio.create_task_group() as middle:
            middle.start_soon(member, bubble, "b", 2)
            async with TaskGroup() as inner:
                inner.start_soon(member, bubble, "c", 1)
                with anyio.move_on_after(0.5):
                    await asyncio.sleep(2)


SCENARIOS = [
    joined,
    failed,
    failed_in_the_body,
    bounded,
    timed_out,
    told_to_end,
    told_to_end_empty,
    raced,
    collected,
    started,
    shielded,
    nested,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_wherever_it_is_struck(scenario: Any, part: dict[str, int]) -> None:
    """Cancelled natively, by a scope, by a timeout, twice, before a first step; errors in every wait; other orders."""
    explore_cancellation(scenario, schedules=2, **part).assert_clean()


@pytest.mark.parametrize("scenario", [failed_in_the_body, told_to_end_empty, collected], ids=lambda each: each.__name__)
def test_nothing_is_left_after_two_cancellations(scenario: Any) -> None:
    """Every pair of native cancellations."""
    explore_cancellation(scenario, faults=[CANCEL], depth=2).assert_clean()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_in_any_order(scenario: Any) -> None:
    """Tasks that are ready at the same time run in any order."""
    explore_schedules(scenario, runs=50).assert_clean()
