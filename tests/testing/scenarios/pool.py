"""Pool: borrowers in line, broken loans, cancelled waiters, resizing, and a close while values are lent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lifecycle import OwnerClosed
from lifecycle._group.group import TaskGroup
from lifecycle._pool.pool import Pool

from ._table import connect, disconnect, scenario

if TYPE_CHECKING:
    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token


async def use(value: Token, seconds: float = 0.01) -> None:
    assert not value.releases, f"{value.name} was lent after its end"
    await asyncio.sleep(seconds)
    assert not value.releases, f"{value.name} ended while it was lent"


def small_pool(bubble: Bubble, size: int, **settings: float) -> Pool[Token]:
    return Pool(lambda: connect(bubble, "value"), disconnect, max_size=size, name="pool", **settings)


@scenario
async def pool_lends_in_turn(bubble: Bubble) -> None:
    """Three borrowers of two values, a late one, and a pool that is as good as new afterwards."""
    async with small_pool(bubble, 2) as pool:

        async def borrower(arrives: float) -> None:
            await asyncio.sleep(arrives)
            async with pool.acquire() as value:
                await use(value)

        arrivals = (0, 0, 0, 0.02)
        await asyncio.gather(*[borrower(arrives) for arrives in arrivals], return_exceptions=True)
        try:
            async with asyncio.timeout(5), pool.acquire() as one, pool.acquire() as other:
                assert one is not other, "one value was lent twice"
        except TimeoutError:
            raise AssertionError("a slot of the pool has been lost") from None


@scenario
async def pool_discards_what_broke(bubble: Bubble) -> None:
    """A loan that ends by an error is not lent again; one that is given up is replaced."""
    broken: list[Token] = []
    async with small_pool(bubble, 1) as pool:

        async def breaks() -> None:
            with contextlib.suppress(ConnectionError):
                async with pool.acquire() as value:
                    await use(value)
                    broken.append(value)
                    raise ConnectionError("broken while it was lent")

        async def gives_up() -> None:
            loan = pool.acquire()
            async with loan as value:
                assert value not in broken, "a broken value was lent again"
                await use(value)
                loan.discard()

        async with TaskGroup() as group:
            group.create_task(breaks())
            group.create_task(gives_up())


@scenario
async def pool_checks_and_resets(bubble: Bubble) -> None:
    """A value that is reset after every loan and checked before the next; what is not fit to be lent is replaced."""
    dirty: set[Token] = set()

    async def reset(value: Token) -> None:
        await asyncio.sleep(0.01)
        dirty.discard(value)

    async def check(value: Token) -> bool:
        await asyncio.sleep(0.01)
        return value not in dirty

    async with Pool(
        lambda: connect(bubble, "value"),
        disconnect,
        max_size=1,
        check=check,
        check_bypass=0.0,
        reset=reset,
        name="pool",
    ) as pool:

        async def borrower(arrives: float) -> None:
            await asyncio.sleep(arrives)
            async with pool.acquire() as value:
                assert value not in dirty, "lent before it was reset"
                dirty.add(value)
                await use(value)

        async with TaskGroup() as group:
            for arrives in (0, 0, 0.05):
                group.create_task(borrower(arrives))


@scenario
async def pool_closed_while_lent(bubble: Bubble) -> None:
    """A borrower, two in line, and two closers."""
    pool = small_pool(bubble, 1)
    try:

        async def borrower() -> None:
            with contextlib.suppress(OwnerClosed):
                async with pool.acquire() as value:
                    await use(value, 0.02)

        async def closer(arrives: float) -> None:
            await asyncio.sleep(arrives)
            await pool.aclose()

        async with TaskGroup() as group:
            for _ in range(3):
                group.create_task(borrower())
            group.create_task(closer(0.015))
            group.create_task(closer(0.02))
    finally:
        await pool.aclose()


@scenario
async def pool_resized_and_timed_out(bubble: Bubble) -> None:
    """A borrower that waits too long, and a size that changes while values are lent."""
    async with small_pool(bubble, 1) as pool:

        async def borrower(seconds: float) -> None:
            with contextlib.suppress(TimeoutError):
                async with pool.acquire(timeout=0.025) as value:
                    await use(value, seconds)
            await asyncio.sleep(0)

        async with TaskGroup() as group:
            group.create_task(borrower(0.05))
            group.create_task(borrower(0.01))
            await asyncio.sleep(0.02)
            pool.resize(2)
            group.create_task(borrower(0.01))
            await asyncio.sleep(0.01)
            pool.resize(1)
