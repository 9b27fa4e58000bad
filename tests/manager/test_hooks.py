"""TaskHooks: who is told of what, in which order, and that a broken hook harms no task."""

import asyncio
import sys
from typing import Any

import pytest

from lifecycle import ManagerFull, TaskHandle, TaskManager
from lifecycle.testing import Bubble

from ..loops import eager_loop, on_every_loop, run_on, virtual


class Failure(Exception):
    """What a task raises."""


class Notes:
    """A hook that writes everything down."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.live: set[TaskHandle[Any]] = set()

    def queued(self, handle: TaskHandle[Any]) -> None:
        """It waits."""
        self.events.append(("queued", handle.name, handle.status.value))

    def before(self, handle: TaskHandle[Any]) -> None:
        """It is about to start."""
        self.live.add(handle)
        self.events.append(("before", handle.name, handle.status.value))

    def after(self, handle: TaskHandle[Any]) -> None:
        """It has ended."""
        self.live.discard(handle)
        self.events.append(("after", handle.name, handle.status.value))

    def rejected(self, name: str, error: Exception) -> None:
        """It was refused."""
        self.events.append(("rejected", name, type(error).__name__))


async def work(steps: list[str] | None = None) -> None:
    """Work for a second."""
    if steps is not None:
        steps.append("first step")
    await asyncio.sleep(1)


async def fail() -> None:
    """Raise."""
    raise Failure


@virtual
async def test_hooks_see_the_whole_life_of_each_task(bubble: Bubble) -> None:
    """Queued, before, after with the outcome, rejected: each once, in order, for every kind of end."""
    notes = Notes()
    steps: list[str] = []
    manager = TaskManager(limit=1, pending_limit=3, hooks=[notes], on_error=lambda handle, error: None, drain_timeout=3)
    async with manager:
        manager.start_soon(work, steps, name="well")
        assert notes.events == [("before", "well", "pending")]
        assert not steps
        manager.start_soon(fail, name="badly")
        manager.start_soon(work, name="never").cancel()
        manager.start_soon(work, name="cancelled")
        manager.start_soon(work, name="too late")
        with pytest.raises(ManagerFull):
            manager.start_soon(work, name="too many")
        await asyncio.sleep(1.5)
        manager._slots.queued_tasks()[0].cancel()
        (running,) = manager._running
        running.cancel()
        await manager.drain()
        await manager.spawn(work, name="spawned")
    assert notes.events == [
        ("before", "well", "pending"),
        ("queued", "badly", "pending"),
        ("queued", "never", "pending"),
        ("after", "never", "cancelled"),
        ("queued", "cancelled", "pending"),
        ("queued", "too late", "pending"),
        ("rejected", "too many", "ManagerFull"),
        ("after", "well", "finished"),
        ("before", "badly", "pending"),
        ("after", "badly", "failed"),
        ("before", "cancelled", "pending"),
        ("after", "too late", "cancelled"),
        ("after", "cancelled", "cancelled"),
        ("before", "spawned", "pending"),
        ("after", "spawned", "finished"),
    ]
    assert not notes.live


@virtual
async def test_hooks_see_what_others_cancel_before_the_first_step(bubble: Bubble) -> None:
    """Without anybody who asks: what began must end."""
    notes = Notes()
    async with TaskManager(hooks=[notes]) as manager:
        handle = manager.start_soon(work, name="lost")
        assert handle._task is not None
        handle._task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert notes.events == [("before", "lost", "pending"), ("after", "lost", "cancelled")]


@virtual
async def test_a_hook_may_lack_what_it_does_not_need(bubble: Bubble) -> None:
    """One of the methods is enough; several hooks are called in order."""
    order: list[str] = []

    class First:
        """Looks at beginnings."""

        def before(self, handle: TaskHandle[Any]) -> None:
            """Take note."""
            order.append("first")

    class Second(First):
        """The same, later."""

        def before(self, handle: TaskHandle[Any]) -> None:
            """Take note."""
            order.append("second")

    async with TaskManager(hooks=[First(), Second()]) as manager:
        manager.start_soon(work)
    assert order == ["first", "second"]


class Broken:
    """A hook whose methods all raise."""

    def __repr__(self) -> str:
        return "Broken()"

    def __getattr__(self, moment: str) -> Any:
        def fails(*args: object) -> None:
            raise LookupError(moment)

        return fails


@on_every_loop
def test_a_broken_hook_hurts_nobody(new_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its errors are logged with its name and moment; the hooks after it, the tasks and the manager go on."""
    notes = Notes()

    async def main() -> int:
        async with TaskManager("mail", limit=1, pending_limit=1, hooks=[Broken(), notes]) as manager:
            manager.start_soon(asyncio.sleep, 0.001)
            handle = manager.start_soon(asyncio.sleep, 0, 5)
            with pytest.raises(ManagerFull):
                manager.start_soon(asyncio.sleep, 0)
            return await handle or 0

    assert run_on(new_loop, main()) == 5
    assert [event for event, _, _ in notes.events] == ["before", "queued", "rejected", "after", "before", "after"]
    assert [record.getMessage() for record in caplog.records] == ["hook failed"] * 6
    assert caplog.records[0].hook == "Broken().before"  # type: ignore[attr-defined]
    assert caplog.records[0].owner == "mail"  # type: ignore[attr-defined]


@virtual
async def test_a_hook_may_cancel_in_before(bubble: Bubble) -> None:
    """The task makes its first step all the same, and is cancelled at its first suspension."""
    steps: list[str] = []

    class Veto:
        """Wants no task."""

        def before(self, handle: TaskHandle[Any]) -> None:
            """Refuse it."""
            handle.cancel("no")

    async with TaskManager(hooks=[Veto()]) as manager:
        handle = manager.start_soon(work, steps)
        await handle.wait()
    assert steps == ["first step"]
    assert handle.cancel_reason == "no"


@virtual
async def test_a_hook_may_start_a_task_in_after(bubble: Bubble) -> None:
    """A successor per task, under a limit, until it has had enough."""

    class Successor:
        """Starts the next."""

        def __init__(self) -> None:
            self.left = 3

        def after(self, handle: TaskHandle[Any]) -> None:
            """Start one more."""
            if self.left:
                self.left -= 1
                manager.start_soon(work)

    manager = TaskManager(limit=1, hooks=[Successor()])
    manager.start_soon(work)
    assert (await manager.drain()).finished == 4
    await manager.aclose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@pytest.mark.parametrize("eager", [False, True])
def test_hooks_of_eager_tasks(eager: bool) -> None:
    """before() comes before the first step, also where that is at once."""
    notes = Notes()

    async def quick() -> None:
        notes.events.append(("step", "", ""))

    async def main() -> None:
        async with TaskManager(eager=eager, hooks=[notes]) as manager:
            manager.start_soon(quick)

    run_on(eager_loop, main())
    assert [event for event, _, _ in notes.events] == ["before", "step", "after"]
