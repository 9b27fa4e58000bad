"""Pairs and snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from lifecycle import ReaderWorker, Scope, TaskManager, link, take_snapshot

from ._kinds import Laps, case, nothing, settle, waits


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
        with laps("as plain data, each", n):
            snapshot.to_dict()
        owners = [Scope(f"scope {number}") for number in range(n)]
        with laps("take_snapshot of n owners, each", n):
            take_snapshot()
        for owner in owners:
            await owner.aclose()


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
    pair = ReaderWorker(read, work)
    async with pair:
        await settle()
        with laps("n calls for an end", n):
            for _ in range(n):
                pair.stop_reading()
            for _ in range(n):
                pair.cancel()
            pair.statistics()
            await pair.wait()


@case
async def linked(n: int, laps: Laps) -> None:
    async def ends() -> None:
        await settle()

    with laps("n loops, one of which ends", n):
        outcome = await link(*[waits] * n, ends)
    with laps("the error of one of n, each", n):
        outcome.error_of("ends")
        outcome.raise_errors()
