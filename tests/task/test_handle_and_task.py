"""The public face of ``asyncio.Task``, name by name: a handle has each with the same meaning, or there is a reason."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import TaskHandle, TaskManager
from lifecycle.testing import Bubble

from ..loops import virtual

#: What a task has and a handle has not, and why.
ABSENT = {
    "get_context": "the context is the body's; who needs it gives one to start_soon or create_task",
    "get_coro": "what awaits the coroutine is the owner's, and closes it in the step in which the task ends",
    "get_loop": "a task that waits for a slot is in no loop yet",
    "get_stack": "take_snapshot() tells where the tasks of all owners are suspended, through whatever they await",
    "print_stack": "as get_stack",
    "set_exception": "raises on a task, which says itself how it ends",
    "set_result": "as set_exception",
    "set_name": "owners, logs and statistics have told the name already",
    "uncancel": "belongs to who has counted a request of its own: timeouts and groups, of the task that runs them",
}

#: What a task is asked, as in ``thing.name``, and what it says. Of errors the kind is told: see `kind_of`.
ASKED: dict[str, Callable[[Any], object]] = {
    "done": lambda thing: thing.done(),
    "cancelled": lambda thing: thing.cancelled(),
    # A task counts the requests, and goes on to do so when it has ended; whether there is one is the same.
    "cancelling": lambda thing: bool(thing.cancelling()) and not thing.done(),
    "result": lambda thing: thing.result(),
    "exception": lambda thing: thing.exception(),
    "get_name": lambda thing: thing.get_name(),
}


def add_and_remove(thing: Any, log: list[object]) -> tuple[int, int]:
    """Return what removing a callback says before it was added, and after it was added twice."""

    def called(_: object) -> None:
        log.append("called")

    before = thing.remove_done_callback(called)
    thing.add_done_callback(called)
    thing.add_done_callback(called)
    return before, thing.remove_done_callback(called)


#: What a task is told, whenever that is.
TOLD: dict[str, Callable[[Any, list[object]], object]] = {
    "cancel": lambda thing, log: thing.cancel("no longer needed"),
    "add_done_callback": lambda thing, log: thing.add_done_callback(lambda done: log.append(done is thing)),
    "remove_done_callback": add_and_remove,
}

FAILURE = ValueError("planned")


async def returns(log: list[object]) -> str:
    await asyncio.sleep(3)
    return "value"


async def fails(log: list[object]) -> None:
    await asyncio.sleep(3)
    raise FAILURE


async def cleans_up(log: list[object]) -> None:
    try:
        await asyncio.sleep(3)
    except asyncio.CancelledError as cancelled:
        log.append(cancelled.args)
        await asyncio.sleep(1)
        raise


async def swallows(log: list[object]) -> str:
    try:
        await asyncio.sleep(3)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
    return "swallowed"


async def cancels_itself(log: list[object]) -> None:
    await asyncio.sleep(3)
    raise asyncio.CancelledError("its own")


LIVES = (returns, fails, cleans_up, swallows, cancels_itself)

#: Before its first step, while it waits, when it has ended in one way, when it has ended in any.
MOMENTS = (0.0, 1.0, 2.25, 3.5, 5.0)


def kind_of(error: BaseException) -> object:
    """Return what an error means: a handle's owner is not cancelled when it asks for the value of what was."""
    if isinstance(error, asyncio.InvalidStateError):
        return "has not ended"
    if "Cancelled" in type(error).__name__:
        return "was cancelled"
    return error


def said(ask: Callable[[Any], object], thing: Any) -> object:
    try:
        return ask(thing)
    except BaseException as error:
        return kind_of(error)


async def live(
    thing: Any, log: list[object], tell: Callable[[Any, list[object]], object] | None, told_at: float
) -> list[object]:
    """Return what *thing* has said at every moment of its life, and what came of what it was told in one of them."""
    before = 0.0
    for moment in MOMENTS:
        await asyncio.sleep(moment - before)
        before = moment
        if tell is not None and moment == told_at:
            log.append(tell(thing, log))
            await asyncio.sleep(0)
        log.append([said(ask, thing) for ask in ASKED.values()])
    await asyncio.sleep(0)
    log.append(await outcome(thing))
    return log


async def outcome(thing: Awaitable[object]) -> object:
    try:
        return await thing
    except BaseException as error:
        return kind_of(error)


#: All but a cancellation before the first step, which a task does not make and a handle's does: see the next test.
PROGRAMS = [each for each in itertools.product(LIVES, MOMENTS, (None, *TOLD)) if each[1:] != (0.0, "cancel")]


@pytest.mark.parametrize(("life", "moment", "tell"), PROGRAMS)
@virtual
async def test_a_handle_and_a_task_say_the_same(bubble: Bubble, life: Any, moment: float, tell: str | None) -> None:
    """The same small program on both: whenever they are asked, whatever they are told, however they end."""
    logs: list[list[object]] = [[], []]
    async with TaskManager(on_error=lambda *_: None) as manager:
        task = asyncio.create_task(life(logs[0]), name="work")
        handle = manager.start_soon(life, logs[1], name="work")
        both = zip((task, handle), logs, strict=True)
        said_by = [live(thing, log, TOLD[tell] if tell else None, moment) for thing, log in both]
        of_task, of_handle = await asyncio.gather(*said_by)
        assert of_task == of_handle


@virtual
async def test_cancelled_before_the_first_step_both_end_cancelled(bubble: Bubble) -> None:
    """The handle's has made that step, so that what was handed to its body is not lost."""
    logs: list[list[object]] = [[], []]
    async with TaskManager() as manager:
        task, handle = asyncio.create_task(cleans_up(logs[0])), manager.start_soon(cleans_up, logs[1])
        assert task.cancel("at once") is handle.cancel("at once") is True
        assert await outcome(task) == await outcome(handle) == "was cancelled"
        assert task.cancelled()
        assert handle.cancelled()
        assert logs == [[], [("at once",)]]


def test_every_name_of_a_task_is_accounted_for() -> None:
    """Of the Python that runs: a new one is given to handles too, or it is said why not."""
    names = {name for name in dir(asyncio.Task) if not name.startswith("_")}
    assert {*ASKED, *TOLD} <= names <= {*ASKED, *TOLD, *ABSENT}
    assert all(callable(getattr(TaskHandle, name)) for name in (*ASKED, *TOLD))
    assert not [name for name in ABSENT if hasattr(TaskHandle, name)]
