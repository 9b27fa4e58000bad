"""Other job queues, as their documentation says to use them, each with eight workers where it has a number of them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from benchmarks._postgres_peers import PEERS
from benchmarks._postgres_server import server
from benchmarks._scheduler_probe import WORKERS, Candidate, Probe, Submit

THREADS = 2
"""So many worker threads for huey, whose jobs are sync: with more it is slower."""

_probes: list[Probe] = []


async def job(number: int) -> None:
    """The job of peers that find it by its module and name."""
    _probes[0].ran(number)


# In memory, and SQLite


@contextlib.asynccontextmanager
async def taskiq_memory(probe: Probe) -> AsyncIterator[Submit]:
    """taskiq's broker for one process."""
    from taskiq import InMemoryBroker

    broker = InMemoryBroker()

    @broker.task
    async def task(number: int) -> None:
        probe.ran(number)

    await broker.startup()
    try:
        yield task.kiq
    finally:
        await broker.shutdown()


@contextlib.asynccontextmanager
async def apscheduler_memory(probe: Probe) -> AsyncIterator[Submit]:
    """APScheduler 3 with its store in memory."""
    async with _apscheduler(probe, {}) as submit:
        yield submit


@contextlib.asynccontextmanager
async def apscheduler_sqlite(probe: Probe) -> AsyncIterator[Submit]:
    """APScheduler 3 with its SQLAlchemy store on SQLite."""
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore

    with tempfile.TemporaryDirectory() as directory:
        stores = {"default": SQLAlchemyJobStore(f"sqlite:///{directory}/jobs.sqlite")}
        async with _apscheduler(probe, stores) as submit:
            yield submit


@contextlib.asynccontextmanager
async def _apscheduler(probe: Probe, stores: dict[str, Any]) -> AsyncIterator[Submit]:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    _probes[:] = [probe]
    scheduler = AsyncIOScheduler(jobstores=stores, job_defaults={"misfire_grace_time": None})
    scheduler.start()

    async def submit(number: int) -> None:
        scheduler.add_job(job, args=[number])

    try:
        yield submit
    finally:
        scheduler.shutdown(wait=False)
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def huey_memory(probe: Probe) -> AsyncIterator[Submit]:
    """huey with its storage in memory."""
    from huey import MemoryHuey

    async with _huey(probe, MemoryHuey()) as submit:
        yield submit


@contextlib.asynccontextmanager
async def huey_sqlite(probe: Probe) -> AsyncIterator[Submit]:
    """huey on SQLite, with every commit on disk."""
    from huey import SqliteHuey

    with tempfile.TemporaryDirectory() as directory:
        async with _huey(probe, SqliteHuey(filename=f"{directory}/huey.sqlite", fsync=True)) as submit:
            yield submit


@contextlib.asynccontextmanager
async def _huey(probe: Probe, huey: Any) -> AsyncIterator[Submit]:
    @huey.task()
    def task(number: int) -> None:
        probe.ran_in_thread(number)

    consumer = huey.create_consumer(workers=THREADS, periodic=False, initial_delay=0.001, max_delay=0.001)
    consumer._set_signal_handlers = lambda: None  # they belong to this process
    consumer.start()

    async def submit(number: int) -> None:
        task(number)
        await asyncio.sleep(0)

    try:
        yield submit
    finally:
        stopping = threading.Thread(target=consumer.stop)
        stopping.start()
        await asyncio.to_thread(stopping.join, 5)


# On servers


@contextlib.asynccontextmanager
async def saq_redis(probe: Probe) -> AsyncIterator[Submit]:
    """saq on a Redis of our own."""
    import saq

    async def task(context: Any, *, number: int) -> None:
        probe.ran(number)

    with _redis() as url:
        queue = saq.Queue.from_url(url)
        worker = saq.Worker(queue, functions=[("task", task)], concurrency=WORKERS)
        await queue.connect()
        running = asyncio.create_task(worker.start())

        async def submit(number: int) -> None:
            await queue.enqueue("task", number=number)

        try:
            yield submit
        finally:
            await worker.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await queue.disconnect()


def postgres(name: str) -> Candidate:
    """One of those on PostgreSQL, on a server of our own, with its worker in this process."""

    @contextlib.asynccontextmanager
    async def candidate(probe: Probe) -> AsyncIterator[Submit]:
        peer = PEERS[name]

        async def body(number: int) -> None:
            probe.ran(number)

        with server() as address:
            await peer.install(address)
            async with peer.client(address) as client:
                working = asyncio.ensure_future(peer.work(address, body))
                try:
                    yield client.submit
                finally:
                    working.cancel()
                    await asyncio.wait([working], timeout=10)

    return candidate


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        options = ["--port", str(port), "--save", "", "--appendonly", "yes", "--dir", directory]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)
