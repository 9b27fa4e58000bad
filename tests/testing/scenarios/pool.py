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


@scenario
async def pool_outlives_an_outage(bubble: Bubble) -> None:
    """Creations that fail, several in a row; borrowers in line meanwhile, and one who waits until it is ready."""
    tries = 0

    async def create() -> Token:
        nonlocal tries
        tries += 1
        if tries <= 4:
            await asyncio.sleep(0.01)
            raise ConnectionRefusedError("planned")
        return await connect(bubble, "value")

    async with Pool(create, disconnect, max_size=2, min_size=1, name="pool") as pool:

        async def borrower(arrives: float) -> None:
            await asyncio.sleep(arrives)
            with contextlib.suppress(ConnectionRefusedError):
                async with pool.acquire() as value:
                    await use(value)

        async with TaskGroup() as group:
            for arrives in (0, 0, 0.02, 0.1):
                group.create_task(borrower(arrives))
            await pool.wait_ready(timeout=60.0)


@scenario
async def pool_ready_after_an_outage(bubble: Bubble) -> None:
    """Nobody borrows: what is missing is tried again by itself."""
    tries = 0

    async def create() -> Token:
        nonlocal tries
        tries += 1
        if tries <= 2:
            await asyncio.sleep(0.01)
            raise ConnectionRefusedError("planned")
        return await connect(bubble, "value")

    async with Pool(create, disconnect, max_size=2, min_size=1, name="pool") as pool:
        await pool.wait_ready(timeout=60.0)


@scenario
async def pool_asks_again_after_a_pause(bubble: Bubble) -> None:
    """A borrower that comes in the pause after several failures, where no values are kept: it is served after it."""
    tries = 0

    async def create() -> Token:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise ConnectionRefusedError("planned")
        return await connect(bubble, "value")

    async with Pool(create, disconnect, max_size=1, name="pool") as pool:
        for _ in range(3):
            with contextlib.suppress(ConnectionRefusedError):
                async with pool.acquire():
                    pass
        async with pool.acquire(timeout=5.0) as value:
            await use(value)


@scenario
async def pool_does_not_wait_for_a_creation_that_hangs(bubble: Bubble) -> None:
    """A borrower that has given up, and a later one that gets a value of its own."""
    hangs = True

    async def create() -> Token:
        nonlocal hangs
        if hangs:
            hangs = False
            await asyncio.sleep(50.0)
        return await connect(bubble, "value")

    async with Pool(create, disconnect, max_size=1, close_timeout=1.0, name="pool") as pool:
        with contextlib.suppress(TimeoutError):
            async with pool.acquire(timeout=0.1) as value:
                await use(value)
        async with pool.acquire(timeout=10.0) as value:
            await use(value)


@scenario
async def pool_does_not_wait_for_a_check_that_hangs(bubble: Bubble) -> None:
    """A value that answers neither its check nor its end, in a pool that has room for no other."""
    silent: set[Token] = set()

    async def check(value: Token) -> None:
        if value in silent:
            await asyncio.sleep(3600)

    async with Pool(
        lambda: connect(bubble, "value"),
        disconnect,
        max_size=1,
        check=check,
        check_bypass=0.0,
        check_timeout=1.0,
        name="pool",
    ) as pool:
        async with pool.acquire() as value:
            silent.add(value)
        async with pool.acquire(timeout=5.0) as value:
            assert value not in silent, "lent without an answer"
            await use(value)
    pool._check_invariants()


@scenario
async def pool_steps_that_call_back(bubble: Bubble) -> None:
    """An end that expires all the others, in the middle of the upkeep."""

    async def create() -> Token:
        return await connect(bubble, "value")

    def end(value: Token) -> object:
        pool.expire()
        return disconnect(value)

    async with Pool(create, end, max_size=3, max_idle=0.05, name="pool") as pool:

        async def borrower() -> None:
            async with pool.acquire() as value:
                await use(value)

        for _ in range(2):
            async with TaskGroup() as group:
                for _ in range(3):
                    group.create_task(borrower())
            await asyncio.sleep(0.2)
        assert not len(pool), "what was idle has not been ended"
