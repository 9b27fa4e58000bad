"""What a pool costs beside the pools that people use, and how fair it is: connections that do nothing, size 10.

    python -m benchmarks.pool [--rounds N] [--loop asyncio|uvloop|both]

Uncontended: one borrower takes and returns, over and over, in processor time of its thread. Contended: 1,000 tasks
take and return ten times each; the waits of the last nine rounds, in processor time as well, show who overtakes whom.
psycopg_pool and asyncpg run with stand-ins for their connections, aiohttp's connector and httpcore without a network.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import asyncpg
import httpcore
import redis.asyncio
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

from benchmarks._measure import main
from benchmarks._peers import NotInstalled, peer
from benchmarks._sizes import sized
from lifecycle import Pool

psycopg_pool = peer("psycopg_pool")
sqlalchemy_pools, sqlalchemy_util = peer("sqlalchemy.pool"), peer("sqlalchemy.util")

SIZE = 10
ALONE = sized(5_000, 50)
TASKS = sized(1_000, 50)
ROUNDS = 10

Borrow = Callable[[], AbstractAsyncContextManager[Any]]


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Borrow]:
    async with Pool(object, lambda value: None, max_size=SIZE) as pool:
        yield pool.acquire


class Turns:
    """The idiom: a semaphore and a deque of free values."""

    def __init__(self) -> None:
        self.semaphore = asyncio.Semaphore(SIZE)
        self.free = deque(object() for _ in range(SIZE))
        self.value: Any = None

    @contextlib.asynccontextmanager
    async def borrow(self) -> AsyncIterator[Any]:
        async with self.semaphore:
            value = self.free.pop()
            try:
                yield value
            finally:
                self.free.append(value)


@contextlib.asynccontextmanager
async def idiom() -> AsyncIterator[Borrow]:
    yield Turns().borrow


class StandIn:
    """A connection of psycopg's as far as its pool looks at one."""

    class Info:
        transaction_status = 0

    def __init__(self) -> None:
        self.pgconn = self.Info()
        self.closed = False
        self._pool = self._expire_at = self._created_at = None

    @classmethod
    async def connect(cls, *args: Any, **kwargs: Any) -> StandIn:
        return cls()

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> StandIn:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End nothing."""

    def __getattr__(self, name: str) -> Any:
        return None


@contextlib.asynccontextmanager
async def psycopg() -> AsyncIterator[Borrow]:
    pool = psycopg_pool.AsyncConnectionPool(
        "", connection_class=StandIn, min_size=SIZE, max_size=SIZE, max_waiting=0, open=False, timeout=60
    )
    await pool.open(wait=True)

    @contextlib.asynccontextmanager
    async def borrow() -> AsyncIterator[Any]:
        connection = await pool.getconn()
        try:
            yield connection
        finally:
            await pool.putconn(connection)

    yield borrow
    await pool.close()


class NoTransport(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self, protocol: ResponseHandler) -> None:
        super().__init__()
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class NoNetwork(aiohttp.BaseConnector):
    """aiohttp's connector with connections to nowhere."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(NoTransport(protocol))
        return protocol


class Request:
    """What the connector looks at of a request."""

    connection_key = ConnectionKey("host", 80, False, True, None, None, None)
    proxy = None


@contextlib.asynccontextmanager
async def aiohttp_connector() -> AsyncIterator[Borrow]:
    connector = NoNetwork(limit=SIZE)
    timeout = aiohttp.ClientTimeout()

    @contextlib.asynccontextmanager
    async def borrow() -> AsyncIterator[Any]:
        connection = await connector.connect(Request(), [], timeout)  # type: ignore[arg-type]
        try:
            yield connection
        finally:
            connection.release()

    yield borrow
    await connector.close()


class NoRedis(redis.asyncio.Connection):
    """A redis connection to nowhere."""

    async def connect(self) -> None:
        """There is nobody there."""

    async def can_read_destructive(self) -> bool:
        return False

    async def can_read(self, *args: Any, **kwargs: Any) -> bool:
        return False

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Nor here."""


@contextlib.asynccontextmanager
async def redis_pool() -> AsyncIterator[Borrow]:
    pool = redis.asyncio.BlockingConnectionPool(connection_class=NoRedis, max_connections=SIZE, timeout=None)

    @contextlib.asynccontextmanager
    async def borrow() -> AsyncIterator[Any]:
        connection = await pool.get_connection()
        try:
            yield connection
        finally:
            await pool.release(connection)

    yield borrow
    await pool.aclose()


class Protocol:
    """What asyncpg's pool asks of a connection's protocol."""

    queries_count = 0

    def get_settings(self) -> None:
        return None

    def is_connected(self) -> bool:
        return True

    def abort(self) -> None:
        """There is nothing to abort."""

    async def _wait_for_cancellation(self) -> None:
        """Nothing is being cancelled."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class NoStatements:
    """A cache of prepared statements without any."""

    def iter_statements(self) -> tuple[()]:
        return ()

    def clear(self) -> None:
        """There are none."""


def fake_postgres() -> asyncpg.Connection[Any]:
    connection = object.__new__(asyncpg.Connection)
    for name in asyncpg.Connection.__slots__:
        with contextlib.suppress(AttributeError):
            setattr(connection, name, None)
    connection._protocol = Protocol()
    connection._loop = asyncio.get_running_loop()
    connection._aborted = False
    connection._proxy = None
    connection._listeners, connection._log_listeners = {}, set()
    connection._termination_listeners, connection._query_loggers = set(), set()
    connection._reset_query = ""
    connection._stmt_cache, connection._stmts_to_close = NoStatements(), set()
    connection._top_xact = None
    connection._pool_release_ctr = 0
    return connection


