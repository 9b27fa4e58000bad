"""TaskGroup: what it does beyond asyncio's; what both do is in ``conformance/test_task_group.py``."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from lifecycle import OwnerClosed, TaskGroup, TaskGroupClosed, TaskHandle, TaskManager, TaskNotFinished, take_snapshot
from lifecycle.testing import CANCEL, Bubble, explore_cancellation, explore_schedules, run_virtual

from ..conformance import loops

run = loops.run
Run = loops.Run


class Boom(Exception):
    """An error of a task."""


async def after(seconds: float, value: Any = None) -> Any:
    """Return the value, or raise it."""
    await asyncio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


async def forever(log: list[Any], name: Any = "task") -> None:
    """Wait until cancelled, and note it."""
    try:
        await asyncio.Event().wait()
    finally:
        log.append(name)


def kinds(group: BaseExceptionGroup[Any]) -> list[str]:
    """Return the names of the types of the errors in a group."""
    return sorted(type(error).__name__ for error in group.exceptions)


def me() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task


Starter = Callable[[TaskGroup, Callable[..., Any]], Any]

#: The two ways to start ``fn(*args)``; both must mean the same to the group.
STARTERS = {
    "create_task": lambda group, fn, *args: group.create_task(fn(*args)),
    "start_soon": lambda group, fn, *args: group.start_soon(fn, *args),
}


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Any:
    """One of the ways to start a task."""
    return STARTERS[request.param]


# anyio's ways to start a task


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
        assert good.result == 1
        assert isinstance(bad.exception, Boom)
        assert bad.name == "bad"
        assert lost.status.value == "cancelled"

    run(main)


def test_start_soon_takes_functions_only(run: Run) -> None:
    """Anything else is a TypeError, and leaves no task."""

    async def main() -> None:
        async with TaskGroup() as group:
            with pytest.raises(TypeError, match="coroutine"):
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


# The limit


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
        assert [handle.result for handle in handles] == [4, 5, 6, 7]

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
            group.create_task(after(0.002))
            doomed, other = start(group, work, "doomed"), start(group, work, "other")
            await asyncio.sleep(0.001)
            doomed.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert group.statistics().cancelled == 1
        assert other.done

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

    for name, run_on in loops.RUNS.items():
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


# The timeout


def test_a_timeout_cancels_joins_and_raises(run: Run, start: Any) -> None:
    """The body is interrupted as well, and nothing stays asked."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"task group 'pages' did not end within 0\.005 s"):
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
        assert kinds(caught.value) == ["Boom", "TimeoutError"]

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


# Policies


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
        await asyncio.sleep(0.001)
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
    """When nobody is left to win."""

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
            await asyncio.sleep(0.001)
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


# cancel()


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
            with pytest.raises(TaskGroupClosed, match="is shutting down"):
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


# Before the first step, and inside a shield


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

    loops.RUNS["virtual"](main)  # which says so when nobody can run any more


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


# Inside anyio


def test_a_host_in_a_cancelled_scope_joins_without_spinning(run: Run) -> None:
    """The tasks are cancelled and waited for while the loop sleeps, and the scope takes its cancellation back."""
    log: list[str] = []
    turns = 0

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.05)
            log.append("task")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ticking = True

        async def count() -> None:
            nonlocal turns
            while ticking:
                turns += 1
                await asyncio.sleep(0.01)

        counter = asyncio.create_task(count())
        began = loop.time()
        with anyio.CancelScope() as scope:
            async with TaskGroup() as group:
                group.create_task(slow())
                group.start_soon(slow)
                await asyncio.sleep(0.001)
                scope.cancel()
        assert scope.cancelled_caught
        assert loop.time() - began >= 0.05
        await asyncio.sleep(0)
        assert me().cancelling() == 0
        ticking = False
        await counter

    run(main)
    assert log == ["task", "task"]
    assert turns < 20


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
        with anyio.move_on_after(0.002) as scope:
            async with TaskGroup() as group:
                group.create_task(forever(log))
                group.start_soon(forever, log)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.002):
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
            await asyncio.sleep(0.002)
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
        assert (task.result(), handle.result) == ("fine", "fine")

    run(main)


# Odd ways out


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


def test_an_error_after_the_host_has_gone_is_reported() -> None:
    """A block that was abandoned with its generator has nobody to raise it; the loop's handler gets it."""
    reported: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        group = TaskGroup()

        async def host() -> None:
            await group.__aenter__()
            group.create_task(after(0.001, Boom()))

        await asyncio.create_task(host())
        await asyncio.sleep(0.005)

    asyncio.run(main())
    assert [type(error) for error in reported] == [Boom]


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

    gc.disable()
    try:
        watched, watched_group = asyncio.run(main())
        assert watched() is None
        assert watched_group() is None
    finally:
        gc.enable()


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


