"""Kept connections: n losses, callers, reports and connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from lifecycle import Retry, keep_connected

from ._kinds import Laps, case, nothing, settle, waits

#: As good as no pause.
QUICK = Retry(backoff=(0.0, 0.0), jitter=0.0)


async def session(stages: Any) -> object:
    stages.start_soon(waits)
    return await stages.acquire(object, release=nothing)


@case
async def kept_losses(n: int, laps: Laps) -> None:
    kept = keep_connected(session, retry=QUICK, replay=nothing, on_up=nothing, on_down=nothing)
    with laps("n losses and connections", n):
        async with kept:
            for _ in range(n):
                kept.report_lost(await kept.get())
                kept.statistics()

    async def fails(stages: Any) -> object:
        await session(stages)
        raise OSError

    with laps("n failed attempts", n), suppress(ConnectionError):
        await keep_connected(fails, retry=Retry(attempts=n, backoff=(0.0, 0.0), jitter=0.0)).get()


@case
async def kept_callers(n: int, laps: Laps) -> None:
    kept = keep_connected(session, retry=QUICK)
    with laps("n that wait for a connection", n):
        waiting = [asyncio.ensure_future(kept.get()) for _ in range(n)]
        await asyncio.wait(waiting)
    with laps("n that use it", n):
        for _ in range(n):
            kept.get_nowait()
            async with kept.use():
                pass
    with laps("n that follow it", n):
        following = [asyncio.ensure_future(follows(kept)) for _ in range(n)]
        ended = [asyncio.ensure_future(kept.wait()) for _ in range(n)]
        await settle()
        kept.reconnect()
        await settle()
    with laps("n that close it", n):
        await asyncio.gather(*[kept.aclose() for _ in range(n)])
        await asyncio.wait([*following, *ended])


@case
async def kept_connections(n: int, laps: Laps) -> None:
    kept = [keep_connected(session, retry=QUICK) for _ in range(n)]
    with laps("n connections", n):
        for each in kept:
            await each.get()
    with laps("close n of them", n):
        for each in kept:
            await each.aclose()


async def follows(kept: Any) -> None:
    async for _ in kept:
        pass
