"""gather, amap, as_completed and race struck at every await, and in any order: nothing stays behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from lifecycle import amap, as_completed, gather, race
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules

from .tasks import Boom, after


async def member(bubble: Bubble, name: str, seconds: float) -> str:
    """Hold something for a while, and let go of it in a clean-up that suspends."""
    with bubble.ledger.acquire(name):
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.sleep(0)
    return name


async def members(bubble: Bubble) -> AsyncIterator[Any]:
    """Yield coroutines while holding something."""
    with bubble.ledger.acquire("source"):
        try:
            for number in range(4):
                await asyncio.sleep(0.5)
                yield member(bubble, str(number), 1 + number)
        finally:
            await asyncio.sleep(0)


async def gathered(bubble: Bubble) -> None:
    assert await gather(*(member(bubble, name, 1) for name in "abc"), limit=2) == ["a", "b", "c"]


async def gathered_lazily(bubble: Bubble) -> None:
    assert len(await gather(members(bubble), limit=2)) == 4


async def gathered_with_errors(bubble: Bubble) -> None:
    await gather(member(bubble, "a", 1), after(0.5, Boom()), return_exceptions=True)


async def gathered_badly(bubble: Bubble) -> None:
    with contextlib.suppress(Boom):
        await gather(member(bubble, "a", 1), after(0.5, Boom()), member(bubble, "b", 2), limit=2)
    await asyncio.sleep(1)


async def mapped(bubble: Bubble) -> None:
    assert await amap(lambda number: member(bubble, str(number), 1 + number), range(5), limit=2) == list("01234")


async def mapped_lazily(bubble: Bubble) -> None:
    async def numbers() -> AsyncIterator[int]:
        with bubble.ledger.acquire("source"):
            for number in range(3):
                yield number
                await asyncio.sleep(0.5)

    await amap(lambda number: member(bubble, str(number), 1 + number), numbers(), limit=2)


async def completed(bubble: Bubble) -> None:
    async with as_completed(members(bubble), limit=2) as completions:
        async for _ in completions:
            await asyncio.sleep(0.1)


async def completed_early(bubble: Bubble) -> None:
    async with as_completed((member(bubble, str(n), 1 + n % 2) for n in count()), limit=2) as completions:
        async for handle in completions:
            if handle.name and handle.result() == "3":
                break


async def completed_without_a_block(bubble: Bubble) -> None:
    async for _ in as_completed([member(bubble, str(number), 1 + number) for number in range(3)], limit=2):
        pass


async def raced(bubble: Bubble) -> None:
    await race(lambda: member(bubble, "a", 2), lambda: member(bubble, "b", 1), lambda: after(0.5, Boom()))


SCENARIOS = [
    gathered,
    gathered_lazily,
    gathered_with_errors,
    gathered_badly,
    mapped,
    mapped_lazily,
    completed,
    completed_early,
    completed_without_a_block,
    raced,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_wherever_it_is_struck(scenario: Any, part: dict[str, int]) -> None:
    """Cancelled natively, by a scope, by a timeout, twice, before a first step; errors in every wait; other orders."""
    explore_cancellation(scenario, schedules=2, **part).assert_clean()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_in_any_order(scenario: Any) -> None:
    """Tasks that are ready at the same time run in any order."""
    explore_schedules(scenario, runs=50).assert_clean()
