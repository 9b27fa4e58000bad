"""Draining and closing a pool: what it waits for, ends and names, and who may close it."""

import asyncio
import contextlib
import gc

import pytest

from lifecycle import OwnerClosed, Pool, ReleaseTimeout, Scope, StillLent
from lifecycle.testing import Bubble, run_virtual

from .connections import Connection, Server, use


def test_drain_waits_for_loans_and_borrowers() -> None:
    """close() keeps newcomers out and serves those in line; drain() says whether all came back in time."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool, 2.0), name=name) for name in ("first", "second")]
            await asyncio.sleep(1)
            pool.close()
            with pytest.raises(OwnerClosed):
                await use(pool)
            with pytest.raises(OwnerClosed), pool.try_acquire():
                pytest.fail("was entered")
            report = await pool.drain(timeout=1.0)
            assert not report.clean
            (lent,) = report.lent
            assert lent.startswith("value 1 of pool 'db', lent to task 'first', suspended at ")
            assert report.pending == ("1 borrowers in line",)
            assert (await pool.drain()).clean
            assert all(task.done() for task in tasks)
            assert (await pool.drain()).clean

    run_virtual(scenario)


def test_a_close_waits_for_loans_and_names_those_that_stay() -> None:
    """With the borrower and where it is; the value is ended when it comes back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        pool = server.pool(close_timeout=5.0)
        tasks = [asyncio.create_task(use(pool, seconds), name=f"for {seconds:g} s") for seconds in (2.0, 20.0)]
        await asyncio.sleep(1)
        with pytest.raises(StillLent, match=r"value [12] of pool 'db', lent to task 'for 20 s', suspended at "):
            await pool.aclose()
        assert bubble.clock.now == 6.0
        assert server.open == 1
        await asyncio.gather(*tasks)
        await asyncio.sleep(1)
        assert server.open == 0
        pool._check_invariants()

    run_virtual(scenario)


def test_a_borrower_that_closes_the_pool_is_told_at_once() -> None:
    """It would wait for itself; its value is ended when it comes back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        pool = server.pool(close_timeout=30.0)
        async with pool.acquire():
            with pytest.raises(StillLent, match=r"1 of its values were still lent: value 1"):
                await pool.aclose()
            assert bubble.clock.now < 1.0
            assert server.open == 1
        await asyncio.sleep(1)
        assert server.open == 0

    run_virtual(scenario)


def test_a_close_tells_those_in_line_and_ends_creations() -> None:
    """They get OwnerClosed; nothing that is made nevertheless is left open."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=1.0)
        pool = server.pool()
        tasks = [asyncio.create_task(use(pool)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await pool.aclose()
        for task in tasks:
            with pytest.raises(OwnerClosed):
                await task
        assert server.open == 0
        with pytest.raises(OwnerClosed):
            await use(pool)

    run_virtual(scenario)


def test_closing_loses_no_error() -> None:
    """Every value is ended, whatever the others do; failures and time-outs come together."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(connection: Connection) -> None:
            ended.append(connection.number)
            if connection.number == 0:
                raise OSError("refused")
            if connection.number == 1:
                await asyncio.sleep(1000)

        server = Server()
        pool = Pool(server.connect, end, max_size=3, close_timeout=2.0)
        with pytest.raises(ExceptionGroup) as caught:
            async with pool:
                await asyncio.gather(*(use(pool) for _ in range(3)))
        assert sorted(ended) == [0, 1, 2]
        assert {type(error) for error in caught.value.exceptions} >= {OSError}
        assert any(isinstance(error, TimeoutError) for error in caught.value.exceptions)
        assert pool.statistics().destroy_errors == 2

    run_virtual(scenario)


def test_a_destroy_that_ignores_its_cancellations_is_abandoned() -> None:
    """The slot is free again, and the error says so."""

    async def scenario(bubble: Bubble) -> None:
        async def never(value: object) -> None:
            end = asyncio.get_running_loop().time() + 100
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)

        pool = Pool(object, never, max_size=1, close_timeout=2.0)
        async with pool.acquire():
            pass
        with pytest.raises(ReleaseTimeout, match="value 1 of pool 'pool'"):
            await pool.aclose()
        assert bubble.clock.now == 5.0  # cancelled after 2 s and after 4 s, abandoned a grace later
        await asyncio.sleep(200)

    run_virtual(scenario)


def test_close_is_idempotent_and_may_come_from_inside() -> None:
    """A creation that closes its own pool causes no deadlock; a second closer waits for the first."""

    async def scenario(bubble: Bubble) -> None:
        async def create() -> object:
            await pool.aclose()
            return object()

        pool = Pool(create, lambda value: None, max_size=1)
        with pytest.raises(OwnerClosed):
            async with pool.acquire():
                pytest.fail("was lent")
        await asyncio.gather(pool.aclose(), pool.aclose())
        assert bubble.clock.now < 1.0
        assert pool.closed

    run_virtual(scenario)


def test_a_scope_owns_a_pool() -> None:
    """`await scope.enter(pool)`."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with Scope() as scope:
            pool = await scope.enter(server.pool(min_size=1))
            await use(pool)
        assert server.open == 0

    run_virtual(scenario)


def test_a_forgotten_close_is_a_warning() -> None:
    """It names the pool and how much was in it."""

    async def scenario() -> None:
        pool = Pool(object, lambda value: None, max_size=1, name="forgotten")
        async with pool.acquire():
            pass
        del pool
        gc.collect()

    with pytest.warns(ResourceWarning, match="pool 'forgotten' was dropped with 1 values"):
        asyncio.run(scenario())
