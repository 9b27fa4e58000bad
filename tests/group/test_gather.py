"""gather, amap, as_completed and race: results, errors, laziness, and nothing left on any exit."""

import asyncio
import contextlib
import contextvars
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import anyio
import pytest

from lifecycle import Completions, TaskCancelled, TaskHandle, amap, as_completed, gather, race
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules, run_virtual

from ..conformance.loops import RUNS, Run


class Boom(Exception):
    """An error of a task."""


async def after(seconds: float, value: Any = None) -> Any:
    """Return the value, or raise it."""
    await asyncio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


async def forever(log: list[Any], name: Any = "task") -> None:
    """Wait until cancelled, and note it."""
    try:
        await asyncio.Event().wait()
    finally:
        log.append(name)


async def fail_late(error: BaseException) -> None:
    """Fail while being cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        raise error


async def square(number: int) -> int:
    """Return the square, the later the smaller the number."""
    await asyncio.sleep(0.001 / (number + 1))
    return number * number


async def each(items: Any, log: list[str] | None = None) -> AsyncIterator[Any]:
    """Yield the items asynchronously; note when it is closed."""
    try:
        for item in items:
            yield item
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        if log is not None:
            log.append("closed")


class Gauge:
    """Counts how many are inside at once, and how many were taken from a source."""

    def __init__(self) -> None:
        self.inside = self.most = self.taken = 0

    async def pass_through(self, item: Any) -> Any:
        """Be inside for a moment."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        return item

    def watched(self, items: Any) -> Iterator[Any]:
        """Yield the items, and check that no more are taken than slots are free."""
        for item in items:
            self.taken += 1
            yield item


# gather


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
    """Nobody is cancelled for them, and one that was cancelled is a TaskCancelled."""

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
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await gather(forever(log), forever(log))
        with anyio.move_on_after(0.001):
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

    gc.disable()
    try:
        assert asyncio.run(main()) == [None] * 3
    finally:
        gc.enable()


# amap


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


# as_completed


