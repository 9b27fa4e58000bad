"""Pool: values made when they are needed and lent again, its size, its arguments, its place in a snapshot."""

import asyncio
from typing import Any

import pytest

from lifecycle import Pool, take_snapshot
from lifecycle.testing import Bubble, run_virtual

from .connections import Server, use


def test_values_are_made_when_needed_and_lent_again() -> None:
    """One borrower at a time needs one value; two need two; the last that came back goes out first."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool() as pool:
            for _ in range(3):
                await use(pool)
            assert len(server.connections) == 1
            await asyncio.gather(use(pool), use(pool, 2.0))
            assert (await use(pool)).number == 1
            pool._check_invariants()
            assert pool.statistics().idle == 2
        assert server.open == 0

    run_virtual(scenario)


def test_resize_serves_waiters_or_lets_values_go() -> None:
    """Up: who waits is served at once. Down: free values go at once, lent ones when they come back."""

    async def scenario(bubble: Bubble) -> None:
        server = Server()
        async with server.pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool, 5.0)) for _ in range(3)]
            await asyncio.sleep(1)
            pool.resize(3)
            await asyncio.sleep(1)
            assert pool.statistics().lent == 3
            pool.resize(1)
            await asyncio.gather(*tasks)
            await asyncio.sleep(1)
            assert server.open == 1
            pool._check_invariants()
            pool.resize(3)
            await asyncio.gather(*(use(pool) for _ in range(3)))
            pool.resize(2)
            await asyncio.sleep(1)
            assert server.open == 2
            with pytest.raises(ValueError, match="max_size"):
                pool.resize(0)

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_size": 0}, ValueError),
        ({"max_size": 1, "min_size": 2}, ValueError),
        ({"max_size": 1, "lifetime_jitter": 1.0}, ValueError),
        ({"max_size": 1, "max_idle": -1.0}, ValueError),
        ({"max_size": 1, "pending_limit": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """Before anything else happens."""
    with pytest.raises(error):
        Pool(object, print, **options)
    with pytest.raises(TypeError, match="destroy must be a function"):
        Pool(object, None, max_size=1)  # type: ignore[arg-type]


def test_a_snapshot_shows_what_a_pool_holds() -> None:
    """Values with their borrowers, work on them, and how many wait."""

    async def scenario(bubble: Bubble) -> None:
        async with Server().pool(max_size=1) as pool:
            tasks = [asyncio.create_task(use(pool), name=f"borrower {number}") for number in range(2)]
            await asyncio.sleep(0.5)
            text = str(take_snapshot())
            for line in ("pool 'db'", "waiting 1", "value 'value 1', lent to 'borrower 0'"):
                assert line in text, text
            await asyncio.gather(*tasks)

    run_virtual(scenario)
