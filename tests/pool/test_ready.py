"""Readiness and waiting: until a pool is ready, with a bound for every loan, and for what one holds oneself."""

import asyncio
import logging

import pytest

from lifecycle import OwnerClosed, Pool, PoolTimeout
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .connections import Server, use


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "lifecycle.pool")


@pytest.mark.parametrize("min_size", [0, 3])
@virtual
async def test_a_program_learns_that_its_pool_is_ready(bubble: Bubble, min_size: int) -> None:
    """Also where the first creations fail, and with a value on trial where none are kept."""
    server = Server()
    server.down = True
    async with server.pool(min_size=min_size, max_size=4) as pool:
        waiter = asyncio.create_task(pool.wait_ready(timeout=20.0))
        await asyncio.sleep(2)
        assert not waiter.done()
        server.down = False
        await waiter
        assert pool.statistics().idle == max(min_size, 1)
        await pool.wait_ready(timeout=0.0)


@virtual
async def test_a_program_learns_why_its_pool_is_not_ready(bubble: Bubble) -> None:
    """The cause is the last error; the pool stays open, and keeps nothing of it."""
    server = Server()
    server.down = True
    async with server.pool(min_size=2) as pool:
        with pytest.raises(PoolTimeout, match="pool 'db' was not ready within 5 s") as caught:
            await pool.wait_ready(timeout=5.0)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert pool._upkeep.last_error is None
        server.down = False
        await use(pool)


@virtual
async def test_who_waits_until_a_pool_is_ready_is_told_that_it_closes(bubble: Bubble) -> None:
    """By close() as by aclose(); and later ones are refused."""
    for ends in (lambda pool: pool.close(), lambda pool: asyncio.ensure_future(pool.aclose())):
        server = Server(seconds=100.0)
        pool = server.pool(min_size=1)
        waiter = asyncio.create_task(pool.wait_ready())
        await asyncio.sleep(1)
        ends(pool)
        with pytest.raises(OwnerClosed):
            await asyncio.wait_for(waiter, 1)
        with pytest.raises(OwnerClosed):
            await pool.wait_ready()
        await pool.aclose()


@virtual
async def test_a_bound_for_every_loan_can_be_given_once(bubble: Bubble) -> None:
    """A loan may have another one, or none."""
    async with Server().pool(max_size=1, acquire_timeout=2.0) as pool:
        holder = asyncio.create_task(use(pool, 20.0))
        await asyncio.sleep(1)
        for timeout, seconds in ((None, 2.0), (0.5, 0.5)):
            began = bubble.clock.now
            with pytest.raises(PoolTimeout):
                await use(pool, timeout=timeout)
            assert bubble.clock.now - began == pytest.approx(seconds)
        await use(pool, timeout=float("inf"))
        await holder


@virtual
async def test_who_waits_for_what_it_holds_is_told(bubble: Bubble) -> None:
    """One borrower of one value, or two of two; what they hold comes back, and the pool is as good as new."""

    async def asks_twice(pool: Pool[object]) -> None:
        async with pool.acquire():
            await asyncio.sleep(0.01)
            async with pool.acquire():
                await asyncio.sleep(0.01)

    for size in (1, 2):
        async with Pool(object, lambda value: None, max_size=size) as pool:
            answers = await asyncio.gather(*(asks_twice(pool) for _ in range(size)), return_exceptions=True)
            (told,) = (answer for answer in answers if answer is not None)
            assert isinstance(told, RuntimeError)
            assert "holds value" in str(told)
            assert bubble.clock.now < 2.0
            await asyncio.gather(*(use_once(pool) for _ in range(size)))


async def use_once(pool: Pool[object]) -> None:
    async with pool.acquire(timeout=1.0):
        await asyncio.sleep(0.01)


@virtual
async def test_who_waits_while_another_one_works_is_left_alone(bubble: Bubble) -> None:
    """Whatever it holds itself; so is one whose own time will be up, which is told then what it holds."""
    async with Pool(object, lambda value: None, max_size=2, name="db") as pool:

        async def works() -> None:
            async with pool.acquire():
                await asyncio.sleep(5)

        working = asyncio.create_task(works())
        await some_turns()
        async with pool.acquire(), pool.acquire():
            assert bubble.clock.now == 5.0
        await working
        async with pool.acquire(), pool.acquire():
            with pytest.raises(PoolTimeout, match="The borrower holds value 1 itself"):
                async with pool.acquire(timeout=3.0):
                    pytest.fail("was lent")


@virtual
async def test_a_drain_waits_for_resets_and_ends(bubble: Bubble) -> None:
    """What is in progress has ended when it reports clean, and is named where it has not."""
    server = Server(seconds=2.0)

    async def reset(value: object) -> None:
        await asyncio.sleep(2)

    async with server.pool(reset=reset) as pool:
        await use(pool, 0.0)
        report = await pool.drain(timeout=1.0)
        assert report.pending == ("reset of value 1 of pool 'db'",)
        assert (await pool.drain()).clean
        assert pool.statistics().resetting == 0
        pool.expire()
        assert (await pool.drain(timeout=1.0)).pending == ("end of value 1 of pool 'db'",)
        assert (await pool.drain()).clean
        assert len(pool) == 0


@virtual
async def test_a_resize_does_not_slow_down_what_comes_after(bubble: Bubble) -> None:
    """The shortest path of a loan is open again as soon as there are no more values than there may be."""
    async with Pool(object, lambda value: None, max_size=3) as pool:
        assert pool._takes_back_idle
        async with pool.acquire(), pool.acquire(), pool.acquire():
            pool.resize(1)
            assert not pool._takes_back_idle
        assert len(pool) == 1
        assert pool._takes_back_idle
        pool.resize(2)
        assert pool._takes_back_idle
        pool.close()
        assert not pool._takes_back_idle
