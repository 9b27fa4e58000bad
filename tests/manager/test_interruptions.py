"""A TaskManager closed from all sides, struck at every await, and in any order."""

import asyncio

from lifecycle import TaskManager
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules

from .works import close_it, drain_it, stubborn, work


async def closes_from_all_sides(bubble: Bubble) -> None:
    """Tasks that close, drain, end and do not end, and a body that leaves."""
    async with TaskManager("jobs", limit=4, drain_timeout=5, cancel_timeout=1) as manager:
        bubble.state.manager = manager
        manager.start_soon(close_it, manager)
        manager.start_soon(drain_it, manager)
        manager.start_soon(stubborn, 1)
        for _ in range(2):
            manager.start_soon(work)
        await asyncio.sleep(0.5)


def account_closes(bubble: Bubble) -> None:
    """The books are in order, and no task is left waiting."""
    manager: TaskManager | None = getattr(bubble.state, "manager", None)
    if manager is not None:
        manager._check_invariants()
        assert not manager._idleness._waits
        assert not manager._idleness._closers


def test_no_interruption_of_a_close_leaves_anything() -> None:
    """Each task, struck at each point in each way."""
    explore_cancellation(closes_from_all_sides, invariants=[account_closes], may_swallow=["stubborn"]).assert_clean()


def test_no_order_of_steps_confuses_a_close() -> None:
    """In two hundred orders of the ready tasks."""
    explore_schedules(closes_from_all_sides, invariants=[account_closes], runs=200).assert_clean()
