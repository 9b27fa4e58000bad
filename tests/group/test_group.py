"""TaskGroup as an owner: its account, its refusals, its place in a snapshot. Asyncio's promises: ``conformance``."""

import asyncio
import contextlib

import anyio
import pytest

from lifecycle import OwnerClosed, TaskGroup, TaskManager, take_snapshot

from ..conformance.loops import Run
from ..loops import some_turns
from .tasks import Boom, after, forever


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
                await some_turns()
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
            with pytest.raises(OwnerClosed, match="task group 'g' does not take task 't': it is finished") as caught:
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
    """While it lives; its tasks are not among those without an owner."""

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
