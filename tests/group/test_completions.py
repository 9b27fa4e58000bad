"""as_completed: handles as their tasks end, and what becomes of the rest."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import anyio
import pytest

from lifecycle import TaskHandle, as_completed, gather
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import Completions

from ..conformance.loops import RUNS, Run
from ..loops import some_turns
from .sources import Gauge, each, fail_late
from .tasks import Boom, after, forever


def test_as_completed_yields_tasks_as_they_end(run: Run) -> None:
    """As handles that are done; an error is in its handle."""

    async def main() -> list[Any]:
        aws = [after(0.02, "last"), after(0.01, Boom()), after(0, "first")]
        seen: list[Any] = []
        async for handle in as_completed(aws):
            assert isinstance(handle, TaskHandle)
            assert handle.done()
            seen.append(type(handle.exception()) if handle.exception() is not None else await handle)
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
                return handle.result()
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
                        seen.append(handle.result())
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
        await some_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        completions = as_completed(each([after(0, 1), after(0, 2)]))
        assert [handle.result() async for handle in completions] == [1, 2]
        assert [handle.result() async for handle in completions] == []

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
                        seen.append((await anext(completions)).result())
                if len(seen) == 2:
                    break
        return seen

    assert run(main) == [1, 2]


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
                if handle.result() == 5:
                    break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await gather(scoped(log), limit=2)

    run_virtual(scenario)


@pytest.mark.parametrize("in_block", [True, False])
def test_a_cancellation_keeps_its_message(run: Run, in_block: bool) -> None:
    """It is the one by which its requester knows it, and not one by which the rest is stopped."""
    seen: list[object] = []

    async def consume() -> None:
        completions = as_completed([asyncio.sleep(60)])
        try:
            async with completions if in_block else contextlib.nullcontext():
                async for _ in completions:
                    pass
        except asyncio.CancelledError as error:
            seen.append(error.args)
            raise

    async def main() -> None:
        task = asyncio.create_task(consume())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("as asked")
        await asyncio.wait([task])
        assert task.cancelling() == 1

    run(main)
    assert seen == [("as asked",)]


def test_who_has_opened_them_is_not_interrupted_where_another_task_leaves_them(run: Run) -> None:
    """The cancellation would be one that nobody has asked for, and nobody takes back."""

    async def leave(completions: Any) -> None:
        await completions.__aexit__(None, None, None)

    async def main() -> int:
        completions = as_completed([asyncio.sleep(60)])
        await completions.__aenter__()
        await asyncio.create_task(leave(completions))
        await asyncio.sleep(0)
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    assert run(main) == 0
