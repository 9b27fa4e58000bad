"""The limit of a TaskGroup: who runs, who stands in line, and what becomes of the line."""

import asyncio
import contextvars
from typing import Any

import pytest

from lifecycle import TaskGroup

from ..conformance.loops import RUNS, Run
from ..loops import some_turns
from .tasks import Boom, after, me


def test_no_more_run_than_the_limit_allows(run: Run) -> None:
    """Those in line start in order, whichever way they came, as others end."""
    running = most = 0
    began: list[int] = []

    async def work(number: int) -> int:
        nonlocal running, most
        began.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    async def main() -> None:
        async with TaskGroup(limit=3) as group:
            tasks = [group.create_task(work(number)) for number in range(4)]
            handles = [group.start_soon(work, number) for number in range(4, 8)]
            assert group.statistics().pending == 5
            assert group.statistics().running == 3
        assert [task.result() for task in tasks] == [0, 1, 2, 3]
        assert [handle.result() for handle in handles] == [4, 5, 6, 7]

    run(main)
    assert most == 3
    assert sorted(began) == list(range(8))


def test_a_task_in_line_is_a_task_from_the_start(run: Run) -> None:
    """It has its name, runs in its context and in itself, and can be awaited."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    async def work() -> tuple[str, str]:
        await asyncio.sleep(0)
        variable.set("inside")
        return me().get_name(), variable.get()

    async def main() -> None:
        context = contextvars.copy_context()
        async with TaskGroup(limit=1) as group:
            group.create_task(after(0.001))
            task = group.create_task(work(), name="in line", context=context)
            assert task.get_name() == "in line"
            assert not task.done()
            assert await task == ("in line", "inside")
        assert context[variable] == "inside"
        assert variable.get() == "outside"

    run(main)


def test_tasks_in_line_can_be_cancelled(run: Run, start: Any) -> None:
    """They never begin, their coroutines are closed, and the slot goes to the next."""
    began: list[str] = []

    async def work(name: str) -> None:
        began.append(name)
        await asyncio.sleep(0)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(after(0.1))
            doomed, other = start(group, work, "doomed"), start(group, work, "other")
            await some_turns()
            doomed.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert group.statistics().cancelled == 1
        assert other.done()

    run(main)
    assert began == ["other"]


def test_an_error_drops_what_is_in_line(run: Run, start: Any) -> None:
    """Not one of them begins."""
    began: list[str] = []

    async def work() -> None:
        began.append("work")

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with TaskGroup(limit=1) as group:
                group.create_task(after(0.001, Boom()))
                for _ in range(5):
                    start(group, work)
        assert group.statistics().cancelled == 5
        group._members._check_invariants()

    run(main)
    assert began == []


def test_a_task_that_gets_its_slot_in_the_moment_of_an_error_does_not_begin() -> None:
    """It finds a free slot in its first step, but the group has begun to end."""
    began: list[str] = []

    async def work() -> None:
        began.append("work")

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with TaskGroup(limit=1) as group:
                group.create_task(after(0))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task = group.create_task(work())
                raise Boom
        assert task.cancelled()

    for name, run_on in RUNS.items():
        if name != "eager":  # there it begins before the error
            run_on(main)
    assert began == []


def test_a_slot_granted_in_the_moment_of_a_cancellation_is_not_lost(run: Run) -> None:
    """The next in line gets it."""

    async def main() -> list[Any]:
        results = []
        for ticks in range(6):
            async with TaskGroup(limit=1) as group:
                first = group.create_task(asyncio.sleep(0, "first"))
                second = group.create_task(asyncio.sleep(0, "second"))
                third = group.create_task(asyncio.sleep(0, "third"))
                for _ in range(ticks):
                    await asyncio.sleep(0)
                second.cancel()
                results.append(await asyncio.wait_for(third, 1))
            assert first.result() == "first"
            group._members._check_invariants()
        return results

    assert run(main) == ["third"] * 6


def test_tasks_that_start_tasks_respect_the_limit(run: Run) -> None:
    """Also those that begin eagerly, and those that come while the group joins."""
    running = most = 0

    async def grow(group: TaskGroup, depth: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if depth:
            group.create_task(grow(group, depth - 1))
            group.start_soon(grow, group, depth - 1)
        await asyncio.sleep(0)
        running -= 1

    async def main() -> int:
        async with TaskGroup(limit=2) as group:
            group.create_task(grow(group, 4))
        return group.statistics().finished

    assert run(main) == 31
    assert most == 2
