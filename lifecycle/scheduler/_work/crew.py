"""A crew: some tasks that share one line of items, for work at the same time with a bound and results in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from .._ground.checks import integer_problem
from .._ground.values import Kept

if TYPE_CHECKING:
    from .frame import Frame

T = TypeVar("T")

WIDTH = 10
"""Tasks at once unless the flow says otherwise."""


def width_problem(value: object) -> str | None:
    """Return what is wrong with *value* as a number of tasks at once, or None."""
    return integer_problem(value, 1, 1_000)


async def run_crew(
    frame: Frame,
    work: Callable[[int, T], Awaitable[object]],
    items: Sequence[T],
    *,
    width: int,
    stop: bool,
    path: str,
) -> list[object]:
    """Return what ``work(index, item)`` returned for each item, in their order.

    Args:
        frame: where the crew belongs.
        work: called once for each item.
        items: what there is to do.
        width: how many tasks are made, for all items together.
        stop: whether the first failure stops the others; else they finish before it is raised.
        path: the block's path, for names and messages.
    """
    kept = Kept(path)
    results: list[object] = [None] * len(items)
    errors: list[Exception] = []
    line = iter(enumerate(items))

    async def member(line: Iterator[tuple[int, T]]) -> None:
        for index, item in line:
            try:
                results[index] = await work(index, item)
            except Exception as error:
                if stop or frame.abandoned_something(error):
                    raise
                if len(errors) < MOST_ERRORS:
                    errors.append(error)
            else:
                kept.add(results[index])
            frame.count_done(path, len(items))

    async with frame.scope.child(path) as crew:
        handles = [crew.start_soon(member, line, name=path) for _ in range(min(width, len(items)))]
        for handle in handles:
            await handle.wait()
    if errors:
        raise errors[0] if len(errors) == 1 else ExceptionGroup(f"{path}: several failed", errors)
    return results


MOST_ERRORS = 10
"""Errors that are kept when the others finish: each keeps its frames alive, and what they hold."""
