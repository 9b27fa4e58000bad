"""The timeout of a TaskGroup: what it covers, and what comes before it."""

import asyncio
from typing import Any

import pytest

from lifecycle import TaskGroup
from lifecycle.testing import Bubble, run_virtual

from ..conformance.loops import Run
from .tasks import Boom, forever, kinds, me


def test_a_timeout_cancels_joins_and_raises(run: Run, start: Any) -> None:
    """The body is interrupted as well, and nothing stays asked."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"task group 'pages' took longer than 0\.005 s"):
            async with TaskGroup(timeout=0.005, limit=2, name="pages") as group:
                for _ in range(3):
                    start(group, forever, log)
                await forever(log, "body")
        await asyncio.sleep(0)
        assert me().cancelling() == 0

    run(main)
    assert sorted(log) == ["body", "task", "task"]


def test_a_timeout_covers_the_joining(run: Run) -> None:
    """It also ends tasks that are started while the group joins."""

    async def relay(group: TaskGroup) -> None:
        await asyncio.sleep(0.001)
        group.create_task(relay(group))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with TaskGroup(timeout=0.01) as group:
                group.create_task(relay(group))

    run(main)


def test_a_group_that_ends_in_time_has_no_timeout(run: Run) -> None:
    """Also when it ends in the very moment: what has been achieved stands."""

    async def just_in_time(group: TaskGroup) -> str:
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert group._timer is not None
        group._timer.cancel()
        loop.call_soon(loop.call_soon, group._expire)  # between the task's end and the host's next step
        return "value"

    async def main() -> None:
        async with TaskGroup(timeout=10):
            await asyncio.sleep(0)
        async with TaskGroup(timeout=10) as group:
            task = group.create_task(just_in_time(group))
        assert task.result() == "value"

    run(main)


def test_a_timeout_and_errors_come_together(run: Run) -> None:
    """No error of a clean-up hides that the time was up, nor the other way round."""

    async def fail_late() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise Boom

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(timeout=0.001) as group:
                group.create_task(fail_late())
        assert kinds(caught.value) == ["Boom", "TimeoutExpired"]

    run(main)


def test_a_cancellation_goes_before_the_timeout() -> None:
    """A host cancelled in the moment of the timeout, or during the joining, ends cancelled."""

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)

    async def scenario(bubble: Bubble) -> None:
        async def host() -> None:
            async with TaskGroup(timeout=1) as group:
                group.create_task(slow())

        for delay in (1.0, 1.5):
            task = asyncio.create_task(host())
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_virtual(scenario)


def test_a_timeout_of_zero(run: Run) -> None:
    """It ends the block at its first suspension."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with TaskGroup(timeout=0):
                await asyncio.sleep(10)

    run(main)
