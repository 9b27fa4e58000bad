"""TaskManager: draining, slots, producers that wait, tasks that do not end, a limit that changes."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

from lifecycle import OwnerClosed, TaskManager
from lifecycle._group.group import TaskGroup

from ._table import Gauge, fail_on_assertion, ignore_error, scenario, session, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble


@scenario
async def manager_drains(bubble: Bubble) -> None:
    """Two running, two waiting for a slot, one late, and a drain."""
    gauge = Gauge(bubble, 2)
    async with TaskManager("jobs", limit=2, on_error=fail_on_assertion) as jobs:
        for number in range(4):
            jobs.start_soon(gauge.work, f"job {number}", 0.02)
        await asyncio.sleep(0.01)
        jobs.start_soon(gauge.work, "late", 0.01)


@scenario
async def manager_spawn_waits_for_a_slot(bubble: Bubble) -> None:
    """Producers that wait for slots beside tasks that queue for them, and a closer that comes early."""
    jobs = TaskManager("jobs", limit=1, drain_timeout=0.05, on_error=ignore_error)

    async def produces(name: str) -> None:
        with contextlib.suppress(OwnerClosed):
            await jobs.spawn(work, bubble, name, 0.02)

    try:
        async with TaskGroup() as group:
            for number in range(3):
                group.create_task(produces(f"producer {number}"))
            jobs.start_soon(work, bubble, "queued", 0.02)
            await asyncio.sleep(0.03)
            group.create_task(jobs.aclose())
            group.create_task(produces("late"))
    finally:
        await jobs.aclose()


@scenario
async def manager_cancels_what_does_not_end(bubble: Bubble) -> None:
    """Draining runs out: what is left is cancelled, with its clean-up, and reported."""

    async def lingers() -> None:
        async with session(bubble, "lingering"):
            await asyncio.sleep(60)

    async with TaskManager("jobs", drain_timeout=0.02, on_error=ignore_error) as jobs:
        jobs.start_soon(lingers)
        jobs.start_soon(work, bubble, "quick", 0.01)
        await asyncio.sleep(0.01)
        handle = jobs.start_soon(lingers)
        await asyncio.sleep(0)
        handle.cancel("no longer wanted")


@scenario
async def manager_limit_changes(bubble: Bubble) -> None:
    """The limit goes up and down while tasks run and wait."""
    async with TaskManager("jobs", limit=1, on_error=ignore_error) as jobs:
        handles = [jobs.start_soon(work, bubble, f"job {number}", 0.02) for number in range(4)]
        await asyncio.sleep(0.01)
        jobs.limit = 3
        handles[3].cancel()
        await asyncio.sleep(0.01)
        jobs.limit = 1
        with contextlib.suppress(BaseException):
            await handles[3].wait()


@scenario
async def manager_slots_survive_their_waiters(bubble: Bubble) -> None:
    """Producers that leave the line at any moment, and one slot that must still be there afterwards."""
    async with TaskManager("jobs", limit=1, on_error=ignore_error) as jobs:

        async def produces(name: str) -> None:
            handle = await jobs.spawn(work, bubble, name, 0.01)
            await handle.wait()

        await asyncio.gather(*[produces(f"producer {number}") for number in range(3)], return_exceptions=True)
        try:
            async with asyncio.timeout(5):
                await jobs.spawn(work, bubble, "the last", 0.01)
        except TimeoutError:
            raise AssertionError("the slot has been lost") from None


@scenario
async def manager_drops_what_waits(bubble: Bubble) -> None:
    """Draining runs out while tasks stand in line: they never start, and nothing of them stays."""
    async with TaskManager("jobs", limit=1, drain_timeout=0.02, on_error=ignore_error) as jobs:
        for number in range(3):
            jobs.start_soon(work, bubble, f"long {number}", 60)
        await asyncio.sleep(0.01)


@scenario
async def manager_two_closers(bubble: Bubble) -> None:
    """Whoever has waited for the close finds it done."""
    jobs = TaskManager("jobs", on_error=ignore_error)

    async def closes() -> None:
        await jobs.aclose()
        assert not len(jobs), "aclose() returned, and tasks are running"

    jobs.start_soon(work, bubble, "job", 0.02)
    closers = [asyncio.create_task(closes()) for _ in range(2)]
    try:
        await asyncio.gather(*closers, return_exceptions=True)
        for closer in closers:
            error = None if closer.cancelled() else closer.exception()
            if isinstance(error, AssertionError):
                raise error
    finally:
        await jobs.aclose()


who: ContextVar[str] = ContextVar("who", default="nobody")


@scenario
async def manager_in_line_keeps_contexts(bubble: Bubble) -> None:
    """Three submitters, one slot, and tasks that leave a mark in their contexts, wherever one of them is ended."""
    async with TaskManager("jobs", limit=1, on_error=fail_on_assertion) as jobs:

        async def sees(name: str) -> None:
            assert who.get() == name, f"started in the context of {who.get()}"
            who.set(f"what has run for {name}")
            await work(bubble, name, 0.01)

        def submits(name: str) -> None:
            who.set(name)
            jobs.start_soon(sees, name)

        for number in range(3):
            copy_context().run(submits, f"submitter {number}")
