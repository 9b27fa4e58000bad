"""TaskGroup.cancel, cancellations from elsewhere, and sections shielded from both."""

import asyncio
from typing import Any

import anyio
import pytest

from lifecycle import OwnerClosed, TaskGroup, TaskHandle

from ..conformance.loops import RUNS, Run
from .tasks import Boom, after, forever, kinds, me


def test_cancel_ends_the_block_without_an_error(run: Run, start: Any) -> None:
    """Called in the body, it ends that at its next suspension."""
    log: list[str] = []

    async def main() -> str:
        async with TaskGroup() as group:
            start(group, forever, log)
            await asyncio.sleep(0)
            group.cancel("enough")
            group.cancel("more than enough")
            await forever(log, "body")
        await asyncio.sleep(0)
        assert me().cancelling() == 0
        return "after"

    assert run(main) == "after"
    assert sorted(log) == ["body", "task"]


def test_cancel_as_the_last_word_of_the_body(run: Run) -> None:
    """No suspension follows, and nothing of it hits what comes after the block."""

    async def main() -> str:
        for tasks in (0, 3):
            async with TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(after(10))
                group.cancel()
            await asyncio.sleep(0)
            assert group.statistics().cancelled == tasks
        assert me().cancelling() == 0
        return "after"

    assert run(main) == "after"


def test_cancel_from_a_task_of_the_group(run: Run, start: Any) -> None:
    """It is cancelled with the others, at its next suspension."""
    log: list[str] = []

    async def stop(group: TaskGroup) -> None:
        await asyncio.sleep(0)
        group.cancel("found it")
        log.append("told")
        await asyncio.sleep(0)
        log.append("never")

    async def main() -> None:
        async with TaskGroup() as group:
            start(group, forever, log)
            start(group, stop, group)

    run(main)
    assert log == ["told", "task"]


def test_cancel_before_and_after_the_block(run: Run) -> None:
    """Before: the body ends at its first suspension, and nothing can be started. After: nothing."""
    log: list[str] = []

    async def main() -> None:
        group = TaskGroup()
        group.cancel("not wanted")
        async with group:
            with pytest.raises(OwnerClosed, match="is shutting down"):
                group.create_task(after(0))
            await forever(log, "body")
        group.cancel()
        await asyncio.sleep(0)

    run(main)
    assert log == ["body"]


def test_errors_of_a_cancelled_group_are_raised(run: Run) -> None:
    """Of the clean-up of tasks and body."""

    async def fail_late(error: Exception) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                group.create_task(fail_late(Boom()))
                await asyncio.sleep(0)
                group.cancel()
                await fail_late(KeyError())
        assert kinds(caught.value) == ["Boom", "KeyError"]

    run(main)


def test_a_cancellation_of_the_host_is_not_swallowed_by_cancel(run: Run) -> None:
    """Both at once: the block ends, and the host is cancelled."""

    async def main() -> None:
        for order in ("group first", "host first"):
            groups: list[TaskGroup] = []

            async def host(groups: list[TaskGroup]) -> None:
                async with TaskGroup() as group:
                    groups.append(group)
                    await asyncio.sleep(10)

            task = asyncio.create_task(host(groups))
            await asyncio.sleep(0.001)
            if order == "group first":
                groups[0].cancel()
                task.cancel()
            else:
                task.cancel()
                groups[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelling() == 1

    run(main)


def test_a_cancellation_by_somebody_else_before_the_first_step(run: Run) -> None:
    """Then there is nothing to clean up; the group notices, and closes the coroutine."""

    async def main() -> None:
        current = me()
        async with TaskGroup() as group:
            group.create_task(after(10))
            handle = group.start_soon(after, 10)
            for task in asyncio.all_tasks() - {current}:
                task.cancel()
        assert handle.status.value == "cancelled"
        async with TaskGroup(limit=1) as group:
            group.create_task(after(10))
            group.create_task(after(10))
            group.start_soon(after, 10)
            for task in asyncio.all_tasks() - {current}:
                task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {current}:
                task.cancel()
        group._members._check_invariants()

    run(main)


@pytest.mark.parametrize("limit", [None, 1])
def test_such_a_cancellation_while_the_group_joins(limit: int | None) -> None:
    """Of a task that was started, or got its slot, after the body had been left."""

    async def main() -> None:
        host = me()

        def cancel_all_but_the_host() -> None:
            for task in asyncio.all_tasks() - {host}:
                task.cancel()

        async def starter(group: TaskGroup) -> TaskHandle[None]:
            await asyncio.sleep(0)
            handle = group.start_soon(after, 10)
            loop = asyncio.get_running_loop()
            if limit is None:
                cancel_all_but_the_host()
            else:
                loop.call_soon(loop.call_soon, cancel_all_but_the_host)  # between getting its slot and its first step
            return handle

        async with TaskGroup(limit=limit) as group:
            group.create_task(starter(group))
        assert group.statistics().cancelled >= 1

    RUNS["virtual"](main)  # which says so when no task can run any more


def test_a_shield_of_a_task_is_respected(run: Run, start: Any) -> None:
    """The section ends, then the task is cancelled; a task that ends with its section is not."""
    log: list[str] = []

    async def shielded(more: float) -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.004)
            log.append("section")
        await asyncio.sleep(more)
        log.append("never")

    async def main() -> None:
        async with TaskGroup() as group:
            start(group, shielded, 10)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            group.cancel()

    run(main)
    assert log == ["section"]


def test_a_shield_of_the_body_is_respected(run: Run) -> None:
    """An error interrupts the body when its shielded section has ended."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with TaskGroup() as group:
                group.create_task(after(0.001, Boom()))
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.004)
                    log.append("section")
                await asyncio.sleep(10)
                log.append("never")
        with pytest.raises(ExceptionGroup):
            async with TaskGroup() as group:
                group.create_task(after(0.001, Boom()))
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.004)
                log.append("left without another suspension")
        await asyncio.sleep(0)
        assert me().cancelling() == 0

    run(main)
    assert log == ["section", "left without another suspension"]
