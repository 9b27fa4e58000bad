"""What Python 3.13 promises of ``asyncio.TaskGroup``, on that and on ours, which promises it on every version."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .loops import Run
from .tasks import Boom, after, forever, kinds


class Crash(BaseException):
    """An error that is no Exception."""


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
    """A task that raises it by itself is cancelled, and disturbs no other."""

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
    """All tasks have cleaned up when the error arrives, alone in a group."""
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
    """Entered from a callback there is no task to interrupt."""

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
