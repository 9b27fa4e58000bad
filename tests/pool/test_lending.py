"""Lending: who is served and in which order, how long and how many may wait, and loans that last too long."""

import asyncio
import contextlib
import logging

import pytest

from lifecycle import PoolFull, PoolTimeout
from lifecycle.testing import Bubble, run_virtual

from .connections import Server, use


def test_an_uncontended_loan_never_suspends() -> None:
    """Borrowing what is at hand, and returning it, is done in the same step."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool() as pool:
            await use(pool)

            async def borrow() -> str:
                async with pool.acquire():
                    return "done"

            coroutine = borrow()
            with pytest.raises(StopIteration, match="done"):
                coroutine.send(None)

    run_virtual(scenario)


def test_borrowers_are_served_in_order_and_nobody_overtakes() -> None:
    """Also when a newcomer asks in the very step in which a value comes back."""

    async def scenario(bubble: Bubble) -> None:
        served = []

        async def borrows(name: int) -> None:
            async with pool.acquire():
                served.append(name)
                await asyncio.sleep(0.1)
            if name < 100:  # asks again at once, while others wait
                await borrows(name + 100)

        async with Server().pool(max_size=1) as pool:
            await asyncio.gather(*(borrows(name) for name in range(10)))
        assert served == [*range(10), *range(100, 110)]

    run_virtual(scenario)


def test_the_pool_never_has_more_values_than_allowed() -> None:
    """Seen from the server, those included that are being ended."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()

        async def spoils() -> None:
            with contextlib.suppress(OSError):
                async with pool.acquire():
                    await asyncio.sleep(0.05)
                    raise OSError("dirty")

        async with server.pool(max_size=3) as pool:
            await asyncio.gather(*(spoils() for _ in range(12)))
        assert server.most_open == 3
        assert len(server.connections) == 12

    run_virtual(scenario)


def test_try_acquire_lends_only_what_is_at_hand() -> None:
    """Not what would have to be made or checked first."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1, check=server.check) as pool:
            with pytest.raises(PoolFull, match="pool 'db' has nothing free"), pool.try_acquire():
                pytest.fail("was entered")
            await use(pool)
            with pool.try_acquire() as connection:
                assert connection.open
                with pytest.raises(PoolFull), pool.try_acquire():
                    pytest.fail("was entered")
            with pytest.raises(KeyError), pool.try_acquire():
                raise KeyError
            await asyncio.sleep(1)
            assert not connection.open
            await use(pool)
            await asyncio.sleep(0.6)
            with pytest.raises(PoolFull), pool.try_acquire():
                pytest.fail("was entered")

    run_virtual(scenario)


def test_waiting_has_a_bound_in_time() -> None:
    """PoolTimeout says how the pool stands; the place in line is given up."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            holder = asyncio.create_task(use(pool, 10.0))
            await asyncio.sleep(1)
            with pytest.raises(PoolTimeout, match="1 of 1 values, 1 of them lent, 0 waiting"):
                await use(pool, timeout=2.0)
            assert bubble.clock.now == 3.0
            assert pool.statistics().timeouts == 1
            assert pool.statistics().waiting == 0
            await holder
            await use(pool, timeout=0.0)

    run_virtual(scenario)


def test_waiting_has_a_bound_in_number() -> None:
    """pending_limit counts those for whom nothing is on its way."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=2, pending_limit=1) as pool:
            tasks = [asyncio.create_task(use(pool)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(PoolFull, match="allows 1"):
                await use(pool)
            await asyncio.gather(*tasks)
            assert pool.statistics().refused == 1

    run_virtual(scenario)


@pytest.mark.parametrize("how", ["new", "idle", "handed over"])
def test_a_loan_that_lasts_too_long_is_logged_with_both_places(caplog: pytest.LogCaptureFixture, how: str) -> None:
    """Where it was borrowed, by which task, and where that task is now; once per loan, wherever the value came from."""

    async def scenario(bubble: Bubble) -> None:
        async def forgets() -> None:
            async with pool.acquire():
                await deep_inside()

        async def deep_inside() -> None:
            await asyncio.sleep(100)

        async with Server().pool(max_size=1, leak_threshold=5.0) as pool:
            before = asyncio.create_task(use(pool, 0.0 if how == "new" else 1.0))
            await asyncio.sleep(0.0 if how == "handed over" else 2.0)
            if how == "new":
                pool.expire()
            task = asyncio.create_task(forgets(), name="the forgetful")
            await asyncio.gather(task, before)
            await use(pool, 4.0)

    with caplog.at_level(logging.WARNING, "lifecycle.pool"):
        run_virtual(scenario)
    (record,) = caplog.records
    assert record.getMessage() == "loan held too long"
    said = record.__dict__
    assert said["owner"] == "db"
    assert "task 'the forgetful'" in said["borrower"]
    assert "forgets" in said["borrowed_at"][0]
    assert "deep_inside" not in "".join(said["borrowed_at"])
    assert "deep_inside" in "".join(said["borrower_at"])
    assert 5.0 <= said["seconds"] < 6.0
