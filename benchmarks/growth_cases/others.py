"""Connects, pairs, servers, timers and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from lifecycle import (
    ReaderWorker,
    Retry,
    Scope,
    TaskGroup,
    TaskManager,
    connect,
    fixed_delay,
    fixed_rate,
    once,
    serve_tcp,
    take_snapshot,
)

from ._kinds import Laps, case, nothing, settle, suspends, waits


@case
async def connects(n: int, laps: Laps) -> None:
    async def session(stages: Any) -> None:
        for _ in range(n):
            await stages.acquire(object, release=nothing)

    async def fails_after(stages: Any) -> None:
        await session(stages)
        raise ValueError

    attempt = connect(session)
    with laps("n stages", n):
        await attempt
    with laps("close of n stages", n):
        await attempt.scope.aclose()
    with laps("n stages rolled back", n), suppress(Exception):
        await connect(fails_after)


@case
async def pair(n: int, laps: Laps) -> None:
    async def read(send: Callable[[int], Awaitable[None]]) -> None:
        for item in range(n):
            await send(item)

    async def work(items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    for capacity in (1, 64, n):
        with laps(f"n items, {'room for all' if capacity == n else f'room for {capacity}'}", n):
            async with ReaderWorker(read, work, capacity=capacity) as pair:
                await pair.wait()


@case
async def pair_crowd(n: int, laps: Laps) -> None:
    async def read(send: Callable[[int], Awaitable[None]]) -> None:
        with laps("n senders, room for n/2", n):
            await asyncio.gather(*[send(item) for item in range(n)])
            full.set()
            await emptied.wait()
        await asyncio.gather(*[send(item) for item in range(n)])

    async def work(items: AsyncIterator[int]) -> None:
        for _ in range(n):
            await anext(items)
        await full.wait()
        receivers = [asyncio.ensure_future(anext(items)) for _ in range(n)]
        await asyncio.sleep(0)
        with laps("n receivers that leave", n):
            for receiver in reversed(receivers):
                receiver.cancel()
            await asyncio.wait(receivers)
        with laps("n receivers", n):
            receivers = [asyncio.ensure_future(anext(items)) for _ in range(n)]
            await asyncio.sleep(0)
            emptied.set()
            await asyncio.gather(*receivers)

    full, emptied = asyncio.Event(), asyncio.Event()
    async with ReaderWorker(read, work, capacity=max(1, n // 2)) as pair:
        await pair.wait()


@case
async def server(n: int, laps: Laps) -> None:
    async def handle(stream: Any) -> None:
        with suppress(Exception):
            await stream.receive()

    n = min(n, 400)  # both ends of each are descriptors of this process
    async with serve_tcp(handle, port=0) as server:
        with laps("take n connections", n):
            streams = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(n)]
            while server.statistics().live < n:
                await asyncio.sleep(0)
        with laps("close with n connections", n):
            await server.aclose()
        for stream in streams:
            stream.close()


@case
async def timers(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("start n timers", n):
            for _ in range(n):
                scope.start_soon(once(suspends, 600.0))
            await settle()
        with laps("close n timers", n):
            await scope.aclose()
    with laps("n timers, one run due each", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(once(suspends, 0.0))
    with laps("n runs of one timer", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n)()
    with laps("n runs of one timer at once", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n, max_instances=n)()


# Snapshots


@case
async def snapshots(n: int, laps: Laps) -> None:
    async with Scope() as scope, TaskManager(drain_timeout=0) as manager:
        for number in range(n):
            scope.push(nothing, name=f"thing {number}")
            manager.start_soon(waits, name=f"task {number}")
        await settle()
        with laps("take_snapshot, each", n):
            snapshot = take_snapshot()
        with laps("compare, each", n):
            take_snapshot().compare_to(snapshot)
        with laps("print, each", n):
            str(snapshot)
        owners = [Scope(f"scope {number}") for number in range(n)]
        with laps("take_snapshot of n owners, each", n):
            take_snapshot()
        for owner in owners:
            await owner.aclose()


@case
async def connect_waiters(n: int, laps: Laps) -> None:
    async def session(_: Any) -> int:
        await event.wait()
        return 0

    event = asyncio.Event()
    attempt = connect(session)
    with laps("n that await one attempt", n):
        waiting = [asyncio.ensure_future(awaits(attempt)) for _ in range(n)]
        await settle()
        event.set()
        await asyncio.wait(waiting)
    await attempt.aclose()

    async def fails(_: Any) -> int:
        raise ValueError

    with laps("n attempts", n), suppress(Exception):
        await connect(fails, retry=Retry(attempts=n, backoff=(0.0, 0.0), jitter=0.0))


async def awaits(attempt: Any) -> None:
    await attempt


@case
async def timer_calls(n: int, laps: Laps) -> None:
    timer = fixed_delay(suspends, 600.0, initial_delay=600.0, max_runs=10 * n)
    async with Scope() as scope:
        scope.start_soon(timer)
        await settle()
        with laps("pause and resume", n):
            for _ in range(n):
                timer.pause()
                timer.resume()
            await settle()
        with laps("reschedule", n):
            for number in range(n):
                timer.reschedule(600.0 + number)
            await settle()
        with laps("trigger", n):
            for _ in range(n):
                timer.trigger()
            await settle(8)


@case
async def pair_waiters(n: int, laps: Laps) -> None:
    async def read(_: Any) -> None:
        await asyncio.Event().wait()

    async def work(items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    pair = ReaderWorker(read, work)
    async with pair:
        await settle()
        with laps("n waiters, n closes", n):
            waiting = [asyncio.create_task(pair.wait()) for _ in range(n)]
            await settle()
            await asyncio.gather(*[pair.aclose() for _ in range(n)])
            await asyncio.wait(waiting)
