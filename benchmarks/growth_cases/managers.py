"""Managers: n tasks, callers, drainers and closers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lifecycle import TaskHandle, TaskManager
from lifecycle.hooks import QueueAlarm, RunAlarm

from ._kinds import Laps, case, fails_later, nothing, returns, settle, starts, suspends, waits


@case
async def manager(n: int, laps: Laps) -> None:
    manager = TaskManager(drain_timeout=0)
    with laps("start_soon", n):
        for _ in range(n):
            manager.start_soon(waits)
    await settle()
    with laps("statistics, each", n):
        manager.statistics()
        len(manager)
    with laps("close", n):
        await manager.aclose()


@case
async def manager_drain(n: int, laps: Laps) -> None:
    manager = TaskManager()
    for _ in range(n):
        manager.start_soon(suspends)
    with laps("drain of n tasks", n):
        await manager.drain()
    with laps("spawn", n):
        for _ in range(n):
            await manager.spawn(returns)
    await manager.aclose()


@case
async def manager_drainers(n: int, laps: Laps) -> None:
    manager = TaskManager()
    event = asyncio.Event()
    manager.start_soon(event.wait)
    with laps("n drains from outside", n):
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.gather(*drains)
    with laps("n drains from inside", n):
        for _ in range(n):
            manager.start_soon(manager.drain)
        await manager.drain()
    with laps("n drains given up", n):
        event.clear()
        manager.start_soon(event.wait)
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        await asyncio.sleep(0)
        for drain in drains:
            drain.cancel()
        await asyncio.wait(drains)
    with laps("n drains of n tasks", n):
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        for _ in range(n):
            manager.start_soon(suspends)
        event.set()
        await asyncio.gather(*drains)
    await manager.aclose()


@case
async def manager_closers(n: int, laps: Laps) -> None:
    manager = TaskManager()
    manager.start_soon(suspends)
    with laps("n closes from outside", n):
        await asyncio.gather(*[manager.aclose() for _ in range(n)])
    manager = TaskManager()
    with laps("n closes from inside", n):
        for _ in range(n):
            manager.start_soon(manager.aclose)
        await settle()
        await manager.aclose()


@case
async def manager_queue(n: int, laps: Laps) -> None:
    manager = TaskManager(limit=2)
    with laps("queue", n):
        for _ in range(n):
            manager.start_soon(returns)
    with laps("work the line off", n):
        await manager.drain()
    callers = [asyncio.create_task(manager.spawn(suspends)) for _ in range(n)]
    with laps("n callers of spawn", n):
        await asyncio.gather(*callers)
        await manager.drain()
    blocked = [manager.start_soon(waits) for _ in range(n)]
    with laps("cancel from the end of the line", n):
        for handle in reversed(blocked):
            handle.cancel()
    await settle()
    for _ in range(n):
        manager.start_soon(waits)
    with laps("cancel and close", n):
        manager.cancel()
        await manager.aclose()


@case
async def manager_failing_tasks(n: int, laps: Laps) -> None:
    manager = TaskManager(on_error=nothing)
    with laps("tasks that fail", n):
        for _ in range(n):
            manager.start_soon(fails_later)
        await manager.drain()
    await manager.aclose()


@case
async def manager_started(n: int, laps: Laps) -> None:
    manager = TaskManager(drain_timeout=0, eager=True)
    with laps("start", n):
        for _ in range(n):
            await manager.start(starts)
    with laps("create_task, eagerly", n):
        for _ in range(n):
            manager.create_task(returns())
    with laps("cancel", n):
        manager.cancel()
        await manager.aclose()
    manager = TaskManager(drain_timeout=0)
    manager._bind()
    with laps("start_soon_threadsafe", n):
        futures = [manager.start_soon_threadsafe(returns) for _ in range(n)]
        await manager.drain()
        while not all(future.done() for future in futures[-10:]):
            await asyncio.sleep(0)
    await manager.aclose()


@case
async def manager_waiters(n: int, laps: Laps) -> None:
    manager = TaskManager()
    event = asyncio.Event()
    handle = manager.start_soon(event.wait)
    with laps("n waiters for one task, that leave", n):
        waiting = [asyncio.create_task(handle.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        for each in reversed(waiting):
            each.cancel()
        await asyncio.wait(waiting)
    with laps("n that await one task, and cancel it", n):
        other = manager.start_soon(event.wait)
        waiting = [asyncio.create_task(awaits(other)) for _ in range(n)]
        await settle()
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    with laps("n callbacks of one task", n):
        for _ in range(n):
            handle.add_done_callback(nothing)
        handle.remove_done_callback(nothing)
    with laps("n waiters for one task", n):
        waiting = [asyncio.create_task(handle.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.wait(waiting)
    with laps("n waiters for a close", n):
        waiting = [asyncio.create_task(manager.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        await manager.aclose()
        await asyncio.wait(waiting)


async def awaits(handle: TaskHandle[object]) -> None:
    await handle


@case
async def manager_hooks(n: int, laps: Laps) -> None:
    queue, run = QueueAlarm(600.0, nothing), RunAlarm(600.0, nothing)
    manager = TaskManager(limit=10, drain_timeout=0, hooks=[queue, run])
    with laps("n tasks with alarms", n):
        for _ in range(n):
            manager.start_soon(suspends)
        len(queue), len(run)
        await manager.drain()
    for _ in range(n):
        manager.start_soon(suspends)
    with laps("another limit", n):
        manager.limit = n
        await manager.drain()
    await manager.aclose()


@case
async def manager_stubborn_tasks(n: int, laps: Laps) -> None:
    async def swallows() -> None:
        while not event.is_set():
            with suppress(asyncio.CancelledError):
                await event.wait()

    event = asyncio.Event()
    manager = TaskManager(drain_timeout=0, cancel_timeout=0.0)
    for _ in range(n):
        manager.start_soon(swallows)
    await settle()
    with laps("abandon n tasks", n):
        await manager.aclose()
    with laps("n abandoned tasks end", n):
        event.set()
        await settle()


@case
async def manager_closers_of_many(n: int, laps: Laps) -> None:
    manager = TaskManager(drain_timeout=0)
    event = asyncio.Event()
    for number in range(n):
        manager.start_soon(manager.aclose if number % 2 else waits)
    event.set()
    with laps("n/2 closes from inside, n/2 tasks", n):
        await manager.wait()
    manager = TaskManager()
    for number in range(n):
        manager.start_soon(manager.drain if number % 2 else suspends)
    with laps("n/2 drains from inside, n/2 tasks", n):
        await manager.drain()
    await manager.aclose()
