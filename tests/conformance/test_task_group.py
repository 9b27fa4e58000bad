"""What Python 3.13 promises of ``asyncio.TaskGroup``, on that and on ours, which promises it on every version."""

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lifecycle._group.group import TaskGroup

from .loops import Run

GROUPS = [TaskGroup, asyncio.TaskGroup] if sys.version_info >= (3, 13) else [TaskGroup]


@pytest.fixture(params=GROUPS, ids=lambda group: group.__module__.partition(".")[0])
def group_class(request: pytest.FixtureRequest) -> Any:
    """The class under test."""
    return request.param


class Boom(Exception):
    """An error of a task."""


class Crash(BaseException):
    """An error that is no Exception."""


async def after(seconds: float, value: Any = None) -> Any:
    """Return the value, or raise it."""
    await asyncio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


async def forever(seen: list[str], name: str = "task", clean_up: float = 0.0) -> None:
    """Wait until cancelled; note the cancellation after the clean-up."""
    try:
        await asyncio.Event().wait()
    finally:
        if clean_up:
            await asyncio.sleep(clean_up)
        seen.append(name)


def kinds(group: BaseExceptionGroup[Any]) -> list[type]:
    """Return the types of the errors in a group."""
    return sorted((type(error) for error in group.exceptions), key=lambda kind: kind.__name__)


# The plain life of a group


def test_results_are_there_after_the_block(run: Run, group_class: Any) -> None:
    """Tasks that the body does not wait for are joined by the block."""

    async def main() -> list[Any]:
        async with group_class() as group:
            tasks = [group.create_task(after(0.002, 1)), group.create_task(after(0.001, 2))]
            await tasks[1]
            tasks.append(group.create_task(after(0, 3)))
        assert all(isinstance(task, asyncio.Task) for task in tasks)
        return [task.result() for task in tasks]

    assert run(main) == [1, 2, 3]


def test_a_group_without_tasks_is_left_at_once(run: Run, group_class: Any) -> None:
    """Nothing to join, nothing to do."""

    async def main() -> None:
        async with group_class():
            pass
        async with group_class():
            await asyncio.sleep(0)

    run(main)


def test_tasks_may_start_tasks_while_the_group_joins(run: Run, group_class: Any) -> None:
    """The block waits for those as well."""
    seen: list[int] = []

    async def main() -> None:
        async def grow(group: Any, depth: int) -> None:
            await asyncio.sleep(0)
            seen.append(depth)
            if depth:
                group.create_task(grow(group, depth - 1))

        async with group_class() as group:
            group.create_task(grow(group, 4))

    run(main)
    assert seen == [4, 3, 2, 1, 0]


def test_a_task_can_be_cancelled_by_hand(run: Run, group_class: Any) -> None:
    """The others go on, more may be started, and the block ends without an error."""

    async def main() -> None:
        async with group_class() as group:
            doomed = group.create_task(after(10))
            await asyncio.sleep(0)
            doomed.cancel()
            other = group.create_task(after(0, "fine"))
        assert doomed.cancelled()
        assert other.result() == "fine"

    run(main)


def test_a_cancelled_error_of_a_task_is_no_error(run: Run, group_class: Any) -> None:
    """A task that raises it by itself is cancelled, and disturbs nobody."""

    async def main() -> None:
        async with group_class() as group:
            task = group.create_task(after(0, asyncio.CancelledError()))
            other = group.create_task(after(0.001, 1))
        assert task.cancelled()
        assert other.result() == 1

    run(main)


