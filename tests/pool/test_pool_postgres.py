"""Pool against a real PostgreSQL server: random cancellations, and the server's own list of connections as witness."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anyio
import asyncpg
import pytest

from lifecycle import Pool

MAX_SIZE = 6
BORROWERS = 18
APPLICATION = "pool under test"


class Soak:
    """Borrowers that are cancelled at random, in all ways there are, and what they found wrong."""

    def __init__(self, address: str, seed: int) -> None:
        self.address = address
        self.random = random.Random(seed)
        self.loans = self.cancelled = self.tokens = 0
        self.pool: Pool[asyncpg.Connection[Any]] = Pool(
            self.connect,
            self.disconnect,
            max_size=MAX_SIZE,
            min_size=1,
            max_lifetime=3.0,
            max_idle=1.0,
            check=lambda connection: connection.execute("select 1"),
            check_bypass=0.05,
            reset=lambda connection: connection.reset(),
            name="postgres",
            close_timeout=10.0,
        )

    async def connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.address, server_settings={"application_name": APPLICATION})

    async def disconnect(self, connection: asyncpg.Connection[Any]) -> None:
        try:
            await connection.close(timeout=5.0)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def run(self, seconds: float) -> None:
        """Borrow and cancel for so many seconds; now and then let all come back, and compare with the server."""
        ends = asyncio.get_running_loop().time() + seconds
        async with self.pool:
            while (left := ends - asyncio.get_running_loop().time()) > 0:
                round_ends = asyncio.get_running_loop().time() + min(left, 2.0)
                async with asyncio.TaskGroup() as group:
                    for _ in range(BORROWERS):
                        group.create_task(self.borrow_until(round_ends))
                assert await self.pool.drain(timeout=10.0), "a loan was lost"
                self.pool._check_invariants()
                await self.compare_with_the_server()
            await self.borrow_all_at_once()
        self.pool._check_invariants()
        assert await self.pids_at_the_server() == set()

    async def borrow_until(self, ends: float) -> None:
        while asyncio.get_running_loop().time() < ends:
            seconds = self.random.choice([0.0, 0.001, 0.003, 0.01, 0.03, 1.0])
            manner = self.random.randrange(4)
            task = asyncio.ensure_future(self.borrow())
            if manner == 0:
                await asyncio.sleep(seconds)
                task.cancel()
            elif manner == 1:
                task = asyncio.ensure_future(within_timeout(task, seconds))
            elif manner == 2:
                task = asyncio.ensure_future(within_scope(task, seconds))
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(outcome, (asyncio.CancelledError, TimeoutError)):
                self.cancelled += 1
            elif isinstance(outcome, BaseException):
                raise outcome

    async def borrow(self) -> None:
        self.tokens += 1
        token = self.tokens
        async with self.pool.acquire() as connection:
            self.loans += 1
            assert not connection.is_in_transaction(), "lent in the middle of a transaction"
            found = await connection.fetchrow(
                "select $1::int as token, current_setting('work_mem') as memory, "
                "(select count(*) from pg_listening_channels()) as channels",
                token,
            )
            assert found["token"] == token, "the answer to somebody else's question"
            assert found["memory"] == "4MB", "a setting of somebody else"
            assert found["channels"] == 0, "still listening for somebody else"
            await self.leave_traces(connection, token)

    async def leave_traces(self, connection: asyncpg.Connection[Any], token: int) -> None:
        manner = token % 4
        if manner == 0:
            await connection.execute("set work_mem = '8MB'")
        elif manner == 1:
            await connection.execute("listen jobs")
        elif manner == 2:
            await connection.execute("begin; select pg_sleep(0.01)")
            await connection.execute("rollback")
        else:
            await connection.fetchval("select pg_sleep(0.005)")

    async def compare_with_the_server(self) -> None:
        """What the pool holds is what the server has, connection by connection; the server may be a moment late."""
        for _ in range(100):
            ours = {
                slot.value.get_server_pid() for slot in self.pool._slots if slot.state.value in ("idle", "checking")
            }
            quiet = len(ours) == len(self.pool)
            if quiet and await self.pids_at_the_server() == ours:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.pool.statistics()}, and the server says {await self.pids_at_the_server()}")

    async def pids_at_the_server(self) -> set[int]:
        connection = await asyncpg.connect(self.address)
        try:
            for _ in range(40):
                rows = await connection.fetch(
                    "select pid from pg_stat_activity where application_name = $1", APPLICATION
                )
                if rows and self.pool.closed:
                    await asyncio.sleep(0.05)
                    continue
                break
            return {row["pid"] for row in rows}
        finally:
            await connection.close()

    async def borrow_all_at_once(self) -> None:
        """Every slot is still there."""
        async with asyncio.timeout(10):
            barrier = asyncio.Barrier(MAX_SIZE)

            async def hold() -> None:
                async with self.pool.acquire():
                    await barrier.wait()

            async with asyncio.TaskGroup() as group:
                for _ in range(MAX_SIZE):
                    group.create_task(hold())


async def within_timeout(task: asyncio.Future[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await task


async def within_scope(task: asyncio.Future[None], seconds: float) -> None:
    with anyio.fail_after(seconds):
        await task


def soak(address: str, seconds: float) -> None:
    run = Soak(address, seed=int(seconds))
    asyncio.run(run.run(seconds))
    statistics = run.pool.statistics()
    print(f"{run.loans} loans, {run.cancelled} cancelled, {statistics.created} connections, {statistics}")
    assert run.loans > 20 * seconds
    assert run.cancelled > 10 * seconds
    assert statistics.created == statistics.destroyed
    assert statistics.discarded > 0


def test_no_connection_is_lost_or_lent_dirty(database: str) -> None:
    """Some seconds of cancellations by task, timeout and scope; the server's account equals ours at every pause."""
    soak(database, 6.0)


@pytest.mark.nightly
def test_no_connection_is_lost_or_lent_dirty_in_a_minute(database: str) -> None:
    """The same for a minute."""
    soak(database, 60.0)


def test_a_lost_server_is_noticed_and_a_new_one_used(database: str) -> None:
    """Connections that the server ends fail their check, and the next borrower gets a new one."""

    async def run() -> None:
        soaking = Soak(database, seed=1)
        async with soaking.pool as pool:
            async with pool.acquire() as connection:
                first = connection.get_server_pid()
            while not pool.statistics().idle:  # it is reset first, which would find the loss as well
                await asyncio.sleep(0.01)
            other = await asyncpg.connect(database)
            await other.execute("select pg_terminate_backend($1::int)", first)
            await other.close()
            while not connection.is_closed():  # until the end has come over the wire
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # longer than a value counts as good without a check
            async with pool.acquire() as connection:
                assert connection.get_server_pid() != first
            assert pool.statistics().check_failures == 1

    asyncio.run(run())
