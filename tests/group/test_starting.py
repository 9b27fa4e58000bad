"""start_soon, start and create_task: handles, who is told of an error, and tasks that run at once."""

import asyncio
import sys
from typing import Any

import pytest

from lifecycle import OwnerClosed, TaskGroup, TaskHandle, limit_by

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


@pytest.mark.parametrize("bounds", [{}, {"limit": 1}, {"limit_by": limit_by(lambda *_: "key", limit=1)}])
def test_what_ends_the_group_while_it_makes_a_coroutine_is_refused(run: Run, bounds: dict[str, Any]) -> None:
    """Nobody would cancel its task any more; the coroutine is closed."""

    async def main() -> None:
        async with TaskGroup(**bounds) as group:

            def end_the_group() -> Any:
                group.cancel()
                return forever([])

            with pytest.raises(OwnerClosed, match="is shutting down"):
                group.start_soon(end_the_group)
        assert group.statistics().created == 0

    run(main)


def test_a_key_that_ends_the_group_is_refused(run: Run) -> None:
    """However its task is started."""

    class Key:
        """Ends the group when it is looked at."""

        def __hash__(self) -> int:
            group.cancel()
            return 1

    async def main() -> None:
        nonlocal group
        for start in (lambda: group.start_soon(forever, []), lambda: group.create_task(forever([]), limit_key=Key())):
            async with TaskGroup(limit_by=limit_by(lambda *_: Key(), limit=1)) as group:
                with pytest.raises(OwnerClosed, match="is shutting down"):
                    start()
            assert group.statistics().created == 0

    group = TaskGroup()
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
        seen = asyncio.Event()

        async def end() -> str:
            await seen.wait()
            return "fine"

        async with TaskGroup(policy=policy) as group:
            other = group.create_task(end())
            with pytest.raises(Boom):
                await group.start(serve)
            with pytest.raises(RuntimeError, match="without calling"):
                await group.start(silent)
            seen.set()
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


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before 3.12")
@pytest.mark.parametrize("limit", [None, 2])
def test_a_task_may_be_asked_to_begin_at_once(run: Run, limit: int | None) -> None:
    """As asyncio's does since 3.14; one over the limit waits in line all the same."""
    if run is RUNS["eager"] and sys.version_info < (3, 14):
        pytest.skip("asyncio's own factory takes no such keyword before 3.14")
    log: list[int] = []

    async def main() -> None:
        async def job(number: int) -> int:
            log.append(number)
            await asyncio.sleep(0)
            return number

        async with TaskGroup(limit=limit) as group:
            tasks = [group.create_task(job(number), name=f"job {number}", eager_start=True) for number in range(3)]
            assert log == [0, 1, 2][:limit]
            assert [task.get_name() for task in tasks] == ["job 0", "job 1", "job 2"]
        assert [task.result() for task in tasks] == [0, 1, 2]

    run(main)
    assert log == [0, 1, 2]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio's own factory takes no such keyword before 3.14")
def test_a_task_may_be_asked_to_begin_later() -> None:
    """Whatever the loop does with all others."""

    async def main() -> None:
        async with TaskGroup() as group:
            log: list[str] = []
            group.create_task(after(10), eager_start=False).add_done_callback(lambda _: log.append("late"))
            group.create_task(forever(log))
            group.cancel()
        assert log == ["task", "late"]

    RUNS["eager"](main)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a factory is given a name and a context only before 3.14")
def test_a_task_factory_is_given_what_else_is_asked_for() -> None:
    """The group hands it on, as asyncio.TaskGroup does."""
    asked: list[Any] = []

    def make(loop: asyncio.AbstractEventLoop, coro: Any, *, urgency: int = 0, **options: Any) -> asyncio.Task[Any]:
        asked.append(urgency)
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(make)
        async with TaskGroup() as group, TaskGroup(limit=1) as bounded:
            for owner in (group, bounded, bounded):
                owner.create_task(after(0), urgency=3)
            group.create_task(after(0))

    RUNS["asyncio"](main)
    assert asked[:4] == [3, 3, 3, 0]  # the runner makes tasks of its own after these


def test_what_no_task_can_be_made_with_is_refused(run: Run) -> None:
    """The group has no such task, and goes on."""

    async def main() -> None:
        async with TaskGroup() as group:
            coro = after(0, 1)
            with pytest.raises(TypeError):
                group.create_task(coro, urgency=3)
            assert await group.create_task(coro) == 1
        assert group.statistics().created == 1

    run(main)
