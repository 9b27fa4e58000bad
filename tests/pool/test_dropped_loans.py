"""Loans that nobody gives back: their block was entered by hand, and they are found by the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any

import pytest

from lifecycle import Pool

from ..loops import on_every_loop, run_on, some_turns


@on_every_loop
def test_its_place_is_free_again(new_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is told where it was borrowed, and by whom; the value, of which nobody knows the state, is destroyed."""
    destroyed: list[object] = []

    async def forget(pool: Pool[object]) -> object:
        await asyncio.sleep(0)  # an eager task has its name only then
        return await pool.acquire().__aenter__()

    async def main() -> None:
        async with Pool(object, destroyed.append, max_size=1, leak_threshold=60.0, name="db") as pool:
            with pytest.warns(
                ResourceWarning, match=r"a loan of pool 'db' to 'forgetful' was dropped inside its block"
            ):
                value = await asyncio.create_task(forget(pool), name="forgetful")
                gc.collect()
            async with pool.acquire(timeout=30.0) as another:
                assert another is not value
            assert destroyed == [value]
            assert pool.statistics().discarded == 1
            pool._check_invariants()

    run_on(new_loop, main())
    (record,) = (record for record in caplog.records if record.message == "loan dropped")
    assert (record.owner, record.borrower) == ("db", "forgetful")  # type: ignore[attr-defined]
    assert any("in test_its_place_is_free_again.<locals>.forget" in place for place in record.borrowed_at)  # type: ignore[attr-defined]


def test_the_collector_may_come_in_another_thread() -> None:
    """The pool hears of it in its loop."""
    destroyed: list[int] = []

    async def main() -> None:
        async with Pool(object, lambda _: destroyed.append(threading.get_ident()), max_size=1) as pool:
            loans: list[Any] = [pool.acquire()]
            await loans[0].__aenter__()
            with pytest.warns(ResourceWarning, match="was dropped"):
                await asyncio.to_thread(loans.clear)
            await some_turns()
            assert destroyed == [threading.get_ident()]

    asyncio.run(main())


@pytest.mark.parametrize("closed", [False, True], ids=["before", "after"])
def test_it_is_no_trouble_around_the_end_of_the_loop(closed: bool) -> None:
    """Nothing is called in a loop that is closed, and nothing comes of it in the next one."""
    pool = Pool(object, id, max_size=1)
    loans: list[Any] = []

    async def borrow() -> None:
        loans.append(pool.acquire())
        await loans[0].__aenter__()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(borrow())
        if not closed:
            loans.clear()
        loop.close()
        loans.clear()
        gc.collect()
        asyncio.run(borrow())
        asyncio.run(pool.aclose())
        loans.clear()
    assert sum("was dropped inside its block" in str(warning.message) for warning in told) == 2
    pool._check_invariants()


def test_a_loan_that_is_left_or_was_never_entered_is_none() -> None:
    """By its block, by an error, by a cancellation while it waits."""

    async def main() -> None:
        async with Pool(object, id, max_size=1) as pool, Pool(object, id, max_size=1) as other:
            other.acquire()
            async with pool.acquire():
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001), pool.acquire():
                        pass
            with pytest.raises(LookupError):
                async with pool.acquire():
                    raise LookupError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
