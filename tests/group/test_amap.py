"""amap: a function called for each item, so many at a time."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import anyio
import pytest

from lifecycle import TaskCancelled, amap

from ..conformance.loops import Run
from .sources import Gauge, each, fail_late, square
from .tasks import Boom, after, forever


@pytest.mark.parametrize("limit", [None, 1, 3, 100])
def test_amap_returns_results_in_order(run: Run, limit: int | None) -> None:
    """From iterables of either kind."""

    async def main() -> None:
        expected = [number * number for number in range(10)]
        assert await amap(square, range(10), limit=limit) == expected
        assert await amap(square, each(range(10)), limit=limit) == expected
        assert await amap(square, [], limit=limit) == []

    run(main)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
def test_amap_takes_no_more_than_slots_are_free(run: Run, asynchronous: bool) -> None:
    """The limit is held, and an endless source ends with the error of a call."""
    gauge = Gauge()

    async def work(number: int) -> int:
        if number == 20:
            raise Boom
        return await gauge.pass_through(number)

    async def main() -> None:
        source = gauge.watched(count())
        with pytest.raises(Boom):
            await amap(work, each(source) if asynchronous else source, limit=4)

    run(main)
    assert gauge.most == 4
    assert gauge.taken <= 24


def test_an_error_of_a_call_cancels_the_others(run: Run) -> None:
    """And is raised as it is when they have ended; several come as a group."""
    log: list[str] = []

    async def work(number: int) -> None:
        if number == 3:
            raise Boom
        await forever(log)

    async def work_badly(number: int) -> None:
        if number == 2:
            raise Boom
        await fail_late(KeyError())

    async def main() -> None:
        with pytest.raises(Boom):
            await amap(work, range(10), limit=4)
        with pytest.raises(ExceptionGroup, match="errors in amap"):
            await amap(work_badly, range(10), limit=3)

    run(main)
    assert log == ["task"] * 3


def test_calls_that_never_suspend_leave_room_for_others(run: Run) -> None:
    """An endless map of them can be cancelled, and the loop goes on."""
    calls = 0

    async def quick(number: int) -> int:
        nonlocal calls
        calls += 1
        return number

    async def main() -> None:
        for items in (count(), each_at_once()):
            task = asyncio.create_task(amap(quick, items, limit=2))
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def each_at_once() -> AsyncIterator[int]:
        for number in count():
            yield number

    run(main)
    assert 10 <= calls < 10_000


def test_a_call_that_is_cancelled_by_itself_is_an_error(run: Run) -> None:
    """It has no result, and the caller was not cancelled."""

    async def work(number: int) -> int:
        if number == 2:
            doomed = asyncio.create_task(after(10))
            doomed.cancel()
            await doomed
        return number

    async def main() -> None:
        for items in (range(5), each(range(5))):
            with pytest.raises(TaskCancelled):
                await amap(work, items, limit=2)

    run(main)


def test_a_cancelled_amap_cancels_and_joins(run: Run) -> None:
    """Natively and by a scope."""
    began: list[int] = []
    ended: list[int] = []

    async def work(number: int) -> None:
        began.append(number)
        await forever(ended, number)

    async def main() -> None:
        task = asyncio.create_task(amap(work, range(100), limit=3))
        while len(began) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with anyio.CancelScope() as scope:
            task = asyncio.create_task(cancel_when_two_began(scope))
            await amap(work, each(range(100)), limit=2)
        assert scope.cancelled_caught
        await task

    async def cancel_when_two_began(scope: anyio.CancelScope) -> None:
        began.clear()
        while len(began) < 2:
            await asyncio.sleep(0)
        scope.cancel()

    run(main)
    assert sorted(ended) == [0, 0, 1, 1, 2]


def test_amap_refuses_nonsense(run: Run) -> None:
    """Before anything runs."""

    async def main() -> None:
        with pytest.raises(TypeError):
            await amap(square, 5)  # type: ignore[arg-type]
        for limit in (0, -1):
            with pytest.raises(ValueError, match="limit"):
                await amap(square, [1], limit=limit)

    run(main)
