"""A pool struck at every await, and in any order: nothing stays behind."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import Pool
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules


def opener(bubble: Bubble) -> Callable[[], Awaitable[Any]]:
    async def open_it() -> Any:
        await asyncio.sleep(0.01)
        return bubble.ledger.acquire("connection", kind="connection")

    return open_it


async def end(token: Any) -> None:
    await asyncio.sleep(0.01)
    token.release()


async def check(token: Any) -> bool:
    await asyncio.sleep(0.005)
    assert not token.releases
    return True


async def contend(bubble: Bubble) -> None:
    """Two values, four borrowers, one of them late and one of them failing; checks, resets and an idle time."""
    async with Pool(
        opener(bubble),
        end,
        max_size=2,
        max_idle=0.05,
        check=check,
        check_bypass=0.0,
        reset=check,
        close_timeout=1.0,
        create_timeout=1.0,
    ) as pool:

        async def borrows(*, fail: bool = False) -> None:
            with contextlib.suppress(KeyError):
                await borrow(fail)

        async def borrow(fail: bool) -> None:
            async with pool.acquire(timeout=1.0) as token:
                await asyncio.sleep(0.01)
                assert not token.releases, "ended under its borrower"
                if fail:
                    raise KeyError("planned")

        async with asyncio.TaskGroup() as group:
            group.create_task(borrows())
            group.create_task(borrows())
            group.create_task(borrows(fail=True))
            await asyncio.sleep(0.02)
            group.create_task(borrows())
            pool._check_invariants()
        pool._check_invariants()
    pool._check_invariants()


async def one_slot(bubble: Bubble) -> None:
    """One value, three in line, a drain, and a second round that needs the slot to be there still."""
    async with Pool(opener(bubble), end, max_size=1, close_timeout=1.0, create_timeout=1.0) as pool:

        async def borrows() -> None:
            with contextlib.suppress(Exception):
                async with pool.acquire():
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(borrows())
        assert await pool.drain(timeout=5.0), "a loan was lost"
        async with pool.acquire(timeout=5.0):
            pool._check_invariants()


@pytest.mark.parametrize("scenario", [contend, one_slot], ids=lambda function: function.__name__)
def test_no_interruption_leaves_anything(scenario: Any, part: dict[str, int]) -> None:
    """Cancellations and errors at every point of every user task: no slot lost, nothing left, nothing ended twice."""
    explore_cancellation(scenario, schedules=2, **part).assert_clean()


@pytest.mark.parametrize("scenario", [contend, one_slot], ids=lambda function: function.__name__)
def test_no_order_leaves_anything(scenario: Any) -> None:
    """A few hundred orders of the ready tasks."""
    explore_schedules(scenario, runs=300).assert_clean()