def test_name_and_context_reach_the_task(run: Run, group_class: Any) -> None:
    """As with ``asyncio.create_task``."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def main() -> None:
        async def put(value: int) -> None:
            await asyncio.sleep(0)
            variable.set(value)

        async with group_class() as group:
            context = contextvars.copy_context()
            task = group.create_task(put(1), name="named", context=context)
            plain = group.create_task(put(2))
            assert task.get_name() == "named"
            await asyncio.wait([task, plain])
            assert context[variable] == 1
        assert variable.get() == 0

    run(main)


# Errors


def test_an_error_cancels_the_others_and_interrupts_the_body(run: Run, group_class: Any) -> None:
    """Everybody has cleaned up when the error arrives, alone in a group."""
    seen: list[str] = []

    async def main() -> int:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                group.create_task(forever(seen, clean_up=0.002))
                group.create_task(after(0.001, Boom()))
                await forever(seen, "body")
        assert kinds(caught.value) == [Boom]
        return asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert run(main) == 0
    assert seen == ["body", "task"]


def test_errors_at_the_same_time_come_together(run: Run, group_class: Any) -> None:
    """Also those of tasks that fail while they are being cancelled."""

    async def main() -> None:
        now = asyncio.Event()

        async def fail(error: Exception) -> None:
            await now.wait()
            raise error

        async def fail_late() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError

        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                group.create_task(fail_late())
                group.create_task(fail(Boom()))
                group.create_task(fail(ValueError()))
                asyncio.get_running_loop().call_later(0.001, now.set)
        assert kinds(caught.value) == [Boom, KeyError, ValueError]
        shown = repr(caught.value)
        assert all(kind.__name__ in shown for kind in (Boom, KeyError, ValueError))

    run(main)


def test_an_error_of_the_body_cancels_the_tasks(run: Run, group_class: Any) -> None:
    """Also of tasks that had no chance to run yet."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                tasks = [group.create_task(after(10)), group.create_task(after(20))]
                raise Boom
        assert kinds(caught.value) == [Boom]
        assert all(task.cancelled() for task in tasks)

    run(main)


def test_the_body_may_fail_while_it_is_interrupted(run: Run, group_class: Any) -> None:
    """Both errors arrive, the body's last."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                group.create_task(after(0.001, Boom()))
                try:
                    await asyncio.sleep(10)
                finally:
                    raise KeyError
        assert [type(error) for error in caught.value.exceptions] == [Boom, KeyError]

    run(main)


def test_a_context_manager_inside_may_raise_while_it_is_left(run: Run, group_class: Any) -> None:
    """Its error and the task's arrive both, and the count of cancellations is back at zero inside ``except*``."""

    @contextlib.asynccontextmanager
    async def database() -> AsyncIterator[None]:
        try:
            yield
        finally:
            raise Boom

    async def main() -> int:
        count = 0
        try:
            async with group_class() as group, database():
                group.create_task(after(0, Boom()))
                await asyncio.sleep(10)
        except* Boom as caught:
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            count = len(caught.exceptions)
        return count

    assert run(main) == 2


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
def test_a_request_to_exit_travels_bare(run: Run, group_class: Any, fatal: type[BaseException]) -> None:
    """Raised in the body it is not wrapped, whatever else has failed."""

    async def main() -> None:
        with pytest.raises(fatal):
            async with group_class() as group:
                group.create_task(after(0.001, Boom()))
                try:
                    await asyncio.sleep(10)
                finally:
                    raise fatal

    run(main)


def test_a_base_exception_makes_a_base_exception_group(run: Run, group_class: Any) -> None:
    """Whether the body or a task raises it."""

    async def main() -> None:
        for in_body, in_task in ((Crash(), Boom()), (Boom(), Crash())):
            with pytest.raises(BaseExceptionGroup) as caught:
                async with group_class() as group:
                    group.create_task(after(0.001, in_task))
                    try:
                        await asyncio.sleep(10)
                    finally:
                        raise in_body
            assert kinds(caught.value) == [Boom, Crash]

    run(main)


