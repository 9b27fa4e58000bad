"""All queues on PostgreSQL that are measured: ours, and the peers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

from benchmarks._postgres_peers import PEERS, TOGETHER, Body, Client, Peer
from benchmarks._scheduler_probe import WORKERS
from lifecycle.scheduler import Scheduler, handler

_bodies: list[Body] = []
_seats: dict[int, asyncio.Event] = {}
_numbers = itertools.count(1)


@handler("bench.postgres")
async def bench(number: int) -> None:
    await _bodies[0](number)


@handler("bench.seat")
async def seat(number: int) -> None:
    await _seats[number].wait()


async def _install(address: str) -> None:
    async with Scheduler(address, workers=1):
        pass


@dataclass
class _Client:
    scheduler: Scheduler

    async def submit(self, number: int) -> object:
        return await self.scheduler.submit(bench, number)

    async def fill(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            await asyncio.gather(*(self.submit(number) for number in range(first, min(count, first + TOGETHER))))


@contextlib.asynccontextmanager
async def _client(address: str) -> AsyncIterator[Client]:
    """A scheduler that only submits: its one seat is taken."""
    number = next(_numbers)
    taken = _seats[number] = asyncio.Event()
    async with Scheduler(address, workers=1) as scheduler:
        await scheduler.submit(seat, number, priority=1_000_000)
        while not scheduler.statistics().running:
            await asyncio.sleep(0.01)
        try:
            yield _Client(scheduler)
        finally:
            taken.set()


async def _work(address: str, body: Body) -> None:
    _bodies[:] = [body]
    async with Scheduler(address, workers=WORKERS, drain_timeout=1.0) as scheduler:
        await scheduler.wait()


QUEUES: dict[str, Peer] = {"lifecycle": Peer(_install, _client, _work), **PEERS}
