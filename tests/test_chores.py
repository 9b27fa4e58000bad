"""Chores and finalizers on loops that start tasks eagerly, and errors that are no exceptions."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import Pool, Registry, TaskCancelled

from .loops import on_every_loop, run_on

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Odd(BaseException):
    """An error that is no Exception, and ends no process."""


@on_every_loop
def test_a_factory_that_never_suspends_leaves_no_chore(new_loop: NewLoop) -> None:
    """Also where tasks start eagerly, and it has ended before its task is known."""

    async def make() -> int:
        return 1

    async def main() -> None:
        async with Registry[str, int]() as registry, Pool(make, lambda value: None, max_size=1) as pool:
            assert await registry.get_or_create("a", make) == 1
            async with pool.acquire() as value:
                assert value == 1
            for owner in (registry, pool):
                owner._check_invariants()
            assert not registry._creations.chores.live
            assert not pool._workshop.chores.live

    run_on(new_loop, main())


@on_every_loop
def test_a_finalizer_never_runs_inside_the_step_that_submits(new_loop: NewLoop) -> None:
    """One that puts under the key that is being replaced would find the books half written."""
    ended: list[int] = []

    async def main() -> None:
        async def end(value: int) -> None:
            ended.append(value)
            if value < 3:
                registry.put("a", value + 10)

        async with Registry[str, int](finalizer=end) as registry:
            registry.put("a", 1)
            registry.put("a", 2)
            assert ended == []
            registry._check_invariants()
            await asyncio.sleep(0.01)
            registry._check_invariants()
            assert registry.get("a") == 12
        statistics = registry.statistics()
        assert statistics.opened == statistics.closed == len(ended)

    run_on(new_loop, main())


@on_every_loop
def test_a_finalizer_may_close_the_registry_in_its_first_step(new_loop: NewLoop) -> None:
    """It waits for all but itself."""
    ended: list[int] = []

    async def main() -> None:
        async def end(value: int) -> None:
            await registry.aclose()
            ended.append(value)

        registry = Registry[str, int](finalizer=end)
        registry.put("a", 1)
        registry.put("b", 2)
        registry.discard("a")
        async with asyncio.timeout(5):
            await registry.aclose()
            await asyncio.sleep(0)
        assert sorted(ended) == [1, 2]

    run_on(new_loop, main())


@on_every_loop
def test_finalizers_that_clear_do_not_wait_for_each_other(new_loop: NewLoop) -> None:
    """Each takes everything out, and goes on."""

    async def main() -> None:
        async def end(value: int) -> None:
            await asyncio.sleep(0)
            await registry.clear()

        async with Registry[int, int](finalizer=end) as registry:
            for number in range(5):
                registry.put(number, number)
            async with asyncio.timeout(5):
                await registry.clear()
            assert registry.statistics().closed == 5

    run_on(new_loop, main())


def raises(kind: type[BaseException]) -> Callable[..., Any]:
    def work(*_: object) -> Any:
        raise kind("planned")

    return work


def raises_later(kind: type[BaseException]) -> Callable[..., Any]:
    async def work(*_: object) -> Any:
        await asyncio.sleep(0)
        raise kind("planned")

    return work


TOLD = {Odd: Odd, asyncio.CancelledError: TaskCancelled, OSError: OSError}


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("failing", [raises, raises_later])
@on_every_loop
def test_whatever_destroy_raises_the_pool_closes(
    new_loop: NewLoop, failing: Callable[[type[BaseException]], Any], kind: type[BaseException]
) -> None:
    """Every value is ended, the close raises the error, and a second one finds it closed."""

    async def main() -> None:
        pool = Pool(object, failing(kind), max_size=2)
        async with pool.acquire(), pool.acquire():
            pass
        with pytest.raises(BaseExceptionGroup) as caught:
            await pool.aclose()
        assert [type(error) for error in caught.value.exceptions] == [TOLD[kind]] * 2
        await pool.aclose()
        assert pool.closed
        assert pool.statistics().destroyed == 2

    run_on(new_loop, main())


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("failing", [raises, raises_later])
@on_every_loop
def test_whatever_create_raises_the_line_goes_on(
    new_loop: NewLoop, failing: Callable[[type[BaseException]], Any], kind: type[BaseException]
) -> None:
    """The first borrower is told, and leaves no place in the line; the next gets a value."""
    tries: list[Callable[[], Any]] = [failing(kind), object]

    async def main() -> None:
        async with Pool(lambda: tries.pop(0)(), lambda value: None, max_size=1) as pool:
            with pytest.raises(TOLD[kind]):
                async with pool.acquire():
                    pytest.fail("was lent")
            assert not pool._waiting
            async with pool.acquire(timeout=5.0):
                pool._check_invariants()

    run_on(new_loop, main())


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("failing", [raises, raises_later])
def test_whatever_reset_and_check_raise_the_value_is_replaced(
    failing: Callable[[type[BaseException]], Any], kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The one who returned it is not told, and the next one gets another."""
    ended: list[object] = []

    async def main() -> None:
        for step in ("reset", "check"):
            async with Pool(object, ended.append, max_size=1, check_bypass=0.0, **{step: failing(kind)}) as pool:
                async with pool.acquire():
                    pass
                async with pool.acquire(timeout=5.0):
                    pool._check_invariants()
                    assert len(ended) == 1
                await asyncio.sleep(0.01)
            ended.clear()

    run_on(asyncio.new_event_loop, main())


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("failing", [raises, raises_later])
@on_every_loop
def test_whatever_a_finalizer_raises_the_others_run(
    new_loop: NewLoop, failing: Callable[[type[BaseException]], Any], kind: type[BaseException]
) -> None:
    """And the close raises all of it."""

    async def main() -> None:
        registry = Registry[str, int](finalizer=failing(kind))
        for key in "abc":
            registry.put(key, 1)
        with pytest.raises(BaseExceptionGroup) as caught:
            await registry.aclose()
        assert len(caught.value.exceptions) == 3
        assert not any(isinstance(error, asyncio.CancelledError) for error in caught.value.exceptions)
        assert registry.statistics().closed == 3

    run_on(new_loop, main())