def test_the_group_says_unhandled_errors(run: Run, group_class: Any) -> None:
    """Message and cause are those of the standard library."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class():
                raise Boom
        assert caught.value.message == "unhandled errors in a TaskGroup"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    run(main)


# Cancellation


def test_a_host_cancelled_while_it_joins_cancels_and_joins_the_tasks(run: Run, group_class: Any) -> None:
    """And the cancellation goes on afterwards."""
    seen: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with group_class() as group:
                for _ in range(3):
                    group.create_task(forever(seen, clean_up=0.001))

        task = asyncio.create_task(host())
        await asyncio.sleep(0.002)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)
    assert seen == ["task"] * 3


def test_a_host_cancelled_in_the_body_cancels_and_joins_the_tasks(run: Run, group_class: Any) -> None:
    """The body cleans up first."""
    seen: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with group_class() as group:
                group.create_task(forever(seen))
                await forever(seen, "body", clean_up=0.001)

        task = asyncio.create_task(host())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert seen == ["body", "task"]


def test_a_second_cancellation_does_not_shorten_the_joining(run: Run, group_class: Any) -> None:
    """However often the host is cancelled, the tasks have ended when the block is left."""
    seen: list[str] = []

    async def main() -> None:
        async def host() -> None:
            async with group_class() as group:
                group.create_task(forever(seen, clean_up=0.01))

        task = asyncio.create_task(host())
        for _ in range(4):
            await asyncio.sleep(0.001)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 4

    run(main)
    assert seen == ["task"]


def test_errors_go_before_the_cancellation_that_caused_them(run: Run, group_class: Any) -> None:
    """Raised by tasks while they are cancelled, through two groups."""

    async def main() -> None:
        async def fail_late() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                raise Boom

        async def host() -> None:
            async with group_class() as outer:
                outer.create_task(after(10))
                async with group_class() as inner:
                    inner.create_task(fail_late())
                    await asyncio.sleep(10)

        task = asyncio.create_task(host())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert kinds(caught.value) == [ExceptionGroup]
        assert kinds(caught.value.exceptions[0]) == [Boom]

    run(main)


def test_a_cancelled_body_may_raise_something_else(run: Run, group_class: Any) -> None:
    """Then that is what goes on."""

    async def main() -> None:
        async def host() -> None:
            async with group_class():
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    raise Boom from None

        task = asyncio.create_task(host())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert kinds(caught.value) == [Boom]

    run(main)


def test_a_task_may_fail_while_the_cancelled_body_cleans_up(run: Run, group_class: Any) -> None:
    """Its error is what the block ends with."""

    async def main() -> None:
        async def host() -> None:
            async with group_class() as group:
                group.create_task(after(0.003, Boom()))
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.006)
                    raise

        task = asyncio.create_task(host())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(ExceptionGroup) as caught:
            await task
        assert kinds(caught.value) == [Boom]

    run(main)


def test_a_cancellation_that_met_errors_is_delivered_afterwards(run: Run, group_class: Any) -> None:
    """Code that handles the errors is cancelled at its next suspension, and the count stays at one."""
    reached: list[str] = []

    async def main() -> None:
        started = asyncio.Event()

        async def fail() -> None:
            started.set()
            await asyncio.sleep(0)
            raise Boom

        async def host() -> None:
            me = asyncio.current_task()
            assert me is not None
            try:
                async with group_class() as group:
                    group.create_task(fail())
                    await asyncio.sleep(10)
            except* Boom:
                assert me.cancelling() == 1
                reached.append("handler")
            assert me.cancelling() == 1
            await asyncio.sleep(10)
            reached.append("never")

        task = asyncio.create_task(host())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)
    assert reached == ["handler"]


def test_nested_groups_that_fail_together_keep_their_cancellations_apart(run: Run, group_class: Any) -> None:
    """The inner errors are handled inside, where the outer group's interruption is still to come."""

    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            async with group_class() as outer:
                try:
                    async with group_class() as inner:
                        inner.create_task(after(0, KeyError()))
                        outer.create_task(after(0, ValueError()))
                except* KeyError:
                    pass
                else:
                    pytest.fail("no KeyError")
                assert me.cancelling() == 1
        except* ValueError:
            pass
        else:
            pytest.fail("no ValueError")
        assert me.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_an_error_of_the_outer_group_ends_the_inner_one(run: Run, group_class: Any) -> None:
    """Without an error of its own."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as outer:
                outer.create_task(after(0.001, Boom()))
                async with group_class() as inner:
                    task = inner.create_task(after(10))
        assert kinds(caught.value) == [Boom]
        assert task.cancelled()
        await asyncio.sleep(0)

    run(main)


def test_code_after_a_handled_error_goes_on(run: Run, group_class: Any) -> None:
    """The interruption of the body has been taken back completely."""

    async def main() -> str:
        with contextlib.suppress(ExceptionGroup):
            async with group_class() as group:
                group.create_task(after(0.001, Boom()))
                await asyncio.sleep(10)
        await asyncio.sleep(0.001)
        async with asyncio.timeout(10):
            await asyncio.sleep(0.001)
        return "done"

    assert run(main) == "done"


# With timeouts


def test_a_timeout_around_a_group(run: Run, group_class: Any) -> None:
    """The tasks are cancelled and joined, then TimeoutError."""
    seen: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005), group_class() as group:
                group.create_task(forever(seen, clean_up=0.001))
        assert seen == ["task"]
        await asyncio.sleep(0.001)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)


def test_a_timeout_inside_a_group(run: Run, group_class: Any) -> None:
    """It ends what it surrounds, and nothing else."""

    async def main() -> None:
        async with group_class() as group:
            task = group.create_task(after(0.003, "result"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(10)
        assert task.result() == "result"

    run(main)


def test_a_timeout_that_meets_errors_does_not_hit_what_comes_after(run: Run, group_class: Any) -> None:
    """The errors go on, and the timeout takes its cancellation back."""

    async def main() -> None:
        async def fail_late() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                raise Boom

        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(0.001), group_class() as group:
                group.create_task(fail_late())
        await asyncio.sleep(0.002)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)


# Refusals


def test_a_group_that_cancels_takes_no_more(run: Run, group_class: Any) -> None:
    """A task that starts another while it is being cancelled gets a RuntimeError, and the coroutine is closed."""
    refused: list[str] = []

    async def main() -> None:
        async def stubborn(group: Any) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                with pytest.raises(RuntimeError, match="is shutting down") as caught:
                    group.create_task(after(0))
                refused.append(str(caught.value))

        with pytest.raises(ExceptionGroup):
            async with group_class() as group:
                group.create_task(stubborn(group))
                group.create_task(after(0.001, Boom()))

    run(main)
    assert len(refused) == 1


def test_a_group_is_used_inside_its_block_only(run: Run, group_class: Any) -> None:
    """Not before, not after, not twice; refused coroutines are closed."""

    async def main() -> None:
        group = group_class()
        with pytest.raises(RuntimeError, match="has not been entered"):
            group.create_task(after(0))
        async with group:
            with pytest.raises(RuntimeError, match="has already been entered"):
                async with group:
                    pass
        with pytest.raises(RuntimeError, match="is finished"):
            group.create_task(after(0))
        with pytest.raises(RuntimeError, match="has already been entered"):
            async with group:
                pass

    run(main)


def test_a_group_whose_last_task_has_ended_is_finished(run: Run, group_class: Any) -> None:
    """Although its block has not gone on yet."""
    refused: list[str] = []

    async def main() -> None:
        def start_another(_: Any) -> None:
            try:
                group.create_task(after(0))
            except RuntimeError as error:
                refused.append(str(error))

        async with group_class() as group:
            task = group.create_task(after(0.001))
            task.add_done_callback(start_another)

    run(main)
    assert "is finished" in refused[0]


def test_endless_growth_ends_with_an_error(run: Run, group_class: Any) -> None:
    """Two new tasks for each that is cancelled do not outgrow a group that takes no more."""
    heads = 0

    async def main() -> None:
        async def hydra(group: Any) -> None:
            nonlocal heads
            heads += 1
            try:
                await asyncio.sleep(0.001)
            finally:
                for _ in range(2):
                    with contextlib.suppress(RuntimeError):
                        group.create_task(hydra(group))

        async def hercules() -> None:
            while heads < 10:
                await asyncio.sleep(0.0005)
            raise Boom

        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                group.create_task(hydra(group))
                group.create_task(hercules())
        assert kinds(caught.value) == [Boom]

    run(main)
    assert heads >= 10


def test_a_group_needs_a_task(group_class: Any) -> None:
    """Entered from a callback there is nobody to interrupt."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        met: asyncio.Future[BaseException] = loop.create_future()

        def enter() -> None:
            try:
                group_class().__aenter__().send(None)
            except BaseException as error:
                met.set_result(error)

        loop.call_soon(enter)
        error = await met
        assert isinstance(error, RuntimeError)
        assert "parent task" in str(error)

    asyncio.run(main())


def test_a_thing_that_is_no_coroutine_is_a_type_error(group_class: Any) -> None:
    """As with ``asyncio.create_task``."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with group_class() as group:
                group.create_task(after)
        assert kinds(caught.value) == [TypeError]

    asyncio.run(main())
