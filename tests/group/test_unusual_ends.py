"""Unusual ends: generators closed, a host that has gone, a clean-up, a task factory that refuses."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lifecycle import TaskGroup
from lifecycle.testing import Bubble, run_virtual

from ..collection import without_collection
from ..conformance.loops import Run
from .tasks import Boom, after, forever, kinds, me


def test_a_generator_that_holds_a_group_can_be_closed(run: Run) -> None:
    """GeneratorExit asks it to end: the tasks are joined, and no error comes of it."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        async with TaskGroup() as group:
            group.create_task(forever(log))
            for number in range(3):
                await asyncio.sleep(0)
                yield number

    async def main() -> None:
        generator = numbers()
        assert await anext(generator) == 0
        await generator.aclose()  # type: ignore[attr-defined]

    run(main)
    assert log == ["task"]


def test_an_error_after_the_host_has_gone_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A block that was abandoned with its generator has no task to raise it in."""

    async def main() -> None:
        group = TaskGroup(name="pages")

        async def host() -> None:
            await group.__aenter__()
            group.create_task(after(0.001, Boom()), name="first page")

        await asyncio.create_task(host())
        await asyncio.sleep(0.005)

    asyncio.run(main())
    (record,) = caplog.records
    assert record.getMessage() == "task failed after the task of its block had ended"
    assert (record.owner, record.task) == ("pages", "first page")  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


def test_a_group_in_a_clean_up_is_left_alone() -> None:
    """A host that was cancelled before, and cleans up with a group, is not cancelled again by an error in it."""

    async def scenario(bubble: Bubble) -> str:
        async def host() -> str:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                with contextlib.suppress(ExceptionGroup):
                    async with TaskGroup() as group:
                        group.create_task(after(0.001, Boom()))
                        await asyncio.sleep(10)
                async with TaskGroup(timeout=5) as group:
                    group.create_task(after(1))
                    group.cancel()
                await asyncio.sleep(1)
                assert me().cancelling() == 1
                return "cleaned up"
            return "never"

        task = asyncio.create_task(host())
        await asyncio.sleep(1)
        task.cancel()
        return await task

    assert run_virtual(scenario) == "cleaned up"


def test_what_is_raised_refers_to_nothing_else() -> None:
    """No cycle keeps an error alive, nor the group that raised it."""

    async def main() -> tuple[Any, Any]:
        group = TaskGroup()
        try:
            async with group:
                group.create_task(after(0, Boom()))
                group.start_soon(after, 0, Boom())
        except ExceptionGroup as error:
            watched = weakref.ref(error)
        watched_group = weakref.ref(group)
        return watched, watched_group

    with without_collection():
        watched, watched_group = asyncio.run(main())
        assert watched() is None
        assert watched_group() is None


def test_a_task_factory_that_refuses(start: Any) -> None:
    """Its error is an error of the body, or of the group; nothing is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        refusing = False

        def make(loop: Any, coro: Any, **options: Any) -> Any:
            if refusing:
                coro.close()
                raise Boom
            return asyncio.Task(coro, loop=loop, **options)

        loop.set_task_factory(make)
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                refusing = True
                try:
                    start(group, after, 0)
                finally:
                    refusing = False
                await asyncio.sleep(10)
        assert kinds(caught.value) == ["Boom"]

    asyncio.run(main())
