"""Free values that nobody has used for long: checked in the background, one at a time; the dead ones are replaced."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import Pool
from lifecycle._pool.upkeep import Upkeep
from lifecycle.testing import Bubble

from ..loops import virtual
from .connections import Connection, Server, use


async def all_at_once(pool: Pool[Connection], count: int) -> None:
    """Have that many values, which came back in one moment."""
    await asyncio.gather(*(use(pool) for _ in range(count)))


@virtual
async def test_a_value_that_has_died_is_replaced_before_anybody_wants_it(bubble: Bubble) -> None:
    """Found at the next look; who comes then waits for no check and no creation."""
    server = Server()
    async with server.pool(min_size=1, check=server.check, check_every=10.0, check_bypass=60.0) as pool:
        await pool.wait_ready()
        await asyncio.sleep(25.0)
        assert server.connections[0].checks == 2
        server.down = True
        await asyncio.sleep(8.0)
        assert not server.connections[0].open
        server.down = False
        await asyncio.sleep(5.0)
        before = asyncio.get_running_loop().time()
        async with pool.acquire() as value:
            assert value is server.connections[1]
            assert asyncio.get_running_loop().time() == before
        assert pool.statistics().check_failures == 1
        pool._check_invariants()


@virtual
async def test_a_check_is_no_use(bubble: Bubble) -> None:
    """What is checked dies of its idle time as it would have, and goes out after what was used since."""
    server = Server()
    async with server.pool(check=server.check, check_every=10.0, max_idle=35.0) as pool:
        await all_at_once(pool, 2)
        cold, warm = server.connections
        for _ in range(3):
            await asyncio.sleep(8.5)
            assert await use(pool) is warm
        assert (cold.checks, warm.checks) == (2, 3)  # the warm one before each use, which came later than the bypass
        await asyncio.sleep(8.0)
        assert not cold.open
        assert warm.open


@virtual
async def test_they_are_checked_one_at_a_time(bubble: Bubble) -> None:
    """Whoever comes meanwhile gets another one at once."""
    server = Server()
    checking: list[Connection] = []

    async def check(value: Connection) -> None:
        checking.append(value)
        assert len(checking) == 1
        await asyncio.sleep(0.5)
        checking.remove(value)
        value.checks += 1

    options = {"check_every": 10.0, "check_bypass": 60.0, "leak_threshold": 0.2}  # which lets it look at all of them
    async with server.pool(max_size=4, check=check, **options) as pool:
        await all_at_once(pool, 4)
        await asyncio.sleep(10.1)
        assert pool.statistics().checking == 1
        await use(pool, 0.3)
        await asyncio.sleep(3.0)
        assert sorted(value.checks for value in server.connections) == [0, 1, 1, 1]
        pool._check_invariants()


@virtual
async def test_who_waits_for_the_only_one_gets_it_when_it_has_passed(bubble: Bubble) -> None:
    """And a close waits for the check, and ends the value."""
    server = Server()
    async with server.pool(max_size=1, check=server.check, check_every=10.0) as pool:
        await use(pool)
        while not pool.statistics().checking:
            await asyncio.sleep(0.001)
        assert await use(pool) is server.connections[0]
        while not pool.statistics().checking:
            await asyncio.sleep(0.001)
    assert not server.open


@virtual
async def test_one_that_does_not_answer_holds_up_no_others(bubble: Bubble) -> None:
    """It ends by the time of a check, and then the next is looked at."""
    server = Server()

    async def check(value: Connection) -> None:
        value.checks += 1
        if value is server.connections[0]:
            await asyncio.Event().wait()

    async with server.pool(check=check, check_every=10.0, check_timeout=2.0) as pool:
        await all_at_once(pool, 2)
        await asyncio.sleep(24.0)
        assert not server.connections[0].open
        assert server.connections[1].checks == 2
        assert pool.statistics().idle == 1


def test_what_is_no_interval_is_refused() -> None:
    """Never at all is None; and what is checked needs something that checks."""
    for options in ({"check_every": 0.0, "check": id}, {"check_every": 5.0}):
        with pytest.raises(ValueError, match="check_every"):
            Pool(object, id, max_size=1, **options)  # type: ignore[call-overload]


@virtual
async def test_a_large_pool_does_not_look_at_all_for_each(bubble: Bubble, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand that end within half a second are found in a hundred looks, and none much later than it should."""
    looks: list[float] = []
    run = Upkeep._run

    def look(upkeep: Upkeep[Connection]) -> None:
        looks.append(asyncio.get_running_loop().time())
        run(upkeep)

    monkeypatch.setattr(Upkeep, "_run", look)
    server = Server(seconds=0.0)
    async with server.pool(max_size=1_000, max_lifetime=10.0, lifetime_jitter=0.05) as pool:
        await all_at_once(pool, 1_000)
        await asyncio.sleep(9.1)
        assert not server.open
    assert len(looks) <= 150
