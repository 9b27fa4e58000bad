"""TaskHandle: it answers the calls that people know from ``asyncio.Task``, and calls back as one does."""

import asyncio
import contextvars
import weakref
from typing import Any

import pytest

from lifecycle import Scope, TaskGroup, TaskHandle, TaskManager, TaskStatus, gather
from lifecycle.testing import Bubble

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


async def give(value: Any) -> Any:
    """Return the value after a second."""
    await asyncio.sleep(1)
    return value


def ask(task: Any) -> tuple[Any, ...]:
    """Return what a task, or a handle, says of itself."""
    ended = task.done() and not task.cancelled()
    return task.get_name(), task.done(), task.cancelled(), ended and task.exception(), ended and task.result()


@virtual
async def test_a_handle_says_the_same_as_a_task(bubble: Bubble) -> None:
    """The same calls have the same answers at every time of a life."""
    async with TaskGroup() as group:
        pairs = [
            (group.create_task(give(7), name="work"), group.start_soon(give, 7, name="work")),
            (group.create_task(give(8), name="no work"), group.start_soon(give, 8, name="no work")),
        ]
        for _ in range(3):
            for task, handle in pairs:
                assert ask(task) == ask(handle)
            await asyncio.sleep(0.5)
            for thing in pairs[1]:
                thing.cancel()
            assert all(thing.cancelling() for thing in pairs[1] if not thing.done())
            await asyncio.sleep(0.2)


@virtual
async def test_the_commonest_mistake_is_no_answer(bubble: Bubble) -> None:
    """What is a call on a task is none on the handle by accident: each is callable, and none is a plain value."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7)
        for name in ("done", "cancelled", "cancelling", "result", "exception", "get_name"):
            assert callable(getattr(handle, name))
        await handle
        assert handle.return_value == 7


# Callbacks


@on_every_loop
@pytest.mark.parametrize("owner_type", [Scope, TaskManager, TaskGroup])
def test_callbacks_come_from_the_loop_in_order(new_loop: Any, owner_type: Any) -> None:
    """Each gets the handle, which is done; not in the step in which the task ends, and in the order of their adding."""
    seen: list[Any] = []

    async def work() -> str:
        await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_soon(seen.append, "the loop went on")
        return "worked"

    async def main() -> None:
        async with owner_type() as owner:
            handle = owner.start_soon(work)
            handle.add_done_callback(lambda done: seen.append((done is handle, done.result())))
            handle.add_done_callback(lambda done: seen.append("second"))
            await handle
            await asyncio.sleep(0.001)

    run_on(new_loop, main())
    assert seen == ["the loop went on", (True, "worked"), "second"]


@virtual
async def test_a_callback_on_a_task_that_has_ended_comes_soon(bubble: Bubble) -> None:
    """It is called by the loop as well, never by `add_done_callback` itself."""
    seen: list[TaskHandle[Any]] = []
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7)
        await handle
        handle.add_done_callback(seen.append)
        assert seen == []
        await asyncio.sleep(0)
        assert seen == [handle]


@virtual
async def test_a_callback_runs_in_the_context_of_who_added_it(bubble: Bubble) -> None:
    """G21: not in the task's; another one may be given; the same for one that has ended."""
    seen: list[str] = []

    async def work() -> None:
        variable.set("the task's")
        await asyncio.sleep(1)

    def note(_: object) -> None:
        seen.append(variable.get())

    async with TaskManager() as manager:
        handle = manager.start_soon(work)
        for _ in range(2):
            variable.set("the caller's")
            handle.add_done_callback(note)
            variable.set("later")
            other = contextvars.Context()
            other.run(variable.set, "another")
            handle.add_done_callback(note, context=other)
            await handle
            await asyncio.sleep(0)
    assert seen == ["the caller's", "another"] * 2


@virtual
async def test_a_callback_is_taken_back(bubble: Bubble) -> None:
    """All of its additions, by equality, so that a bound method is found; others stay."""

    class Listener:
        def __init__(self) -> None:
            self.heard = 0

        def hear(self, _: object) -> None:
            self.heard += 1

    listener, other = Listener(), Listener()
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7)
        assert handle.remove_done_callback(listener.hear) == 0
        for one in (listener, other, listener):
            handle.add_done_callback(one.hear)
        assert handle.remove_done_callback(listener.hear) == 2
        await handle
        await asyncio.sleep(0)
        assert (listener.heard, other.heard) == (0, 1)
        assert handle.remove_done_callback(other.hear) == 0


@on_every_loop
def test_a_callback_that_raises_is_reported_and_hurts_nobody(new_loop: Any) -> None:
    """As in asyncio its error goes to the loop's exception handler; waiters and other callbacks are told."""
    seen: list[str] = []

    def fail(_: object) -> None:
        raise ValueError("no")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
        async with TaskManager() as manager:
            handle = manager.start_soon(asyncio.sleep, 0.001, 7)
            handle.add_done_callback(fail)
            handle.add_done_callback(lambda _: seen.append("told"))
            assert await handle == 7
            await asyncio.sleep(0.001)

    run_on(new_loop, main())
    assert seen == ["no", "told"]


@pytest.mark.parametrize("end", ["from outside, unstarted", "dropped", "failed", "cancelled"])
def test_every_end_calls_back(end: str) -> None:
    """A task that was never let in, or never had a slot, ends as well; once is enough."""
    seen: list[TaskStatus] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def main() -> None:
        manager = TaskManager(limit=1 if end == "dropped" else None, on_error=lambda *_: None)
        blocker = manager.start_soon(asyncio.sleep, 3600) if end == "dropped" else None
        handle: TaskHandle[Any] = manager.start_soon(fail if end == "failed" else asyncio.Event().wait)
        handle.add_done_callback(lambda done: seen.append(done.status))
        if end == "from outside, unstarted":
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        elif end != "failed":
            handle.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        if blocker is not None:
            blocker.cancel()
        await manager.aclose()

    asyncio.run(main())
    assert seen == [TaskStatus.FAILED if end == "failed" else TaskStatus.CANCELLED]


def test_callbacks_are_no_reference_cycle() -> None:
    """A kept handle does not keep its callbacks, nor they the handle."""

    class Listener:
        def hear(self, _: object) -> None:
            pass

    async def main() -> None:
        async with TaskManager() as manager:
            listener = Listener()
            gone = weakref.ref(listener)
            handle = manager.start_soon(asyncio.sleep, 0)
            handle.add_done_callback(listener.hear)
            del listener
            await handle
            await asyncio.sleep(0)
            assert gone() is None
            handle_gone = weakref.ref(handle)
            del handle
            assert handle_gone() is None

    with without_collection():
        asyncio.run(main())


@virtual
async def test_asyncio_takes_handles_where_it_takes_awaitables(bubble: Bubble) -> None:
    """`asyncio.gather` and ours wait for handles and leave their tasks alone."""
    async with TaskManager() as manager:
        handles = [manager.start_soon(give, n) for n in range(3)]
        assert await asyncio.gather(*handles) == await gather(handles) == [0, 1, 2]