def test_as_completed_yields_tasks_as_they_end(run: Run) -> None:
    """As handles that are done; an error is in its handle."""

    async def main() -> list[Any]:
        aws = [after(0.02, "last"), after(0.01, Boom()), after(0, "first")]
        seen: list[Any] = []
        async for handle in as_completed(aws):
            assert isinstance(handle, TaskHandle)
            assert handle.done
            seen.append(type(handle.exception) if handle.exception is not None else await handle)
        return seen

    assert run(main) == ["first", Boom, "last"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
def test_leaving_early_cancels_and_joins_the_rest(run: Run, asynchronous: bool) -> None:
    """By break, by return, by an error, which goes on as it is; generators are closed."""
    log: list[str] = []

    def aws() -> Any:
        makers = [lambda: after(0, 1), lambda: after(0, 2), lambda: forever(log), lambda: after(0, 3)]
        source = (make() for make in makers)
        return each(source, []) if asynchronous else source

    async def by_return() -> Any:
        async with as_completed(aws(), limit=3) as completions:
            async for handle in completions:
                return handle.result
        return None

    async def main() -> None:
        async with as_completed(aws(), limit=3) as completions:
            assert isinstance(completions, Completions)
            async for _ in completions:
                await asyncio.sleep(0.002)
                break
        assert await by_return() in {1, 2}
        error = Boom()
        with pytest.raises(Boom) as caught:
            async with as_completed(aws(), limit=3) as completions:
                async for _ in completions:
                    await asyncio.sleep(0.002)
                    raise error
        assert caught.value is error

    run(main)
    assert log.count("task") >= 2


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
def test_an_endless_source(run: Run, asynchronous: bool) -> None:
    """No more runs than the limit says, and a slow consumer is not buried in results."""
    gauge = Gauge()
    log: list[str] = []

    async def main() -> int:
        source = gauge.watched(gauge.pass_through(number) for number in count())
        seen = 0
        async with as_completed(each(source, log) if asynchronous else source, limit=3) as completions:
            async for _ in completions:
                seen += 1
                await asyncio.sleep(0.005)
                assert gauge.taken <= seen + 3 + 3
                if seen == 8:
                    break
        return seen

    assert run(main) == 8
    assert gauge.most == 3
    assert log == (["closed"] if asynchronous else [])


def test_a_source_that_ignores_its_cancellation(run: Run) -> None:
    """What it yields after the block has been left is closed, not started."""
    log: list[str] = []

    async def stubborn() -> AsyncIterator[Any]:
        yield after(0, 1)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        log.append("goes on")
        yield forever(log)

    async def main() -> None:
        async with as_completed(stubborn(), limit=2) as completions:
            await anext(completions)
            await asyncio.sleep(0)

    run(main)
    assert log == ["goes on"]


def test_an_error_of_the_iterable_comes_after_what_has_ended(run: Run) -> None:
    """And the rest is cancelled."""
    log: list[str] = []

    def source() -> Iterator[Any]:
        yield after(0, 1)
        yield forever(log)
        raise Boom

    async def main() -> None:
        for aws in (source(), each(source())):
            seen = []
            with pytest.raises(Boom):
                async with as_completed(aws, limit=2) as completions:
                    async for handle in completions:
                        seen.append(handle.result)
                        await asyncio.sleep(0.001)
            assert seen in ([], [1])
            with pytest.raises(TypeError, match="awaitable"):
                async for _ in as_completed([5]):  # type: ignore[list-item]
                    pass

    run(main)


def test_an_error_in_a_clean_up_is_raised(run: Run) -> None:
    """Of a task that was cancelled because the block was left; beside the body's, if there is one."""

    async def main() -> None:
        with pytest.raises(Boom):
            async with as_completed([after(0, 1), fail_late(Boom())]) as completions:
                await anext(completions)
        with pytest.raises(ExceptionGroup) as caught:
            async with as_completed([after(0, 1), fail_late(Boom())]) as completions:
                await anext(completions)
                raise KeyError
        assert {type(error) for error in caught.value.exceptions} == {Boom, KeyError}

    run(main)


def test_a_loop_without_a_block_leaves_nothing(run: Run) -> None:
    """When it runs to its end, and when it is cancelled while it waits."""
    log: list[str] = []

    async def loop() -> None:
        async for _ in as_completed([after(0, 1), forever(log)]):
            pass

    async def main() -> None:
        task = asyncio.create_task(loop())
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        completions = as_completed(each([after(0, 1), after(0, 2)]))
        assert [handle.result async for handle in completions] == [1, 2]
        assert [handle.result async for handle in completions] == []

    run(main)
    assert log == ["task"]


def test_a_loop_without_a_block_that_is_left_early_is_told_so() -> None:
    """The rest is cancelled, and a ResourceWarning names the remedy."""
    log: list[str] = []

    async def leave_early() -> None:
        async for _ in as_completed([after(0, 1), forever(log)]):
            await asyncio.sleep(0.001)
            break

    async def main() -> None:
        with pytest.warns(ResourceWarning, match="async with as_completed"):
            await leave_early()
        await asyncio.sleep(0.001)
        assert log == ["task"]

    for name, run_on in RUNS.items():
        if name != "virtual":  # its ledger is told of the loss, as it should be
            log.clear()
            run_on(main)


def test_one_that_is_never_used_leaves_nothing() -> None:
    """Coroutines that were handed over are closed."""

    async def main() -> None:
        as_completed([after(0), after(0)])
        with pytest.raises(ValueError, match="limit"):
            as_completed([], limit=0)

    asyncio.run(main())


def test_handles_in_hand_are_not_lost_in_a_cancellation(run: Run) -> None:
    """A consumer whose wait is ended by a timeout goes on where it was."""

    async def main() -> list[Any]:
        seen = []
        async with as_completed([after(0.004, 1), after(0.008, 2)]) as completions:
            for _ in range(40):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        seen.append((await anext(completions)).result)
                if len(seen) == 2:
                    break
        return seen

    assert run(main) == [1, 2]


# race


def test_race_returns_the_first_value(run: Run) -> None:
    """Errors lose, and the others are cancelled and joined."""
    log: list[str] = []

    async def main() -> list[Any]:
        return [
            await race(lambda: forever(log), lambda: after(0, Boom()), lambda: after(0.002, "won")),
            await race(lambda: after(0)),
        ]

    assert run(main) == ["won", None]
    assert log == ["task"]


def test_a_race_that_all_lose(run: Run) -> None:
    """A single error as it is, several as a group; one that was cancelled has lost."""
    error = Boom()

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            await race(lambda: after(0, error))
        assert caught.value is error
        with pytest.raises(ExceptionGroup, match="errors in race"):
            await race(lambda: after(0, error), lambda: after(0, KeyError()))
        with pytest.raises(TaskCancelled):
            await race(lambda: after(0, asyncio.CancelledError()))

    run(main)


def test_race_needs_functions(run: Run) -> None:
    """At least one, and asynchronous."""

    async def main() -> None:
        with pytest.raises(ValueError, match="at least one"):
            await race()
        with pytest.raises(TypeError):
            await race(lambda: 5)  # type: ignore[arg-type, return-value]

    run(main)


def test_a_cancelled_race_ends_cancelled(run: Run) -> None:
    """Also when some have lost already."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await race(lambda: forever(log), lambda: after(0, Boom()))

    run(main)
    assert log == ["task"]


# Everywhere


async def member(bubble: Bubble, name: str, seconds: float) -> str:
    """Hold something for a while, and let go of it in a clean-up that suspends."""
    with bubble.ledger.acquire(name):
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.sleep(0)
    return name


async def members(bubble: Bubble) -> AsyncIterator[Any]:
    """Yield coroutines while holding something."""
    with bubble.ledger.acquire("source"):
        try:
            for number in range(4):
                await asyncio.sleep(0.5)
                yield member(bubble, str(number), 1 + number)
        finally:
            await asyncio.sleep(0)


async def gathered(bubble: Bubble) -> None:
    assert await gather(*(member(bubble, name, 1) for name in "abc"), limit=2) == ["a", "b", "c"]


async def gathered_lazily(bubble: Bubble) -> None:
    assert len(await gather(members(bubble), limit=2)) == 4


async def gathered_with_errors(bubble: Bubble) -> None:
    await gather(member(bubble, "a", 1), after(0.5, Boom()), return_exceptions=True)


async def gathered_badly(bubble: Bubble) -> None:
    with contextlib.suppress(Boom):
        await gather(member(bubble, "a", 1), after(0.5, Boom()), member(bubble, "b", 2), limit=2)
    await asyncio.sleep(1)


async def mapped(bubble: Bubble) -> None:
    assert await amap(lambda number: member(bubble, str(number), 1 + number), range(5), limit=2) == list("01234")


async def mapped_lazily(bubble: Bubble) -> None:
    async def numbers() -> AsyncIterator[int]:
        with bubble.ledger.acquire("source"):
            for number in range(3):
                yield number
                await asyncio.sleep(0.5)

    await amap(lambda number: member(bubble, str(number), 1 + number), numbers(), limit=2)


async def completed(bubble: Bubble) -> None:
    async with as_completed(members(bubble), limit=2) as completions:
        async for _ in completions:
            await asyncio.sleep(0.1)


async def completed_early(bubble: Bubble) -> None:
    async with as_completed((member(bubble, str(n), 1 + n % 2) for n in count()), limit=2) as completions:
        async for handle in completions:
            if handle.name and handle.result == "3":
                break


async def completed_without_a_block(bubble: Bubble) -> None:
    async for _ in as_completed([member(bubble, str(number), 1 + number) for number in range(3)], limit=2):
        pass


async def raced(bubble: Bubble) -> None:
    await race(lambda: member(bubble, "a", 2), lambda: member(bubble, "b", 1), lambda: after(0.5, Boom()))


SCENARIOS = [
    gathered,
    gathered_lazily,
    gathered_with_errors,
    gathered_badly,
    mapped,
    mapped_lazily,
    completed,
    completed_early,
    completed_without_a_block,
    raced,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_wherever_it_is_struck(scenario: Any) -> None:
    """Cancelled natively, by a scope, by a timeout, twice, before a first step; errors in every wait; other orders."""
    explore_cancellation(scenario, schedules=2).assert_clean()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_in_any_order(scenario: Any) -> None:
    """Tasks that are ready at the same time run in any order."""
    explore_schedules(scenario, runs=50).assert_clean()


def test_a_scope_held_by_a_source_is_left_in_the_task_that_entered_it() -> None:
    """An asynchronous generator may hold anyio scopes: it is driven and closed by one task."""

    async def scoped(log: list[str]) -> AsyncIterator[Any]:
        with anyio.CancelScope():
            for number in count():
                yield after(0.1, number)
                log.append("read")

    async def scenario(bubble: Bubble) -> None:
        log: list[str] = []
        async with as_completed(scoped(log), limit=2) as completions:
            async for handle in completions:
                if handle.result == 5:
                    break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await gather(scoped(log), limit=2)

    run_virtual(scenario)