# The books


def test_the_account_closes(run: Run) -> None:
    """What came in is in, or has ended in one of three ways."""

    async def main() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with TaskGroup(limit=2, policy="collect", name="books") as group:
                group.create_task(after(0, 1))
                group.start_soon(after, 0, Boom())
                doomed = group.create_task(after(0, 2))
                last = group.start_soon(after, 10)
                statistics = group.statistics()
                assert (statistics.running, statistics.pending, statistics.created) == (2, 2, 4)
                assert statistics.state == "open"
                doomed.cancel()
                await asyncio.sleep(0.002)
                last.cancel()
                group._members._check_invariants()
        statistics = group.statistics()
        assert (statistics.finished, statistics.failed, statistics.cancelled) == (1, 1, 2)
        assert (statistics.state, statistics.name, statistics.limit, statistics.policy) == (
            "closed",
            "books",
            2,
            "collect",
        )
        assert repr(group) == "task group 'books'"

    run(main)


def test_a_refusal_is_an_error_of_the_family(run: Run) -> None:
    """And what asyncio and anyio raise."""

    async def main() -> None:
        async with TaskGroup(name="g") as group:
            pass
        for refused in (lambda: group.create_task(after(0), name="t"), lambda: group.start_soon(after, 0, name="t")):
            with pytest.raises(
                TaskGroupClosed, match="task group 'g' does not take task 't': it is finished"
            ) as caught:
                refused()
            assert isinstance(caught.value, (OwnerClosed, RuntimeError, anyio.ClosedResourceError))
        with pytest.raises(RuntimeError, match="has not been entered"):
            TaskGroup().start_soon(after, 0)

    run(main)


def test_a_group_in_a_task_of_another_owner(run: Run) -> None:
    """A manager that closes cancels the host, and the host joins."""
    log: list[str] = []

    async def hosted() -> None:
        async with TaskGroup() as group:
            group.start_soon(forever, log)

    async def main() -> None:
        async with TaskManager(drain_timeout=0.002) as manager:
            manager.start_soon(hosted)

    run(main)
    assert log == ["task"]


@pytest.mark.usefixtures("no_strangers")
def test_a_snapshot_shows_the_group_and_its_tasks(run: Run) -> None:
    """While it lives; its tasks are not among those that nobody owns."""

    async def main() -> None:
        async with TaskGroup(limit=3, name="pages") as group:
            group.create_task(after(10), name="native")
            group.start_soon(after, 10, name="handle")
            group.create_task(after(10), name="other")
            group.create_task(after(10), name="in line")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            snapshot = take_snapshot()
            (node,) = [node for node in snapshot.roots if node.name == "pages"]
            assert (node.kind, node.state, node.counts) == ("task group", "open", {"limit": 3})
            shown = {(child.name, child.state) for child in node.children}
            assert shown == {("native", "running"), ("handle", "running"), ("other", "running"), ("in line", "pending")}
            assert not {"native", "handle", "other", "in line"} & {node.name for node in snapshot.unowned}
            group.cancel()
            assert {child.state for node in take_snapshot().roots for child in node.children} == {"cancelling"}
        del group
        assert not [node for node in take_snapshot().roots if node.name == "pages"]

    run(main)


# Everywhere


async def member(bubble: Bubble, name: str, seconds: float) -> str:
    """Hold something for a while, and let go of it in a clean-up that suspends."""
    with bubble.ledger.acquire(name):
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.sleep(0)
    return name


async def broken(seconds: float) -> None:
    """Fail."""
    await asyncio.sleep(seconds)
    raise Boom


