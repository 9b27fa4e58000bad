"""Tasks and owners that others follow: by callbacks, from threads, in crowds of drains, and by waiting for the end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from lifecycle import Pool, ReaderWorker, Registry, Scope, TaskGroup, TaskManager

from ._table import connect, disconnect, fail_on_assertion, ignore_error, scenario, work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lifecycle.testing import Bubble


@scenario
async def followed_by_callbacks(bubble: Bubble) -> None:
    """Whatever ends a task, one that stands in line included: each callback comes once, but for one taken back."""
    called: list[str] = []
    taken_back: list[object] = []
    async with TaskManager("called", limit=2, on_error=ignore_error) as manager:
        handles = [manager.start_soon(work, bubble, f"work {number}", 0.02) for number in range(3)]
        for handle in handles:
            handle.add_done_callback(lambda handle: called.append(handle.name))
            handle.add_done_callback(taken_back.append)
            handle.remove_done_callback(taken_back.append)
        await asyncio.sleep(0.01)
        handles[1].cancel()
        handles[2].cancel()
    await asyncio.sleep(0)
    assert len(called) == len(handles)
    assert not taken_back


@scenario
async def followed_from_a_thread(bubble: Bubble) -> None:
    """One task comes to its end, one is cancelled, one before the loop has seen it, and one comes too late."""
    ran: list[str] = []

    async def job(name: str, seconds: float) -> str:
        ran.append(name)
        return await work(bubble, name, seconds)

    async with TaskManager("threads", on_error=ignore_error) as manager:
        ends = manager.start_soon_threadsafe(job, "ends", 0.02)
        is_cancelled = manager.start_soon_threadsafe(job, "is cancelled", 60)
        never_begins = manager.start_soon_threadsafe(job, "never begins", 60)
        never_begins.cancel()
        try:
            await asyncio.sleep(0.01)
        finally:
            is_cancelled.cancel()
        await manager.drain()
        comes_late = manager.start_soon_threadsafe(job, "comes late", 60)
        manager.close()
    await asyncio.sleep(0)
    assert all(future.done() for future in (ends, is_cancelled, never_begins, comes_late)), "a thread was not told"
    assert is_cancelled.cancelled()
    assert never_begins.cancelled()
    assert "does not take" in str(comes_late.exception()), "a thread was told something else than the refusal"
    assert not {"never begins", "comes late"} & set(ran), "what was taken back, or refused, has run"


@scenario
async def followed_by_a_crowd_of_drains(bubble: Bubble) -> None:
    """From outside, from inside by tasks that hold the only slots, and one that leaves early: each comes back."""
    async with TaskManager("drained", limit=2, drain_timeout=1, on_error=fail_on_assertion) as manager:

        async def drains_inside() -> None:
            await asyncio.sleep(0.01)
            await manager.drain()

        async def leaves_its_drain() -> None:
            nonlocal at_work
            at_work = True
            try:
                await manager.drain(0.005)
                await work(bubble, "goes on", 0.05)
            finally:
                at_work = False

        async def waits_for_that() -> None:
            await manager.drain()
            assert not at_work, "a drain did not wait for a task that had left its own"

        async def drains(patience: float) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await manager.drain()

        at_work = False
        for drain in (leaves_its_drain, waits_for_that, drains_inside):
            manager.start_soon(drain)
        for number in range(2):
            manager.start_soon(work, bubble, f"work {number}", 0.02)
        async with TaskGroup() as group:
            for patience in (0.015, 5, 5):
                group.start_soon(drains, patience)
    assert bubble.clock.time() < 0.5, "a drain waited for what had ended"


async def idle_loop(_: Any) -> None:
    await asyncio.sleep(60)


@scenario
async def followed_to_the_end_of_owners(bubble: Bubble) -> None:
    """Of each owner; those who wait for it have come back when it is closed, and no sooner."""

    async def closes(owner: Any) -> None:
        await asyncio.sleep(0.01)
        await owner.aclose()

    async def follows(wait: Callable[[], Awaitable[object]], owner: Any) -> None:
        try:
            async with asyncio.timeout(5):
                await wait()
        except TimeoutError:
            assert not owner.closed, "somebody was not told of the end of an owner"
        else:
            assert owner.closed, "the wait for the end of an owner is over, and it is not closed"

    async with Scope("scope") as scope, TaskManager("manager") as manager, Registry[str, str]("registry") as registry:
        await scope.acquire(connect, bubble, "held", release=disconnect)
        pool = await scope.enter(Pool(lambda: connect(bubble, "lent"), disconnect, max_size=1))
        pair = await scope.enter(ReaderWorker(idle_loop, idle_loop))
        registry.put("key", "value")
        async with TaskGroup() as group:
            for owner in (manager, registry, pool, scope):
                group.start_soon(follows, owner.wait, owner)
                group.start_soon(closes, owner)
            group.start_soon(pair.wait)
