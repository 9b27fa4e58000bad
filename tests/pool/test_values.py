"""The values of a pool: made, checked, reset, renewed, and destroyed when their time has come."""

import asyncio
import logging

import pytest

from lifecycle import CreationTimeout, Pool
from lifecycle.testing import Bubble, run_virtual

from .connections import Connection, Server, use


def test_what_comes_back_after_an_error_is_destroyed() -> None:
    """Any error, a cancellation included, and discard(); a loan that ends well keeps its value."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool() as pool:
            with pytest.raises(KeyError):
                async with pool.acquire():
                    raise KeyError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), pool.acquire():
                    await asyncio.sleep(5)
            loan = pool.acquire()
            async with loan:
                loan.discard()
            with pytest.raises(RuntimeError, match="not held"):
                loan.discard()
            async with loan as last:  # used again, and unspoiled
                pass
            await asyncio.sleep(1)
            assert [connection.open for connection in server.connections] == [False, False, False, True]
            assert last.number == 3
            assert pool.statistics().discarded == 3

    run_virtual(scenario)


def test_a_reset_makes_ready_for_the_next() -> None:
    """The one who returns does not wait for it, the next one does; a reset that fails destroys the value."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, reset=server.reset) as pool:
            async with pool.acquire() as connection:
                connection.dirty = True
            assert connection.dirty
            async with pool.acquire() as again:
                assert again is connection
                assert not again.dirty

    run_virtual(scenario)


def test_a_failed_reset_destroys(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next borrower gets a new value; so with one that hangs."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()

        async def reset(connection: Connection) -> None:
            if connection.number == 0:
                raise OSError("reset refused")
            if connection.number == 1:
                await asyncio.sleep(1000)

        async with server.pool(max_size=1, reset=reset, close_timeout=2.0) as pool:
            assert [(await use(pool)).number for _ in range(3)] == [0, 1, 2]
            assert pool.statistics().discarded == 2

    with caplog.at_level(logging.ERROR, "lifecycle.pool"):
        run_virtual(scenario)
    assert "reset refused" in caplog.text


def test_a_check_comes_before_a_loan_but_not_right_after_the_last() -> None:
    """check_bypass seconds after its return a value counts as good; one that fails is replaced."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, check=server.check, check_bypass=0.5) as pool:
            first = await use(pool)
            await asyncio.sleep(0.4)
            await use(pool)
            assert first.checks == 0
            await asyncio.sleep(0.6)
            await use(pool)
            assert first.checks == 1
            await asyncio.sleep(1)
            server.down = True
            asyncio.get_running_loop().call_later(0.05, setattr, server, "down", False)
            assert (await use(pool)) is not first
            assert not first.open
            assert pool.statistics().check_failures == 1

    run_virtual(scenario)


def test_a_lifetime_is_enforced_wherever_the_value_is() -> None:
    """Free, when it is lent, and when it comes back; never in its borrower's hands. Jitter only shortens it."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_lifetime=10.0, lifetime_jitter=0.1, min_size=1) as pool:
            await asyncio.sleep(1)
            assert server.open == 1
            dies_at = next(iter(pool._slots)).dies_at
            assert 9.1 <= dies_at <= 10.1
            async with pool.acquire() as held:
                await asyncio.sleep(20)
                assert held.open
            await asyncio.sleep(1)
            assert not held.open
            assert len(server.connections) == 2  # min_size is kept up
            await asyncio.sleep(11)
            assert len(server.connections) == 3
            assert server.open == 1

    run_virtual(scenario)


def test_an_expired_value_is_not_lent_even_if_nobody_swept() -> None:
    """The look at the clock is at the loan, not only in the upkeep."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, max_lifetime=10.0, lifetime_jitter=0.0) as pool:
            first = await use(pool)
            assert pool._upkeep._timer is not None
            pool._upkeep._timer.cancel()
            await asyncio.sleep(20)
            assert await use(pool) is not first
            assert not first.open

    run_virtual(scenario)


def test_idle_values_go_down_to_min_size() -> None:
    """max_idle seconds after their last use, by themselves."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=4, min_size=1, max_idle=5.0) as pool:
            await asyncio.gather(*(use(pool) for _ in range(4)))
            await asyncio.sleep(4)
            assert server.open == 4
            await asyncio.sleep(2)
            assert server.open == 1
            pool._check_invariants()

    run_virtual(scenario)


def test_min_size_is_tried_again_after_failures(caplog: pytest.LogCaptureFixture) -> None:
    """Later and later, and without anybody waiting for it."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        server.down = True
        async with server.pool(min_size=2) as pool:
            await asyncio.sleep(10)
            assert 4 <= pool.statistics().create_failures <= 12
            server.down = False
            await asyncio.sleep(60)
            assert pool.statistics().idle == 2

    with caplog.at_level(logging.CRITICAL, "lifecycle.pool"):
        run_virtual(scenario)


def test_a_failed_creation_fails_one_borrower_each() -> None:
    """All borrowers that wait are told, first come first; the pool has its slots back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        server.down = True
        async with server.pool() as pool:
            answers = await asyncio.gather(*(use(pool) for _ in range(7)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {ConnectionRefusedError}
            assert len(pool) == 0
            server.down = False
            await use(pool)

    run_virtual(scenario)


def test_a_synchronous_create_that_fails_tells_many() -> None:
    """A thousand waiters are no recursion of a thousand calls."""

    async def scenario(bubble: Bubble) -> None:
        def refuse() -> object:
            raise ConnectionRefusedError

        async def asks() -> str:
            try:
                async with pool.acquire():
                    return "lent"
            except ConnectionRefusedError:
                return "refused"

        made = [object()]
        pool = Pool(lambda: made.pop() if made else refuse(), lambda value: None, max_size=1)
        async with pool.acquire():
            waiting = [asyncio.create_task(asks()) for _ in range(2000)]
            await asyncio.sleep(1)
            pool.expire()
            assert not any(task.done() for task in waiting)
        assert set(await asyncio.gather(*waiting)) == {"refused"}
        await pool.aclose()

    run_virtual(scenario)


def test_a_creation_that_hangs_is_cancelled_and_named() -> None:
    """Its borrower gets CreationTimeout, and the slot is free again."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=100.0)
        async with server.pool(create_timeout=2.0, max_size=1) as pool:
            with pytest.raises(CreationTimeout, match="value 1 of pool 'db' took longer than 2 s"):
                await use(pool)
            server.seconds = 0.1
            await use(pool)

    run_virtual(scenario)


def test_a_cancelled_borrower_leaves_its_creation_to_the_next() -> None:
    """Or to the idle ones; it takes nothing along."""

    async def scenario(bubble: Bubble) -> None:
        server = Server(seconds=1.0)
        async with server.pool(max_size=1) as pool:
            first = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            first.cancel()
            assert (await second).number == 0
            assert len(server.connections) == 1
            pool.expire()
            await asyncio.sleep(2)
            third = asyncio.create_task(use(pool))
            await asyncio.sleep(0.2)
            third.cancel()
            await asyncio.sleep(2)
            assert pool.statistics().idle == 1

    run_virtual(scenario)


def test_expire_renews_everything() -> None:
    """Free values go at once, lent ones when they come back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=2) as pool:
            await asyncio.gather(use(pool), use(pool))
            async with pool.acquire() as lent:
                pool.expire()
                await asyncio.sleep(1)
                assert server.open == 1
                assert lent.open
            await asyncio.sleep(1)
            assert server.open == 0
            await use(pool)

    run_virtual(scenario)
