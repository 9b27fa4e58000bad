"""Recovery: servers that are down, silent or back, and how soon, and how gently, a pool has values again."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from lifecycle import Pool, PoolTimeout
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .connections import Connection, Server, use

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "lifecycle.pool")


async def comes_up(server: Server, after: float) -> None:
    server.down = True
    await asyncio.sleep(after)
    server.down = False


@pytest.mark.parametrize("size", [1, 8, 50])
@virtual
async def test_the_pause_before_a_refill_does_not_grow_with_the_size(bubble: Bubble, size: int) -> None:
    """A round of creations that fail is one failure, however many they were."""
    server = Server(seconds=0.01)
    up = asyncio.create_task(comes_up(server, 0.1))
    async with server.pool(min_size=size, max_size=50) as pool:
        await pool.wait_ready()
        assert bubble.clock.now < 0.7
        assert pool.statistics().idle == size
    await up


@virtual
async def test_the_first_success_of_a_borrower_refills(bubble: Bubble) -> None:
    """What it shows is true for min_size too, whatever pause that had come to."""
    server = Server(seconds=0.01)
    up = asyncio.create_task(comes_up(server, 20.0))
    async with server.pool(min_size=8, max_size=10) as pool:
        await up
        began = bubble.clock.now
        await use(pool, 0.0)
        await pool.wait_ready()
        assert bubble.clock.now - began < 0.2


@virtual
async def test_a_server_that_is_down_is_asked_by_one_at_a_time(bubble: Bubble) -> None:
    """With pauses; and those who wait are told with the one that asks, not one after the other."""
    server = Server(seconds=0.01)
    server.down = True
    at_once = most = tries = 0

    async def connect() -> Connection:
        nonlocal at_once, most, tries
        tries += 1
        at_once += 1
        most = max(most, at_once)
        try:
            return await server.connect()
        finally:
            at_once -= 1

    async with Pool(connect, server.disconnect, max_size=50) as pool:

        async def asks(until: float) -> None:
            while bubble.clock.now < until:
                with contextlib.suppress(ConnectionRefusedError):
                    await use(pool, 0.001)

        await asyncio.gather(*(asks(0.2) for _ in range(100)))
        most = tries = 0
        await asyncio.gather(*(asks(5.0) for _ in range(100)))
        assert most == 1
        assert tries < 20
        server.down = False
        first = asyncio.create_task(use(pool, 1.0))
        others = [asyncio.create_task(use(pool, 1.0)) for _ in range(50)]
        await first
        assert most <= 32, "all of them at once"
        await asyncio.gather(*others)
        assert len(pool) >= 40, "it did not come back to its size"


@virtual
async def test_all_who_wait_are_told_by_the_third_failure(bubble: Bubble) -> None:
    """Not those who came after it had begun; and each with the frames of the creation alone."""
    server = Server(seconds=0.1)
    server.down = True
    async with server.pool(max_size=1) as pool:
        early = [asyncio.create_task(use(pool)) for _ in range(20)]
        await asyncio.sleep(0.25)
        late = asyncio.create_task(use(pool))
        await asyncio.sleep(0.1)
        assert all(task.done() for task in early)
        assert not late.done()
        lengths = set()
        for number, task in enumerate(early):
            error = task.exception()
            assert isinstance(error, ConnectionRefusedError)
            if number < 2:  # told one by one
                continue
            length, traceback = 0, error.__traceback__
            while traceback is not None:
                length, traceback = length + 1, traceback.tb_next
            lengths.add(length)
        assert len(lengths) == 1
        server.down = False
        await late


@virtual
async def test_a_creation_that_hangs_does_not_keep_its_place(bubble: Bubble) -> None:
    """Another is begun instead; what arrives late is lent as long as there are not more values than there may be."""
    hangs = True
    made = 0

    async def connect() -> int:
        nonlocal made
        await asyncio.sleep(20.0 if hangs else 0.01)
        made += 1
        return made

    async with Pool(connect, lambda value: None, max_size=2, create_timeout=60.0) as pool:

        async def gives_up() -> None:
            with pytest.raises(PoolTimeout):
                async with pool.acquire(timeout=0.1):
                    pytest.fail("was lent")

        await asyncio.gather(gives_up(), gives_up())
        hangs = False
        async with pool.acquire(), pool.acquire():
            assert bubble.clock.now < 5.5
            pool._check_invariants()
            await asyncio.sleep(30)
            pool._check_invariants()
            assert pool.statistics().lent == len(pool) == 2
        async with pool.acquire():
            assert pool.statistics().created == 4


@pytest.mark.parametrize("step", ["check", "reset"])
@virtual
async def test_a_value_that_does_not_answer_is_replaced_in_the_time_of_a_check(bubble: Bubble, step: str) -> None:
    """Also where its end hangs as well, and there is no room beside it."""
    silent = False

    async def may_hang(value: object) -> None:
        if silent:
            await asyncio.sleep(3600)

    functions: dict[str, Any] = {step: may_hang}
    pool = Pool(object, may_hang, max_size=4, check_bypass=0.0, name="db", **functions)
    async with pool.acquire(), pool.acquire(), pool.acquire(), pool.acquire():
        await asyncio.sleep(1)
        silent = step == "reset"
    silent = True
    began = bubble.clock.now
    async with pool.acquire():
        assert bubble.clock.now - began < 6.0
        pool._check_invariants()
        assert pool.statistics().destroying <= 4
    with pytest.raises(BaseExceptionGroup):
        await pool.aclose()


@virtual
async def test_a_patient_borrower_gets_a_new_value_beside_a_check_that_hangs(bubble: Bubble) -> None:
    """Where there is room, nobody waits for the end of such a check."""
    server = Server(seconds=0.01)

    async def check(connection: Connection) -> None:
        await asyncio.sleep(3600)

    async with server.pool(max_size=2, check=check, check_bypass=0.0) as pool:
        await use(pool, 0.0)
        began = bubble.clock.now
        await use(pool, 0.0)
        assert bubble.clock.now - began < 1.5


@pytest.mark.parametrize("max_size", [50, 60])
@virtual
async def test_dead_values_are_found_side_by_side(bubble: Bubble, max_size: int) -> None:
    """One check that fails has all the others made."""
    server = Server(seconds=0.0)

    async def check(connection: Connection) -> bool:
        await asyncio.sleep(0.05)
        return connection.number >= 50

    async with server.pool(max_size=max_size, check=check, check_bypass=1.0) as pool:
        await asyncio.gather(*(use(pool, 0.1) for _ in range(50)))
        await asyncio.sleep(2)
        began = bubble.clock.now
        await use(pool, 0.0)
        assert bubble.clock.now - began <= 0.15
        await asyncio.sleep(0.1)
        assert pool.statistics().check_failures == 50


@virtual
async def test_values_are_replaced_ahead_of_the_end_of_their_lifetime(bubble: Bubble) -> None:
    """So that nobody in a quiet pool waits for a connect, and there are never fewer than min_size."""
    server = Server(seconds=0.05)
    async with server.pool(max_size=10, min_size=4, max_lifetime=10.0) as pool:
        await pool.wait_ready()
        while bubble.clock.now < 100.0:
            await asyncio.sleep(0.02)
            assert pool.statistics().idle >= 4
            pool._check_invariants()
        assert len(server.connections) >= 36


@virtual
async def test_values_that_are_being_ended_are_not_counted_as_ready(bubble: Bubble) -> None:
    """Where there is room, their successors do not wait for them."""
    server = Server(seconds=0.01)

    async def slow_end(connection: Connection) -> None:
        await asyncio.sleep(10)

    async with Pool(server.connect, slow_end, max_size=10, min_size=2) as pool:
        await pool.wait_ready()
        pool.expire()
        await asyncio.sleep(0.1)
        assert pool.statistics().idle == 2
        assert pool.statistics().destroying == 2


@virtual
async def test_creations_in_progress_have_a_bound(bubble: Bubble) -> None:
    """For the line and for min_size; and every place is filled in the end."""
    at_once = most = 0

    async def connect() -> object:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.1)
        at_once -= 1
        return object()

    async with Pool(connect, lambda value: None, max_size=20, min_size=10, max_creating=3) as pool:
        tasks = [asyncio.create_task(hold(pool)) for _ in range(20)]
        await asyncio.sleep(2)
        assert pool.statistics().lent == 20
        assert most == 3
        for task in tasks:
            task.cancel()
        await some_turns()


async def hold(pool: Pool[Any]) -> None:
    async with pool.acquire():
        await asyncio.sleep(100)
