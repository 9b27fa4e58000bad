"""A scheduler belongs to the event loop in which it was opened, and says so elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio.to_thread
import pytest

from lifecycle import WrongLoop
from lifecycle.scheduler import Scheduler, handler

pytestmark = pytest.mark.asyncio


@handler("wrong_loop.nothing")
async def nothing() -> None:
    """Do nothing."""


ASKED: dict[str, Callable[[Scheduler], Awaitable[object]]] = {
    "submit": lambda scheduler: scheduler.submit(nothing),
    "jobs": lambda scheduler: scheduler.jobs(),
    "find": lambda scheduler: scheduler.find(1),
    "cancel": lambda scheduler: scheduler.cancel(1),
    "schedules": lambda scheduler: scheduler.schedules(),
    "schedule": lambda scheduler: scheduler.schedule("s", nothing, fixed_rate=60.0),
    "runs": lambda scheduler: scheduler.runs.list(),
    "limits": lambda scheduler: scheduler.limits.records(),
    "upkeep": lambda scheduler: scheduler.upkeep.check(),
    "drain": lambda scheduler: scheduler.drain(1.0),
    "aclose": lambda scheduler: scheduler.aclose(),
}


@pytest.mark.parametrize("what", ASKED)
async def test_another_loop_is_refused_before_anything_happens(what: str) -> None:
    """In another thread: `aclose` waited there for ever, and the others changed what nothing locks."""

    def elsewhere() -> None:
        async def ask() -> None:
            with pytest.raises(WrongLoop, match="opened in another event loop"):
                await asyncio.wait_for(ASKED[what](scheduler), 5.0)

        asyncio.run(ask())

    async with Scheduler() as scheduler:
        await anyio.to_thread.run_sync(elsewhere)
        await (await scheduler.submit(nothing)).wait()  # it goes on
        assert len(await scheduler.schedules()) == 0


async def test_another_thread_asks_its_loop() -> None:
    """As the refusal says."""
    loop = asyncio.get_running_loop()
    async with Scheduler() as scheduler:

        def elsewhere() -> None:
            job = asyncio.run_coroutine_threadsafe(scheduler.submit(nothing), loop).result(5.0)
            asyncio.run_coroutine_threadsafe(job.wait(), loop).result(5.0)

        await anyio.to_thread.run_sync(elsewhere)
