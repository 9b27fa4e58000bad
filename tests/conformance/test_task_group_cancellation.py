"""Cancellations of ``asyncio.TaskGroup`` as Python 3.13 promises them, on that and on ours; timeouts too."""

import asyncio
import contextlib
from typing import Any

import pytest

from ..loops import some_turns
from .loops import Run
from .tasks import Boom, after, forever, kinds

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
        await some_turns()
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
        await some_turns()
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
                group.create_task(forever(seen, clean_up=0.2))

        task = asyncio.create_task(host())
        for _ in range(4):
            await some_turns()
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
        await some_turns()
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
        await some_turns()
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
        await some_turns()
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
            async with asyncio.timeout(0.1), group_class() as group:
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
            async with asyncio.timeout(0.1), group_class() as group:
                group.create_task(fail_late())
        await asyncio.sleep(0.002)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main)
