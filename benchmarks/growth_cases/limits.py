"""Limiters: n keys, n who wait, and n who give up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lifecycle import Limiter, LimiterFull, Rate, limit_by

from ._kinds import Laps, case, settle


async def comes(limiter: Limiter, key: int) -> None:
    async with limiter.hold(key):
        await asyncio.sleep(0)


@case
async def limiter_keys(n: int, laps: Laps) -> None:
    with laps("make bounds", 1):
        by = limit_by(int, limit=1, rate=Rate(1, per=0.01))
    with laps("n keys, one after the other", n):
        async with Limiter(limit_by=by) as limiter:
            for key in range(n):
                with limiter.try_hold(key):
                    pass
                with suppress(LimiterFull), limiter.try_hold(key):
                    pass
    limiter = Limiter(2, limit_by=by)
    with laps("n keys wait for two places", n):
        await asyncio.gather(*[comes(limiter, key) for key in range(n)])
    with laps("n keys are forgotten", n):
        while limiter.statistics().keys:
            await asyncio.sleep(0.1)
    with laps("pause n keys", n):
        for key in range(n):
            limiter.pause(0.001, key)
    await limiter.aclose()


@case
async def limiter_line(n: int, laps: Laps) -> None:
    limiter = Limiter(1, limit_by=limit_by(abs, limit=1))
    with laps("n wait for one key", n):
        await asyncio.gather(*[comes(limiter, 1) for _ in range(n)])
    limiter.limit = 0
    waiting = [asyncio.create_task(comes(limiter, number % 7)) for number in range(n)]
    await settle()
    with laps("cancel from the end of the line", n):
        for task in reversed(waiting):
            task.cancel()
        await asyncio.wait(waiting)
    waiting = [asyncio.create_task(comes(limiter, number)) for number in range(n)]
    await settle()
    with laps("a limit that is raised", n):
        limiter.limit = None
        await asyncio.wait(waiting)
    limiter.limit = 0
    waiting = [asyncio.create_task(comes(limiter, number)) for number in range(n)]
    await settle()
    with laps("close over n who wait", n):
        await limiter.aclose()
        await asyncio.wait(waiting)
    for task in waiting:
        task.exception()
