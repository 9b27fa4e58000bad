"""The policies of a TaskGroup: collecting errors, racing, and what ends every group."""

import asyncio
import contextlib
from typing import Any

import pytest

from lifecycle import TaskGroup, TaskNotFinished

from ..conformance.loops import Run
from ..loops import some_turns
from .tasks import Boom, after, forever, kinds, me


def test_collect_lets_everybody_end(run: Run, start: Any) -> None:
    """All errors come in the end, the body's too; it neither cancels nor is interrupted."""
    log: list[str] = []

    async def work(name: str, error: Exception | None) -> None:
        await asyncio.sleep(0.001)
        log.append(name)
        if error is not None:
            raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(policy="collect") as group:
                start(group, work, "a", Boom())
                start(group, work, "b", None)
                await asyncio.sleep(0.005)
                start(group, work, "c", KeyError())
                raise ValueError
        assert kinds(caught.value) == ["Boom", "KeyError", "ValueError"]

    run(main)
    assert log == ["a", "b", "c"]


@pytest.mark.parametrize("where", ["body", "joining"])
def test_collect_ends_with_a_cancelled_host(run: Run, where: str) -> None:
    """That is no error, but the end."""
    log: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with TaskGroup(policy="collect") as group:
                group.create_task(forever(log))
                if where == "body":
                    await asyncio.sleep(10)

        task = asyncio.create_task(host())
        await some_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert log == ["task"]


@pytest.mark.parametrize("policy", ["fail_fast", "collect", "race"])
def test_a_request_to_exit_ends_every_group(policy: Any) -> None:
    """Raised in the body it is bare, and has the other errors as its context."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(SystemExit) as caught:
            async with TaskGroup(policy=policy) as group:
                group.create_task(forever(log))
                group.create_task(after(0, Boom()))
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.001)
                raise SystemExit
        context = caught.value.__context__
        assert isinstance(context, BaseExceptionGroup)
        assert kinds(context) == ["Boom"]

    asyncio.run(main())
    assert log == ["task"]


def test_a_task_that_exits_ends_its_group() -> None:
    """The loop stops with the exit, and the group cleans up when the runner cancels the host."""
    log: list[str] = []

    async def main() -> None:
        async with TaskGroup(policy="collect") as group:
            group.create_task(forever(log))
            group.start_soon(after, 0.001, SystemExit(3))

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert log == ["task"]


def test_the_first_value_wins_the_race(run: Run, start: Any) -> None:
    """The others and the body are ended, and earlier losers are forgotten."""
    log: list[str] = []

    async def main() -> None:
        async with TaskGroup(policy="race") as group:
            start(group, after, 0, Boom())
            start(group, after, 0.002, "winner")
            start(group, forever, log)
            with pytest.raises(TaskNotFinished, match="no winner"):
                _ = group.winner
            await forever(log, "body")
        assert group.winner == "winner"
        assert me().cancelling() == 0

    run(main)
    assert sorted(log) == ["body", "task"]


def test_none_can_win(run: Run) -> None:
    """A task may return None, and that is a value."""

    async def main() -> None:
        async with TaskGroup(policy="race") as group:
            group.create_task(after(0, None))
            group.create_task(after(10, 1))
        assert group.winner is None

    run(main)


def test_a_race_that_all_lose_raises_all_errors(run: Run, start: Any) -> None:
    """When no task is left to win."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(policy="race") as group:
                start(group, after, 0, Boom())
                start(group, after, 0.001, KeyError())
        assert kinds(caught.value) == ["Boom", "KeyError"]
        with pytest.raises(TaskNotFinished):
            _ = group.winner

    run(main)


def test_an_error_in_a_losers_clean_up_is_raised(run: Run, start: Any) -> None:
    """It is not a way to lose; the winner is still there to be looked at."""

    async def fail_late() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise Boom

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(policy="race") as group:
                start(group, fail_late)
                start(group, after, 0.001, "winner")
        assert kinds(caught.value) == ["Boom"]
        assert group.winner == "winner"

    run(main)


@pytest.mark.parametrize("end", ["cancel()", "timeout", "host"])
def test_a_race_ended_from_outside_has_no_losers(run: Run, end: str) -> None:
    """What was an error only if all had lost is not raised in place of the cancellation."""

    async def host(group: TaskGroup) -> str:
        async with group:
            group.create_task(after(0, Boom()))
            group.create_task(after(10))
            await some_turns()
            if end == "cancel()":
                group.cancel()
        return "after"

    async def main() -> None:
        task = asyncio.create_task(host(TaskGroup(policy="race", timeout=0.004 if end == "timeout" else None)))
        await asyncio.sleep(0.002)
        if end == "cancel()":
            assert await task == "after"
        elif end == "timeout":
            with pytest.raises(TimeoutError):
                await task
        else:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


def test_a_race_whose_body_fails_raises_everything(run: Run) -> None:
    """The errors of those who have lost before come first."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(policy="race") as group:
                group.create_task(after(0, Boom()))
                group.create_task(after(10))
                await asyncio.sleep(0.002)
                raise KeyError
        assert kinds(caught.value) == ["Boom", "KeyError"]

    run(main)


def test_losing_in_the_moment_of_the_win_is_losing(run: Run) -> None:
    """An error that no cancellation has caused is not raised, whichever comes first."""

    async def main() -> None:
        for first, second in (("winner", Boom()), (Boom(), "winner")):
            async with TaskGroup(policy="race") as group:
                group.create_task(after(0, first))
                group.create_task(after(0, second))
            assert group.winner == "winner"

    run(main)


def test_an_unknown_policy_is_refused() -> None:
    """With the known ones in the message."""
    with pytest.raises(ValueError, match="fail_fast, collect, race"):
        TaskGroup(policy="slow")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": -1}, {"timeout": -1.0}, {"timeout": float("nan")}])
def test_values_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    """Before anything happens."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        TaskGroup(**bad)


@pytest.mark.parametrize("bad", [{"limit": 1.5}, {"limit": True}, {"timeout": "1"}])
def test_values_of_other_types_are_refused(bad: dict[str, Any]) -> None:
    """Before anything happens."""
    with pytest.raises(TypeError, match=next(iter(bad))):
        TaskGroup(**bad)
