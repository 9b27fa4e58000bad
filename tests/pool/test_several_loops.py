"""A pool that is used by one event loop after the other: nothing of a dead loop is lent, waited for, or ended."""

import asyncio
import gc
import logging
import threading
import warnings
from typing import Any

import pytest

from lifecycle import Pool, WrongLoop

from ..loops import some_turns


class Tied:
    """Something that only works in the loop that it was made in."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def work(self) -> None:
        assert asyncio.get_running_loop() is self.loop, "lent in another loop"

    async def close(self) -> None:
        await self.work()


async def make() -> Tied:
    await asyncio.sleep(0)
    return Tied()


async def use(pool: Pool[Tied]) -> None:
    async with pool.acquire(timeout=2.0) as value:
        await value.work()


@pytest.mark.parametrize(
    "options", [{}, {"max_idle": 60.0}, {"min_size": 2}, {"check": Tied.work, "check_bypass": 0.0}]
)
def test_each_loop_gets_its_own_values(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What the loop before has left is dropped by name; the accounts close."""
    pool = Pool(make, Tied.close, max_size=2, name="global", **options)
    for number in range(3):
        with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.WARNING, "lifecycle.pool"):
            warnings.simplefilter("always")
            caplog.clear()
            asyncio.run(use(pool))
        pool._check_invariants()
        if number:
            assert [record.getMessage() for record in caplog.records] == ["values of a closed loop dropped"]
            (warning,) = (warning for warning in seen if warning.category is ResourceWarning)
            assert f"value {pool._workshop.begun - 1} of pool 'global'" in str(warning.message)
    assert pool.statistics().created == 3
    with pytest.warns(ResourceWarning, match="global"):
        asyncio.run(pool.aclose())
    assert not len(pool)
    assert pool.closed


def test_a_loop_that_is_not_closed_keeps_its_values() -> None:
    """The other one is refused, with both named, and nothing has happened."""
    pool = Pool(make, Tied.close, max_size=2, name="global")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(pool))

    async def elsewhere() -> None:
        for ask in (lambda: use(pool), pool.aclose, lambda: pool.drain(), lambda: pool.wait_ready()):
            with pytest.raises(WrongLoop, match=r"pool 'global' belongs to another event loop, .* was used in "):
                await ask()
        for do in (pool.expire, lambda: pool.resize(1)):
            with pytest.raises(WrongLoop, match="belongs to another event loop"):
                do()
        with pytest.raises(WrongLoop, match="belongs to another event loop"), pool.try_acquire():
            pytest.fail("was lent")

    asyncio.run(elsewhere())
    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    thread.join()
    pool._check_invariants()
    loop.run_until_complete(use(pool))
    assert pool.statistics().created == 1
    loop.run_until_complete(pool.aclose())
    loop.close()


def test_a_pool_without_anything_moves_freely() -> None:
    """Also from a loop that is not closed."""
    pool = Pool(make, Tied.close, max_size=2)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    for _ in range(2):
        for loop in loops:
            loop.run_until_complete(use(pool))
            loop.run_until_complete(empty(pool))
    for loop in loops:
        loop.close()
    asyncio.run(pool.aclose())


async def empty(pool: Pool[Tied]) -> None:
    pool.expire()
    await pool.drain()


@pytest.mark.parametrize("step", ["create", "destroy", "reset", "line", "loan", "close"])
@pytest.mark.filterwarnings("ignore")
def test_what_a_closed_loop_left_half_done_holds_up_nobody(step: str) -> None:
    """A creation, an end, a reset, a borrower in line, a loan, a close: none of them will ever come to its end."""
    hangs = True

    async def maybe(*_: object) -> Any:
        if hangs:
            await asyncio.sleep(3600)
        return Tied()

    functions: dict[str, Any] = {"create": make, "destroy": Tied.close}
    if step in ("create", "destroy", "reset"):
        functions[step] = maybe
    pool = Pool(max_size=1, name="global", **functions)

    async def begin() -> None:
        tasks = [asyncio.ensure_future(hold(pool, step)) for _ in range(2)]
        await some_turns()
        if step == "destroy":
            pool.expire()
        if step == "close":
            tasks.append(asyncio.ensure_future(pool.aclose()))
        await some_turns()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(begin())
    loop.close()
    hangs = False
    if step == "close":
        asyncio.run(asyncio.wait_for(pool.aclose(), 60))
        assert pool.closed
    else:
        asyncio.run(asyncio.wait_for(use(pool), 60))
    gc.collect()  # what the loop had left ends now, and changes nothing
    pool._check_invariants()
    if step != "close":
        asyncio.run(asyncio.wait_for(use(pool), 60))
        pool._check_invariants()
        asyncio.run(pool.aclose())  # else whatever test collects the garbage next is told that it was dropped


@pytest.mark.filterwarnings("ignore")
def test_a_loan_that_ends_after_its_loop_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Its block is left when it is collected; there is no loop to destroy its value in, nor to make another."""
    pool = Pool(make, Tied.close, max_size=2, min_size=2, name="global")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    left: list[Any] = []

    async def begin() -> None:
        left.append(asyncio.ensure_future(hold(pool, "loan")))
        await some_turns()

    loop.run_until_complete(begin())
    loop.close()
    left.clear()
    gc.collect()
    assert not caplog.records
    pool._check_invariants()
    asyncio.run(asyncio.wait_for(use(pool), 60))
    assert caplog.messages == ["values of a closed loop dropped"]
    asyncio.run(pool.aclose())


async def hold(pool: Pool[Tied], step: str) -> None:
    async with pool.acquire():
        if step in ("loan", "line", "close"):
            await asyncio.sleep(3600)


def test_without_a_loop_it_is_refused() -> None:
    """Before anything has happened; a close is noted."""
    pool = Pool(make, Tied.close, max_size=1)
    for do in (pool.expire, lambda: pool.resize(2)):
        with pytest.raises(RuntimeError, match="no running event loop"):
            do()
    assert pool.max_size == 1
    pool.close()
    asyncio.run(pool.aclose())
