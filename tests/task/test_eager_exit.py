"""A task that ends the process in its first step, where that is made inside the step of whoever starts it."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import ReaderWorker, Scope, TaskGroup, TaskManager, fixed_rate, gather, race

from ..loops import LOOPS
from ..tracked import ROOT


async def leave(*_: object) -> None:
    """End the process."""
    sys.exit(3)


async def forever(*_: object) -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


async def from_scope() -> None:
    async with Scope() as scope:
        scope.start_soon(leave)
        await forever()


async def from_group() -> None:
    async with TaskGroup() as group:
        group.start_soon(leave)
        await forever()


async def from_native_task() -> None:
    async with TaskGroup() as group:
        group.create_task(leave())
        await forever()


async def from_manager() -> None:
    async with TaskManager() as manager:
        manager.start_soon(leave)
        await forever()


async def from_eager_manager() -> None:
    async with TaskManager(eager=True) as manager:
        manager.start_soon(leave)
        await forever()


async def from_line() -> None:
    async with TaskManager(limit=1) as manager:
        manager.start_soon(asyncio.sleep, 0.001)
        manager.start_soon(leave)
        await forever()


async def from_timer() -> None:
    async with Scope() as scope:
        scope.start_soon(fixed_rate(leave, 0.001))
        await forever()


async def from_pair() -> None:
    async with ReaderWorker(leave, forever) as pair:
        await pair.wait()
        await forever()


async def from_gather() -> None:
    await gather(leave(), forever())


async def from_race() -> None:
    await race(leave, forever)


STARTS = [
    from_scope, from_group, from_native_task, from_manager, from_eager_manager, from_line, from_timer,
    from_gather, from_race,
]  # fmt: skip


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)
def test_it_ends_the_process(new_loop: Callable[[], Any], start: Callable[[], Awaitable[None]]) -> None:
    """The exit leaves the loop as it is: no error of our books takes its place, and it is not lost in a line."""

    async def main() -> None:
        await start()

    loop = new_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncio complains that nobody asked for the error
    with pytest.raises(SystemExit) as caught:
        loop.run_until_complete(main())
    assert caught.value.code == 3
    for _ in range(5):  # the end of a process is no clean one, and more than one task may want it
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        try:
            loop.run_until_complete(asyncio.wait(left, timeout=1) if left else asyncio.sleep(0))
        except (SystemExit, RuntimeError):
            continue
    loop.close()


def test_a_loop_of_a_pair_ends_the_process() -> None:
    """In one of its own: the block of the pair cannot end without its loop, and would be left to later tests."""
    code = "import asyncio, tests.task.test_eager_exit as t; asyncio.new_event_loop().run_until_complete(t.from_pair())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_the_books_are_in_order_afterwards() -> None:
    """The task has failed, once, and its slot is free."""
    managers: list[TaskManager] = []

    async def main() -> None:
        manager = TaskManager(limit=1, eager=True)
        managers.append(manager)
        assert manager.start_soon(leave).done()
        await asyncio.sleep(0.001)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    (manager,) = managers
    statistics = manager.statistics()
    assert (statistics.running, statistics.failed, statistics.accepted) == (0, 1, 1)
    manager._check_invariants()
