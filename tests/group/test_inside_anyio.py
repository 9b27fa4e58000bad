"""A TaskGroup inside anyio's cancel scopes and task groups, and those inside it."""

import asyncio
from typing import Any

import anyio
import pytest
from anyio._backends._asyncio import CancelScope

from lifecycle import TaskGroup
from lifecycle.testing import Bubble, run_virtual

from ..conformance.loops import Run
from ..loops import some_turns
from .tasks import Boom, after, forever, me


def test_a_host_in_a_cancelled_scope_joins_without_spinning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks are cancelled and waited for while the loop sleeps, and the scope takes its cancellation back."""
    log: list[str] = []
    deliveries = 0
    deliver: Any = CancelScope._deliver_cancellation

    def count_delivery(*args: Any) -> Any:
        nonlocal deliveries
        deliveries += 1
        return deliver(*args)

    async def main() -> None:
        async def slow() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.set()
                await may_end.wait()
                log.append("task")

        async def watch() -> int:
            await stopped.wait()
            before = deliveries
            await some_turns()  # in each of which a scope delivers to a host that does not get on
            may_end.set()
            return deliveries - before

        stopped, may_end = asyncio.Event(), asyncio.Event()
        watching = asyncio.create_task(watch())
        with anyio.CancelScope() as scope:
            async with TaskGroup() as group:
                group.create_task(slow())
                group.start_soon(slow)
                await some_turns()
                scope.cancel()
        assert scope.cancelled_caught
        assert log == ["task", "task"]
        await asyncio.sleep(0)
        assert me().cancelling() == 0
        assert await watching < 5

    monkeypatch.setattr(CancelScope, "_deliver_cancellation", count_delivery)
    run(main)


def test_a_native_cancellation_is_not_lost_behind_one_by_a_scope() -> None:
    """Both reach the host, and a task fails: errors first, then, outside the scope, the native one."""

    async def fail_slowly() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)
            raise Boom

    async def host(log: list[str]) -> None:
        try:
            with anyio.move_on_after(1):
                async with TaskGroup() as group:
                    group.create_task(fail_slowly())
                    await asyncio.sleep(10)
        except* Boom:
            log.append("errors")
        await asyncio.sleep(1)
        log.append("never")

    async def scenario(bubble: Bubble) -> None:
        log: list[str] = []
        task = asyncio.create_task(host(log))
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["errors"]

    run_virtual(scenario)


def test_the_loop_sleeps_while_a_cancelled_host_joins() -> None:
    """Counted in loop steps, which a redelivered cancellation would use up by the thousand."""

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)

    async def scenario(bubble: Bubble) -> int:
        with anyio.move_on_after(1):
            async with TaskGroup() as group:
                group.create_task(slow())
        return bubble.loop.steps

    assert run_virtual(scenario) < 100


def test_a_scope_cancelled_while_the_group_joins(run: Run) -> None:
    """The deadline of an anyio scope reaches the tasks through their host."""
    log: list[str] = []

    async def main() -> None:
        with anyio.move_on_after(0.1) as scope:
            async with TaskGroup() as group:
                group.create_task(forever(log))
                group.start_soon(forever, log)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.1):
                async with TaskGroup() as group:
                    group.create_task(forever(log))
        assert me().cancelling() == 0

    run(main)
    assert log == ["task"] * 3


def test_groups_in_groups_of_both_libraries(run: Run) -> None:
    """An error at the bottom arrives at the top, through ours in anyio's in ours."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as top:
                top.create_task(forever(log, "top"))
                async with anyio.create_task_group() as middle:
                    middle.start_soon(forever, log, "middle")
                    async with TaskGroup() as bottom:
                        bottom.start_soon(forever, log, "bottom")
                        bottom.create_task(after(0.001, Boom()))
        error: BaseException = caught.value
        depth = 0
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
            depth += 1
        assert isinstance(error, Boom)
        assert depth == 3
        await asyncio.sleep(0)
        assert me().cancelling() == 0

    run(main)
    assert sorted(log) == ["bottom", "middle", "top"]


def test_a_cancelled_anyio_group_ends_a_group_inside(run: Run) -> None:
    """Ours in a task of an anyio group whose scope is cancelled."""
    log: list[str] = []

    async def hosted() -> None:
        async with TaskGroup() as group:
            group.create_task(forever(log))
            await forever(log, "body")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(hosted)
            await some_turns()
            group.cancel_scope.cancel()

    run(main)
    assert log == ["body", "task"]


def test_the_scopes_of_tasks_are_their_own(run: Run) -> None:
    """Scopes, shields and anyio's task groups work inside tasks of the group."""

    async def work() -> str:
        with anyio.move_on_after(0.001) as scope:
            await asyncio.sleep(10)
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(asyncio.sleep, 0)
        return "fine"

    async def main() -> None:
        async with TaskGroup() as group:
            task, handle = group.create_task(work()), group.start_soon(work)
        assert (task.result(), handle.result()) == ("fine", "fine")

    run(main)
