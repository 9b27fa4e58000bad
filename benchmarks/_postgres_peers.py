"""Job queues on PostgreSQL, each as its documentation says to use it: made ready, given jobs, and worked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks._scheduler_probe import WORKERS

Body = Callable[[int], Awaitable[None]]
"""What each job does, with its number."""

TOGETHER = 1_000
"""So many jobs are submitted in one call where a peer can do that."""


class Client(Protocol):
    """Submits jobs."""

    async def submit(self, number: int) -> object:
        """Submit one, and wait until it is on disk."""

    async def fill(self, count: int) -> None:
        """Submit so many, as fast as it can be done."""


@dataclass(frozen=True)
class Peer:
    """One queue.

    Attributes:
        install: makes its tables in an empty database.
        client: opens what submits to it.
        work: works for it until it is cancelled, in a process of its own.
    """

    install: Callable[[str], Awaitable[None]]
    client: Callable[[str], AbstractAsyncContextManager[Client]]
    work: Callable[[str, Body], Awaitable[None]]


# pgqueuer


@contextlib.asynccontextmanager
async def _pgqueuer(address: str) -> AsyncIterator[Any]:
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgPoolDriver

    async with asyncpg.create_pool(address, min_size=2, max_size=WORKERS) as pool:
        yield PgQueuer(AsyncpgPoolDriver(pool))


async def _pgqueuer_install(address: str) -> None:
    async with _pgqueuer(address) as pgq:
        await pgq.qm.queries.install()


@dataclass
class _PgqueuerClient:
    queries: Any

    async def submit(self, number: int) -> object:
        return await self.queries.enqueue(["task"], [b"%d" % number], [0])

    async def fill(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            numbers = range(first, min(count, first + TOGETHER))
            await self.queries.enqueue(
                ["task"] * len(numbers), [b"%d" % number for number in numbers], [0] * len(numbers)
            )


@contextlib.asynccontextmanager
async def _pgqueuer_client(address: str) -> AsyncIterator[Client]:
    async with _pgqueuer(address) as pgq:
        yield _PgqueuerClient(pgq.qm.queries)


def _pgqueuer_worker(batch: int) -> Callable[[str, Body], Awaitable[None]]:
    async def work(address: str, body: Body) -> None:
        async with _pgqueuer(address) as pgq:

            @pgq.entrypoint("task")
            async def task(job: Any) -> None:
                await body(int(job.payload))

            await pgq.run(batch_size=batch)

    return work


def pgqueuer(batch: int) -> Peer:
    """pgqueuer that takes so many jobs at once."""
    return Peer(_pgqueuer_install, _pgqueuer_client, _pgqueuer_worker(batch))


# procrastinate

_bodies: list[Body] = []


@contextlib.asynccontextmanager
async def _procrastinate(address: str) -> AsyncIterator[tuple[Any, Any]]:
    import procrastinate as library

    app = library.App(connector=library.PsycopgConnector(conninfo=address, max_size=WORKERS + 4))

    @app.task(name="task", pass_context=False)
    async def task(number: int) -> None:
        await _bodies[0](number)

    async with app.open_async():
        yield app, task


async def _procrastinate_install(address: str) -> None:
    async with _procrastinate(address) as (app, _):
        await app.schema_manager.apply_schema_async()


@dataclass
class _ProcrastinateClient:
    task: Any

    async def submit(self, number: int) -> object:
        return await self.task.defer_async(number=number)

    async def fill(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            await self.task.batch_defer_async(
                *({"number": number} for number in range(first, min(count, first + TOGETHER)))
            )


@contextlib.asynccontextmanager
async def _procrastinate_client(address: str) -> AsyncIterator[Client]:
    async with _procrastinate(address) as (_, task):
        yield _ProcrastinateClient(task)


async def _procrastinate_work(address: str, body: Body) -> None:
    _bodies[:] = [body]
    async with _procrastinate(address) as (app, _):
        await app.run_worker_async(concurrency=WORKERS, install_signal_handlers=False, delete_jobs="never")


def procrastinate() -> Peer:
    """procrastinate, which keeps what has ended."""
    return Peer(_procrastinate_install, _procrastinate_client, _procrastinate_work)


# saq


@contextlib.asynccontextmanager
async def _saq(address: str) -> AsyncIterator[Any]:
    import saq as library

    queue = library.Queue.from_url(address)
    await queue.connect()
    try:
        yield queue
    finally:
        await queue.disconnect()


async def _saq_install(address: str) -> None:
    async with _saq(address):
        pass


@dataclass
class _SaqClient:
    queue: Any

    async def submit(self, number: int) -> object:
        return await self.queue.enqueue("task", number=number)

    async def fill(self, count: int) -> None:
        for first in range(0, count, 50):  # it has no call for many
            await asyncio.gather(*(self.submit(number) for number in range(first, min(count, first + 50))))


@contextlib.asynccontextmanager
async def _saq_client(address: str) -> AsyncIterator[Client]:
    async with _saq(address) as queue:
        yield _SaqClient(queue)


async def _saq_work(address: str, body: Body) -> None:
    import saq as library

    async def task(context: Any, *, number: int) -> None:
        await body(number)

    async with _saq(address) as queue:
        worker = library.Worker(queue, functions=[("task", task)], concurrency=WORKERS)
        await worker.start()


def saq() -> Peer:
    """saq on PostgreSQL."""
    return Peer(_saq_install, _saq_client, _saq_work)


PEERS: dict[str, Peer] = {
    "pgqueuer, batch 50": pgqueuer(50),
    "pgqueuer, batch 10": pgqueuer(10),
    "procrastinate": procrastinate(),
    "saq": saq(),
}
