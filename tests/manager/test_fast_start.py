"""The inlined start of `start_soon` and the way through `_place` and `_launch` are one and the same to see."""

import asyncio
import contextvars
from typing import Any

import pytest

from lifecycle import TaskManager, TaskStatus
from lifecycle._manager.books import next_sweep

from ..loops import run_on

WAYS = pytest.mark.parametrize("fast", [True, False])

current: contextvars.ContextVar[str] = contextvars.ContextVar("current", default="outside")


async def note(log: list[Any], number: int) -> int:
    """Note who runs, in which context."""
    task = asyncio.current_task()
    assert task is not None
    log.append((number, task.get_name(), current.get()))
    return number


async def play(fast: bool) -> tuple[Any, ...]:
    """Start tasks in every way that a caller may choose, and return all that can be seen of them."""
    log: list[Any] = []
    async with TaskManager("mail", hooks=[] if fast else [Quiet()]) as manager:
        assert manager._fast_start is fast
        context = contextvars.copy_context()
        context.run(current.set, "inside")
        handles = [
            manager.start_soon(note, log, 1),
            manager.start_soon(note, log, 2, name="second"),
            manager.start_soon(note, log, 3, context=context),
        ]
        before = [(handle.name, handle.status, handle.started_at) for handle in handles]
        values = [await handle for handle in handles]
    return log, before, values, manager.statistics()


class Quiet:
    """A hook that does nothing, and takes the fast start away."""

    def before(self, handle: Any) -> None:
        """Do nothing."""


def test_both_ways_are_the_same_to_see() -> None:
    """Names, contexts, order, values and the account."""
    fast, slow = (run_on(asyncio.new_event_loop, play(fast)) for fast in (True, False))
    assert fast == slow
    assert [status for _, status, _ in fast[1]] == [TaskStatus.PENDING] * 3
    assert [context for _, _, context in fast[0]] == ["outside", "outside", "inside"]


@WAYS
def test_both_ways_sweep_what_was_cancelled_unseen(fast: bool) -> None:
    """When the tasks have become many."""

    async def main() -> None:
        async with TaskManager(hooks=[] if fast else [Quiet()]) as manager:
            for _ in range(next_sweep(0)):
                handle = manager.start_soon(asyncio.sleep, 0)
                assert handle._task is not None
                handle._task.cancel()
            assert len(manager._running) == next_sweep(0)
            await asyncio.sleep(0)
            manager.start_soon(asyncio.sleep, 0)
            assert len(manager._running) <= 1

    run_on(asyncio.new_event_loop, main())


@WAYS
def test_both_ways_discard_a_task_that_the_loop_refuses(fast: bool) -> None:
    """The loop is closed: the error is raised, and the account closes."""

    async def main() -> TaskManager:
        manager = TaskManager(hooks=[] if fast else [Quiet()])
        await manager.start_soon(asyncio.sleep, 0)
        return manager

    manager = run_on(asyncio.new_event_loop, main())
    with pytest.raises(RuntimeError, match="closed"):
        manager.start_soon(asyncio.sleep, 0)
    statistics = manager.statistics()
    assert (statistics.running, statistics.finished, statistics.cancelled) == (0, 1, 1)
    manager._check_invariants()
