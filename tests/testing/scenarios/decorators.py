"""cached and background: callers that share one result, and work that outlives whoever asked for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lifecycle import OwnerClosed, TaskGroup, TaskManager, background, cached
from lifecycle._run.background import background_of

from ._table import ignore_error, scenario, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble


@scenario
async def cached_for_many(bubble: Bubble) -> None:
    """Two callers of one key, one of another, one that leaves early, one after the expiry, and a closer."""

    @cached(ttl=0.03, max_size=2)
    async def answer(key: str) -> str:
        return await work(bubble, key, 0.02)

    async def asks(key: str, arrives: float, patience: float = 5) -> None:
        await asyncio.sleep(arrives)
        with contextlib.suppress(OwnerClosed, TimeoutError):
            async with asyncio.timeout(patience):
                assert await answer(key) == key
        await asyncio.sleep(0)

    async def closes(arrives: float) -> None:
        await asyncio.sleep(arrives)
        await answer.aclose()

    try:
        async with TaskGroup() as group:
            group.create_task(asks("a", 0))
            group.create_task(asks("a", 0.01))
            group.create_task(asks("a", 0.06))
            group.create_task(asks("b", 0, patience=0.01))
            group.create_task(closes(0.07))
    finally:
        await answer.aclose()


@scenario
async def cached_failure_is_shared(bubble: Bubble) -> None:
    """The function fails for all who wait, is asked again, and is forgotten while it runs."""
    calls = 0

    @cached()
    async def answer() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await work(bubble, "failing", 0.01)
            raise KeyError("planned")
        return await work(bubble, "answer", 0.01)

    async def asks() -> None:
        with contextlib.suppress(KeyError):
            await answer()
        await answer()
        answer.discard()

    try:
        async with TaskGroup() as group:
            group.create_task(asks())
            group.create_task(asks())
    finally:
        await answer.aclose()


@scenario
async def background_work(bubble: Bubble) -> None:
    """Two callers start work and leave, one comes when the process is ending."""

    @background
    async def sync_up(name: str) -> None:
        await work(bubble, name, 0.03)

    async def request(name: str, arrives: float) -> None:
        await asyncio.sleep(arrives)
        with contextlib.suppress(OwnerClosed):
            sync_up(name)

    manager = TaskManager("background", drain_timeout=0.02, on_error=ignore_error)
    background_of(asyncio.get_running_loop()).of_run = manager  # as run() does, whose loop would be a real one
    try:
        async with TaskGroup() as group:
            group.create_task(request("first", 0))
            group.create_task(request("second", 0.01))
            group.create_task(request("late", 0.02))
            await asyncio.sleep(0.015)
            group.create_task(manager.aclose())
    finally:
        await manager.aclose()
