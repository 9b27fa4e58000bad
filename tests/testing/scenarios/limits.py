"""Limits by key and in a time: those who come, wait and leave, alone and in owners of tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from lifecycle import Limiter, Rate, TaskGroup, TaskManager, limit_by

from ._table import ignore_error, scenario, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble

BY_KEY = limit_by(lambda key: key, limit=1)
BY_NAME = limit_by(lambda _, name, __: name, limit=1)  # of `work`


@scenario
async def limits_survive_those_who_wait(bubble: Bubble) -> None:
    """Callers that leave the line at any moment; what each key and all together may have is still there afterwards."""
    async with Limiter(2, limit_by=BY_KEY) as limiter:
        working: Counter[str] = Counter()

        async def comes(key: str) -> None:
            async with limiter.hold(key):
                working[key] += 1
                try:
                    assert working[key] <= 1, f"{working[key]} of key {key} at work"
                    assert working.total() <= 2, f"{working.total()} at work"
                    await work(bubble, key, 0.01)
                finally:
                    working[key] -= 1

        for end in await asyncio.gather(*[comes(key) for key in "aabbac"], return_exceptions=True):
            if isinstance(end, AssertionError):
                raise end
        statistics = limiter.statistics()
        assert (statistics.held, statistics.waiting, statistics.keys) == (0, 0, 0), statistics
        with limiter.try_hold("a"), limiter.try_hold("b"):
            pass


@scenario
async def limits_of_a_rate_survive_those_who_wait(bubble: Bubble) -> None:
    """A rate for each key: who leaves has used nothing, and the last comes when it is its turn."""
    async with Limiter(limit_by=limit_by(lambda key: key, rate=Rate(1, per=0.1))) as limiter:
        began = bubble.clock.time()

        async def comes() -> None:
            async with limiter.hold("a"):
                pass

        tasks = [asyncio.create_task(comes()) for _ in range(3)]
        await asyncio.gather(*tasks, return_exceptions=True)
        begun = limiter.statistics().begun
        async with limiter.hold("a"):
            assert bubble.clock.time() <= began + 0.1 * begun + 0.02, "somebody who has left has used the rate"


@scenario
async def limits_of_a_manager_by_key(bubble: Bubble) -> None:
    """Tasks at work and in line for their keys, cancelled and dropped anywhere; the keys are forgotten."""
    async with TaskManager("jobs", limit=2, limit_by=BY_NAME, on_error=ignore_error) as jobs:
        for number, key in enumerate("aabab"):
            jobs.start_soon(work, bubble, key, 0.01, name=f"job {number}")
        await (await jobs.spawn(work, bubble, "b", 0.01)).wait()
    assert jobs._quotas is not None
    jobs._quotas.turns._check_invariants()
    assert jobs._quotas.turns.keys == 0, "a key is kept for nobody"


@scenario
async def limits_of_a_group_by_key(bubble: Bubble) -> None:
    """The same for native tasks and handles that a block waits for."""
    group = TaskGroup(limit=2, limit_by=BY_NAME)
    try:
        async with group:
            for key in "aab":
                group.start_soon(work, bubble, key, 0.01)
                group.create_task(work(bubble, key, 0.01), limit_key=key)
    finally:
        quotas = group._members._quotas
        assert quotas is not None
        assert (quotas.turns.keys, quotas.turns.waiting) == (0, 0), "a key is kept for nobody"