@contextlib.asynccontextmanager
async def asyncpg_pool() -> AsyncIterator[Borrow]:
    async def connect(*args: Any, **kwargs: Any) -> Any:
        return fake_postgres()

    async def nothing(connection: Any) -> None:
        """Reset nothing."""

    pool = asyncpg.create_pool(
        "postgresql://nowhere", min_size=0, max_size=SIZE, connect=connect, reset=nothing,
        max_inactive_connection_lifetime=0,
    )  # fmt: skip
    await pool
    yield pool.acquire
    for holder in pool._holders:
        holder._con = None
    pool.terminate()


class NoDatabase:
    """A DBAPI connection to nowhere."""

    def rollback(self) -> None:
        """There is no transaction."""

    close = rollback


@contextlib.asynccontextmanager
async def sqlalchemy_pool() -> AsyncIterator[Borrow]:
    greenlet_spawn = sqlalchemy_util.greenlet_spawn
    pool = sqlalchemy_pools.AsyncAdaptedQueuePool(NoDatabase, pool_size=SIZE, max_overflow=0, timeout=60)

    @contextlib.asynccontextmanager
    async def borrow() -> AsyncIterator[Any]:
        connection = await greenlet_spawn(pool.connect)
        try:
            yield connection
        finally:
            await greenlet_spawn(connection.close)

    yield borrow
    await greenlet_spawn(pool.dispose)


@contextlib.asynccontextmanager
async def http_pool() -> AsyncIterator[Borrow]:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    backend = httpcore.AsyncMockBackend([answer] * 100_000)
    pool = httpcore.AsyncConnectionPool(max_connections=SIZE, network_backend=backend)

    @contextlib.asynccontextmanager
    async def borrow() -> AsyncIterator[Any]:
        yield await pool.request("GET", "http://host/")

    yield borrow
    await pool.aclose()


PEERS = {
    "psycopg_pool": psycopg,
    "lifecycle.Pool": ours,
    "asyncio.Semaphore + deque": idiom,
    "aiohttp connector": aiohttp_connector,
    "asyncpg": asyncpg_pool,
    "redis-py BlockingConnectionPool": redis_pool,
    "SQLAlchemy AsyncAdaptedQueuePool": sqlalchemy_pool,
    "httpcore, a whole request": http_pool,
}


async def uncontended(borrow: Borrow, count: int) -> float:
    """Return nanoseconds of processor per loan."""
    for _ in range(count // 10 + 1):
        async with borrow():
            pass
    gc.collect()
    begin = time.thread_time()
    for _ in range(count):
        async with borrow():
            pass
    return (time.thread_time() - begin) / count * 1e9


async def contended(borrow: Borrow, tasks: int) -> tuple[float, list[float]]:
    """Return loans per second of processor, and how long the borrowers waited, in milliseconds, sorted."""
    waits: list[float] = []

    async def work() -> None:
        for number in range(ROUNDS):
            begin = time.thread_time()
            async with borrow():
                if number:  # the first round is the crowd at the door
                    waits.append((time.thread_time() - begin) * 1e3)
                await asyncio.sleep(0)

    gc.collect()
    begin = time.thread_time()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return tasks * ROUNDS / (time.thread_time() - begin), sorted(waits)


async def measure(rounds: int) -> dict[str, tuple[list[float], list[float], list[list[float]]]]:
    results: dict[str, tuple[list[float], list[float], list[list[float]]]] = {}
    for _ in range(rounds):
        for name, make in PEERS.items():
            slow = name.startswith("httpcore")
            try:
                async with make() as borrow:
                    single = await uncontended(borrow, ALONE // 10 if slow else ALONE)
                    rate, waited = await contended(borrow, TASKS // 5 if slow else TASKS)
            except NotInstalled as error:
                print(f"  left out: {name}: {error}")
                continue
            singles, rates, waits = results.setdefault(name, ([], [], []))
            singles.append(single)
            rates.append(rate)
            waits.append(waited)
    return results


async def benchmark(options: argparse.Namespace) -> None:
    results = await measure(options.rounds)
    base, crowd = next(iter(results.values()))[0], results["aiohttp connector"][1]
    print(
        f"\n  {'':34} {'alone ns':>9} {'speed':>7}   {'crowd/s':>9} {'speed':>6}   waits in ms: median   99%   longest"
    )
    for name, (singles, rates, waits) in results.items():
        faster = statistics.median(a / b for a, b in zip(base, singles, strict=True))
        quicker = statistics.median(a / b for a, b in zip(rates, crowd, strict=True))
        median, most, longest = (statistics.median(waited[int(len(waited) * part)] for waited in waits)
                                 for part in (0.5, 0.99, 0.99999))  # fmt: skip
        print(
            f"  {name:34} {statistics.median(singles):>9,.0f} {faster:>6.1f}x   {statistics.median(rates):>9,.0f} "
            f"{quicker:>5.2f}x   {median:>17.2f} {most:>6.2f} {longest:>8.2f} ({longest / max(median, 1e-9):.2f}x)"
        )
    print("  speed: alone by psycopg_pool (goal of lifecycle.Pool: 10x), crowd by aiohttp's connector (goal: 1.6x);")
    print("  the longest wait by the median one (goal: 1.3x). httpcore's crowd is a fifth of the others'.")


if __name__ == "__main__":
    main(__doc__, benchmark, rounds=5)
