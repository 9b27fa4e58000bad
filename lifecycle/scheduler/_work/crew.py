"""A crew: some tasks that share one line of items, for work at the same time with a bound and results in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from .._ground.checks import integer_problem
from .._ground.errors import HandlerError
from .._ground.values import Kept
from .ending import in_one_way

if TYPE_CHECKING:
    from lifecycle import TaskHandle

    from .frame import Frame

T = TypeVar("T")

WIDTH = 10
"""Tasks at once unless the flow says otherwise."""


def width_problem(value: object) -> str | None:
    """Return what is wrong with *value* as a number of tasks at once, or None."""
    return integer_problem(value, 1, 1_000)


async def run_members(frame: Frame, member: Callable[[Frame], Awaitable[None]], *, count: int, path: str) -> None:
    """Run *count* tasks that share one work, until all have ended; the first that fails stops the others.

    Args:
        frame: where they belong.
        member: the work, called with the frame of its task.
        count: how many tasks.
        path: the block's path, for names and messages.

    Cancellation: stops them; they have ended when it goes on.
    """
    handles: list[TaskHandle[None]] = []

    async def run(number: int) -> None:
        def asked() -> bool:  # an eager task makes its first step before it has a handle, and nobody can stop it then
            return number < len(handles) and handles[number].cancelling()

        await in_one_way(asked, path, member, replace(frame, asked=asked))

    try:
        async with frame.scope.child(path) as crew:
            handles.extend(crew.start_soon(run, number, name=path) for number in range(count))
            for number in range(count):
                await handles[number].wait()
    finally:
        handles.clear()  # of those that failed the frames lead back here: a cycle


async def run_crew(
    frame: Frame,
    work: Callable[[Frame, int, T], Awaitable[object]],
    items: Sequence[T],
    *,
    width: int,
    stop: bool,
    path: str,
) -> list[object]:
    """Return what ``work(frame, index, item)`` returned for each item, in their order.

    Args:
        frame: where the crew belongs.
        work: called once for each item, with the frame of the task that it is done in.
        items: what there is to do.
        width: how many tasks are made, for all items together.
        stop: whether the first failure stops the others; else they finish before it is raised.
        path: the block's path, for names and messages.

    Raises:
        HandlerError: an item has come to no end at all.
    """
    kept = Kept(path)
    results: list[object] = [_NOTHING] * len(items)
    errors: list[Exception] = []
    line = iter(enumerate(items))

    async def member(own: Frame) -> None:
        for index, item in line:
            try:
                results[index] = await in_one_way(own.asked, f"{path} (item {index})", work, own, index, item)
            except Exception as error:
                if stop or frame.abandoned_something(error):
                    raise
                results[index] = None
                if len(errors) < MOST_ERRORS:
                    errors.append(error)
            else:
                kept.add(results[index])
            frame.count_done(path, len(items))

    try:
        await run_members(frame, member, count=min(width, len(items)), path=path)
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup(f"{path}: several failed", errors)
    finally:
        errors.clear()  # the frames in their tracebacks lead back here: a cycle
    for index, result in enumerate(results):
        if result is _NOTHING:  # whatever became of its task
            raise HandlerError(f"{path}: item {index} has neither a result nor an error")
    return results


MOST_ERRORS = 10
"""Errors that are kept when the others finish: each keeps its frames alive, and what they hold."""

_NOTHING = object()
"""Stands for a result that there is not yet."""
