"""gather: results in order, errors, laziness, and nothing left on any exit."""

import asyncio
import contextvars
import weakref
from collections.abc import Iterator
from itertools import count
from typing import Any

import anyio
import pytest

from lifecycle import TaskCancelled, amap, gather, race

from ..collection import without_collection
from ..conformance.loops import Run
from ..loops import some_turns
from .sources import Gauge, each, fail_late, square
from .tasks import Boom, after, forever


def test_gather_returns_results_in_order(run: Run) -> None:
    """Whatever the order in which they come; coroutines, tasks, futures and other awaitables alike."""

    class Awaitable:
        def __await__(self) -> Any:
            yield
            return 4

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, future.set_result, 3)
        assert await gather() == []
        return await gather(after(0.002, 1), asyncio.create_task(after(0, 2)), future, Awaitable())

    assert run(main) == [1, 2, 3, 4]


def test_gather_takes_an_iterable_of_either_kind(run: Run) -> None:
    """A list, a generator, an asynchronous generator."""

    async def main() -> list[Any]:
        return [
            await gather([square(number) for number in range(4)]),
            await gather(square(number) for number in range(4)),
            await gather(each(square(number) for number in range(4))),
            await gather([]),
        ]

    assert run(main) == [[0, 1, 4, 9]] * 3 + [[]]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
def test_gather_takes_no_more_than_slots_are_free(run: Run, asynchronous: bool) -> None:
    """The limit is held, and the source is read only as far as needed."""
    gauge = Gauge()
    ahead: list[int] = []

    async def work(number: int) -> int:
        ahead.append(gauge.taken - number)
        return await gauge.pass_through(number)

    async def main() -> list[int]:
        source = gauge.watched(work(number) for number in range(10))
        return await gather(each(source) if asynchronous else source, limit=3)

    assert run(main) == list(range(10))
    assert gauge.most == 3
    assert max(ahead) <= 3


def test_the_first_error_cancels_the_rest_and_is_raised_as_it_is(run: Run) -> None:
    """When everything has ended; what had not begun is closed."""
    log: list[str] = []
    error = Boom()

    async def main() -> None:
        for limit in (None, 2):
            with pytest.raises(Boom) as caught:
                await gather(forever(log), after(0.001, error), square(1), square(2), limit=limit)
            assert caught.value is error
            assert error.__cause__ is None
            assert error.__context__ is None

    run(main)
    assert log == ["task", "task"]


def test_several_errors_come_as_a_group(run: Run) -> None:
    """One of the others may fail while it is cancelled."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup, match="errors in gather") as caught:
            await gather(fail_late(KeyError()), after(0.001, Boom()))
        assert {type(error) for error in caught.value.exceptions} == {KeyError, Boom}

    run(main)


def test_the_cause_of_an_error_is_kept(run: Run) -> None:
    """It arrives with the history that it had."""

    async def fail() -> None:
        try:
            raise KeyError
        except KeyError as error:
            raise Boom from error

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            await gather(fail())
        assert isinstance(caught.value.__cause__, KeyError)

    run(main)


def test_errors_as_results(run: Run) -> None:
    """No other is cancelled for them, and one that was cancelled is a TaskCancelled."""

    async def main() -> list[Any]:
        doomed = asyncio.create_task(after(10))
        asyncio.get_running_loop().call_later(0.001, doomed.cancel)
        results = await gather(after(0, Boom()), after(0.002, 1), doomed, return_exceptions=True)
        return [type(result) if isinstance(result, Exception) else result for result in results]

    assert run(main) == [Boom, 1, TaskCancelled]


def test_an_awaitable_cancelled_by_somebody_else_is_an_error(run: Run) -> None:
    """Of the caller, who was not cancelled: TaskCancelled, and the rest is cancelled."""
    log: list[str] = []

    async def main() -> None:
        doomed = asyncio.create_task(after(10))
        asyncio.get_running_loop().call_later(0.001, doomed.cancel)
        with pytest.raises(TaskCancelled, match="was cancelled"):
            await gather(forever(log), doomed)

    run(main)
    assert log == ["task"]


def test_a_cancelled_gather_cancels_and_joins(run: Run) -> None:
    """Tasks made elsewhere included."""
    log: list[str] = []

    async def main() -> None:
        other = asyncio.create_task(forever(log, "other"))
        task = asyncio.create_task(gather(forever(log), other))
        await some_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await gather(forever(log), forever(log))
        with anyio.move_on_after(0.1):
            await gather(forever(log))

    run(main)
    assert sorted(log) == ["other", "task", "task", "task", "task"]


def test_things_that_are_no_awaitables_are_refused(run: Run) -> None:
    """What was handed over beside them is closed."""

    async def main() -> None:
        with pytest.raises(TypeError, match="expected an awaitable"):
            await gather(square(1), 5, square(2))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await gather(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="limit"):
            await gather(square(1), square(2), limit=0)

    run(main)


def test_each_awaitable_has_its_own_context(run: Run) -> None:
    """Also under a limit."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def bump() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0)
        return variable.get()

    async def main() -> list[int]:
        return await gather(*(bump() for _ in range(5)), limit=2)

    assert run(main) == [1] * 5


def test_an_error_of_the_source_is_raised_as_it_is(run: Run) -> None:
    """And what was taken from it before is cancelled."""
    log: list[str] = []

    def source() -> Iterator[Any]:
        yield forever(log)
        raise Boom

    async def main() -> None:
        for aws in (source(), each(source(), log)):
            with pytest.raises(Boom):
                await gather(aws)
            with pytest.raises(Boom):
                await amap(lambda aw: aw, each(source()) if aws is not None else source())

    run(main)
    assert log.count("closed") == 1


def test_a_generator_is_closed_when_gather_ends_early(run: Run) -> None:
    """It is not left to the garbage collector."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(Boom):
            await gather(each((after(0.001, Boom()) for _ in count()), log), limit=2)
        assert log == ["closed"]

    run(main)


def test_a_gather_without_a_limit_leaves_room_for_others(run: Run) -> None:
    """A lazy source that never suspends can be cancelled while it is read."""

    async def main() -> None:
        aws = (after(0) for _ in range(1_000_000))
        task = asyncio.create_task(gather(aws))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_an_error_at_the_very_start_is_alone(run: Run) -> None:
    """Also where tasks begin eagerly, and the group is ending before the next could be started."""

    async def fail(number: int = 0) -> None:
        if number == 0:
            raise Boom
        await asyncio.sleep(10)

    async def main() -> None:
        with pytest.raises(Boom):
            await gather(fail(), after(10), after(10))
        with pytest.raises(Boom):
            await amap(fail, range(5))
        with pytest.raises(Boom):
            await gather(fail(), after(10), after(10), limit=1)

    run(main)


def test_no_cycle_keeps_an_error() -> None:
    """It is gone when the last reference to it is."""

    async def fail(_: int = 0) -> None:
        await asyncio.sleep(0)
        raise Boom

    async def main() -> list[Any]:
        watched = []
        for call in (lambda: gather(fail(), after(1)), lambda: amap(fail, [1]), lambda: race(fail)):
            try:
                await call()
            except Boom as error:
                watched.append(weakref.ref(error))
        return [reference() for reference in watched]

    with without_collection():
        assert asyncio.run(main()) == [None] * 3
