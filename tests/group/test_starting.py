"""start_soon, start and create_task: handles, who is told of an error, and tasks that run at once."""

import asyncio
import sys
from typing import Any

import pytest

from lifecycle import TaskGroup, TaskHandle

from ..conformance.loops import RUNS, Run
from .conftest import STARTERS
from .tasks import Boom, after, forever, kinds


def test_start_soon_returns_a_handle(run: Run) -> None:
    """With the value or the error; the group raises the error too."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                good = group.start_soon(after, 0, 1)
                bad = group.start_soon(after, 0.001, Boom(), name="bad")
                lost = group.start_soon(after, 10)
                assert isinstance(good, TaskHandle)
        assert kinds(caught.value) == ["Boom"]
        assert good.result() == 1
        assert isinstance(bad.exception(), Boom)
        assert bad.name == "bad"
        assert lost.status.value == "cancelled"

    run(main)


def test_start_soon_takes_functions_only(run: Run) -> None:
    """Anything else is a TypeError, and leaves no task."""

    async def main() -> None:
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match="expected an async function"):
                group.start_soon(print)  # type: ignore[arg-type]
            assert group.statistics().created == 0

    run(main)


def test_start_waits_for_started(run: Run) -> None:
    """The task goes on, and is joined."""

    async def serve(log: list[str], *, task_status: Any) -> str:
        await asyncio.sleep(0)
        task_status.started("port")
        await asyncio.sleep(0.001)
        log.append("end")
        return "value"

    async def main() -> None:
        log: list[str] = []
        async with TaskGroup() as group:
            assert await group.start(serve, log) == "port"
            assert not log
        assert log == ["end"]

    run(main)


@pytest.mark.parametrize("policy", ["fail_fast", "collect", "race"])
def test_an_error_before_started_goes_to_the_starter_only(run: Run, policy: Any) -> None:
    """It neither ends the group nor wins a race."""

    async def serve(*, task_status: Any) -> None:
        await asyncio.sleep(0)
        raise Boom

    async def silent(*, task_status: Any) -> None: ...

    async def main() -> None:
        async with TaskGroup(policy=policy) as group:
            other = group.create_task(after(0.002, "fine"))
            with pytest.raises(Boom):
                await group.start(serve)
            with pytest.raises(RuntimeError, match="without calling"):
                await group.start(silent)
        assert other.result() == "fine"

    run(main)


def test_no_task_is_cancelled_before_its_first_step(run: Run, start: Any) -> None:
    """What was handed to it reaches the body, which can clean up."""
    log: list[int] = []

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with TaskGroup() as group:
                for number in range(3):
                    start(group, forever, log, number)
                raise Boom

    run(main)
    assert sorted(log) == [0, 1, 2]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before 3.12")
def test_an_eager_task_that_fails_at_once() -> None:
    """Others begin as well until the body suspends, as they do when tasks are not eager; then all are cancelled."""
    log: list[str] = []

    async def fail() -> None:
        raise Boom

    async def main() -> None:
        for starter in STARTERS.values():
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskGroup() as group:
                    starter(group, fail)
                    starter(group, forever, log)
                    await asyncio.sleep(10)
                    pytest.fail("went on")
            assert kinds(caught.value) == ["Boom"]
            assert log.pop() == "task"

    RUNS["eager"](main)