async def joined(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        group.create_task(member(bubble, "a", 1))
        group.start_soon(member, bubble, "b", 2)
        await asyncio.sleep(1)
        group.create_task(member(bubble, "c", 1))


async def failed(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup() as group:
            group.create_task(member(bubble, "a", 1))
            group.start_soon(member, bubble, "b", 3)
            group.start_soon(broken, 2)
            await asyncio.sleep(1)
            group.create_task(member(bubble, "c", 5))
            await asyncio.sleep(5)
    await asyncio.sleep(1)


async def failed_in_the_body(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup() as group:
            group.create_task(member(bubble, "a", 1))
            group.start_soon(member, bubble, "b", 3)
            raise Boom
    await asyncio.sleep(1)


async def bounded(bubble: Bubble) -> None:
    async with TaskGroup(limit=2) as group:
        group.create_task(member(bubble, "a", 1))
        group.start_soon(member, bubble, "b", 2)
        group.start_soon(member, bubble, "c", 3)
        group.create_task(member(bubble, "d", 1))
        group.create_task(member(bubble, "e", 1))
        await asyncio.sleep(1)
        group.create_task(member(bubble, "f", 1))


async def timed_out(bubble: Bubble) -> None:
    with contextlib.suppress(TimeoutError):
        async with TaskGroup(limit=2, timeout=3) as group:
            group.create_task(member(bubble, "a", 2))
            group.start_soon(member, bubble, "b", 9)
            group.start_soon(member, bubble, "c", 9)
            group.create_task(member(bubble, "d", 9))
            await asyncio.sleep(9)
    await asyncio.sleep(1)


async def told_to_end(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        group.create_task(member(bubble, "a", 2))
        group.start_soon(member, bubble, "b", 2)
        await asyncio.sleep(1)
        group.cancel()
    await asyncio.sleep(1)


async def told_to_end_empty(bubble: Bubble) -> None:
    async with TaskGroup() as group:
        await asyncio.sleep(1)
        group.cancel()


async def raced(bubble: Bubble) -> None:
    async with TaskGroup(policy="race") as group:
        group.create_task(member(bubble, "a", 2))
        group.start_soon(member, bubble, "b", 1)
        group.start_soon(broken, 0.5)
        await asyncio.sleep(9)


async def collected(bubble: Bubble) -> None:
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup(policy="collect") as group:
            group.create_task(member(bubble, "a", 2))
            group.start_soon(broken, 1)
            await asyncio.sleep(1)
    await asyncio.sleep(1)


async def started(bubble: Bubble) -> None:
    async def serve(*, task_status: Any) -> None:
        with bubble.ledger.acquire("server"):
            await asyncio.sleep(1)
            task_status.started("port")
            await asyncio.sleep(1)

    async with TaskGroup() as group:
        await group.start(serve)
        await asyncio.sleep(0.5)


async def shielded(bubble: Bubble) -> None:
    async def work() -> None:
        with bubble.ledger.acquire("section"), anyio.CancelScope(shield=True):
            await asyncio.sleep(1)

    async with TaskGroup() as group:
        group.create_task(work())
        group.start_soon(work)
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.5)
        group.cancel()


async def nested(bubble: Bubble) -> None:
    async with TaskGroup() as outer:
        outer.create_task(member(bubble, "a", 3))
        async with anyio.create_task_group() as middle:
            middle.start_soon(member, bubble, "b", 2)
            async with TaskGroup() as inner:
                inner.start_soon(member, bubble, "c", 1)
                with anyio.move_on_after(0.5):
                    await asyncio.sleep(2)


SCENARIOS = [
    joined,
    failed,
    failed_in_the_body,
    bounded,
    timed_out,
    told_to_end,
    told_to_end_empty,
    raced,
    collected,
    started,
    shielded,
    nested,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_wherever_it_is_struck(scenario: Any) -> None:
    """Cancelled natively, by a scope, by a timeout, twice, before a first step; errors in every wait; other orders."""
    explore_cancellation(scenario, schedules=2).assert_clean()


@pytest.mark.parametrize("scenario", [failed_in_the_body, told_to_end_empty, collected], ids=lambda each: each.__name__)
def test_nothing_is_left_after_two_cancellations(scenario: Any) -> None:
    """Every pair of native cancellations."""
    explore_cancellation(scenario, faults=[CANCEL], depth=2).assert_clean()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_left_in_any_order(scenario: Any) -> None:
    """Tasks that are ready at the same time run in any order."""
    explore_schedules(scenario, runs=50).assert_clean()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before 3.12")
def test_an_eager_task_that_fails_at_once() -> None:
    """It ends the group before its creator has it; the body is interrupted at its next suspension."""

    async def fail() -> None:
        raise Boom

    async def main() -> None:
        for starter in STARTERS.values():
            with pytest.raises(ExceptionGroup) as caught:
                async with TaskGroup() as group:
                    starter(group, fail)
                    with pytest.raises(TaskGroupClosed):
                        starter(group, after, 10)
                    await asyncio.sleep(10)
                    pytest.fail("went on")
            assert kinds(caught.value) == ["Boom"]

    loops.RUNS["eager"](main)