@pytest.mark.parametrize("step", ["create", "destroy"])
def test_a_fatal_error_ends_the_process_and_leaves_the_books_in_order(step: str) -> None:
    """A KeyboardInterrupt in a synchronous step of a pool comes out of the loop, not out of somebody's loan."""
    steps: dict[str, Callable[..., Any]] = {"create": object, "destroy": lambda value: None}
    steps[step] = raises(KeyboardInterrupt)
    pool: Pool[object] = Pool(steps["create"], steps["destroy"], max_size=1)

    async def borrow() -> None:
        async with pool.acquire() as value:
            assert value is not None
            pool.expire()
        await asyncio.sleep(1)

    loop = asyncio.new_event_loop()
    try:
        borrowing = loop.create_task(borrow())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(borrowing)
        pool._check_invariants()
        assert len(pool) == 0
        if step == "create":
            with pytest.raises(TaskCancelled, match="KeyboardInterrupt"):
                loop.run_until_complete(borrowing)
        else:
            assert not borrowing.done()
            loop.run_until_complete(borrowing)
        loop.run_until_complete(pool.aclose())
    finally:
        loop.close()


def test_what_fails_at_once_does_not_nest() -> None:
    """Four hundred values fail a synchronous check, and end at once, for one borrower."""

    async def main() -> None:
        async with Pool(object, lambda value: None, max_size=400, check=lambda value: False, check_bypass=0.0) as pool:
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(400):
                    await stack.enter_async_context(pool.acquire())
            async with pool.acquire():
                pool._check_invariants()
                assert pool.statistics().check_failures == 400

    run_on(asyncio.new_event_loop, main())


def test_a_pool_whose_values_cannot_be_lent_is_refused() -> None:
    """A lifetime of nothing would make and end values for ever."""
    with pytest.raises(ValueError, match="more than 0"):
        Pool(object, lambda value: None, max_size=1, max_lifetime=0.0)


def test_a_close_does_not_walk_over_the_chores_that_have_ended() -> None:
    """Each end of one asks whether it was the last: the first of those that live stands behind all that have ended."""

    async def end(_: object) -> None:
        await asyncio.sleep(0)

    class Watched(dict[Any, Any]):
        def __iter__(self) -> Any:
            looks.append(len(self))
            return super().__iter__()

    async def main() -> None:
        async with Pool(object, end, max_size=100, min_size=100) as pool:
            await pool.drain()
            while pool.statistics().idle < 100:
                await asyncio.sleep(0)
            pool._workshop.chores.live = Watched()
        assert max(looks, default=0) <= 1

    looks: list[int] = []
    asyncio.run(main())
