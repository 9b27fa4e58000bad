"""What a task does to its group before its first suspension, where tasks may begin while they are being started."""

import asyncio
import weakref
from typing import Any

import pytest

from lifecycle import TaskGroup, TimeoutExpired, race

from ..collection import without_collection
from ..conformance.loops import Run
from .tasks import Boom, forever, kinds


def test_a_task_that_cancels_its_group_is_cancelled_itself(run: Run, start: Any) -> None:
    """Also if it is the only one, and does it before the group has it."""
    log: list[str] = []

    async def leader(group: TaskGroup) -> None:
        group.cancel()
        await forever(log, "leader")

    async def main() -> None:
        for others in (0, 2):
            async with TaskGroup() as group:
                for _ in range(others):
                    start(group, forever, log)
                start(group, leader, group)
            assert log.count("leader") == 1
            log.clear()

    run(main)


def test_a_task_that_is_started_by_the_one_that_fails_is_cancelled(run: Run, start: Any) -> None:
    """The failure comes from inside of the other's first step; both have ended when the block has."""
    log: list[str] = []

    async def fail() -> None:
        raise Boom

    async def starter(group: TaskGroup) -> None:
        start(group, fail)
        await forever(log, "starter")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                start(group, starter, group)
        assert kinds(caught.value) == ["Boom"]

    run(main)
    assert log == ["starter"]


def test_all_that_fail_at_once_are_heard(run: Run, start: Any) -> None:
    """Those that are started in the same step all begin, and each error is raised."""

    async def fail(error: Exception) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                start(group, fail, Boom())
                start(group, fail, KeyError())
        assert kinds(caught.value) == ["Boom", "KeyError"]

    run(main)


def test_a_race_is_won_at_once(run: Run) -> None:
    """By a function that never suspends; the other competitors begin all the same."""
    log: list[str] = []

    async def cached() -> str:
        return "from the cache"

    async def remote() -> str:
        await forever(log, "remote")
        return "from afar"

    async def main() -> None:
        assert await race(cached, remote) == "from the cache"

    run(main)
    assert log == ["remote"]


def test_no_time_at_all_is_over_at_the_first_suspension(run: Run) -> None:
    """Also if the body waits for nothing but the next turn, as in ``asyncio.timeout(0)``."""

    async def main() -> None:
        with pytest.raises(TimeoutExpired):
            async with TaskGroup(timeout=0):
                await asyncio.sleep(0)
        async with TaskGroup(timeout=0):
            pass

    run(main)


def test_a_group_that_is_over_keeps_nothing_of_its_block(run: Run) -> None:
    """Neither the task that ran it, nor what that task was cancelled with: both lead back to the group."""

    async def host(group: TaskGroup, fails: bool) -> None:
        async with group:
            await asyncio.sleep(0)
            if fails:
                raise Boom
            await asyncio.sleep(10)

    async def main() -> None:
        for fails in (True, False):
            group = TaskGroup()
            task = asyncio.create_task(host(group, fails))
            seen = weakref.ref(task)
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            del task
            await asyncio.sleep(0)
            assert seen() is None
            assert group.closed

    with without_collection():
        run(main)
