"""Watches the tasks of an ordinary loop: who made them, where, and which are left when a test has ended."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, Any

from ..._ground.frames import Frames
from .._loop.clock import is_virtual
from .._sites import call_chain, format_chain, format_site, raw_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

# Turns that a task about to end is given before it counts as left behind.
GRACE_TURNS = 20


def _no_maker() -> None:
    """Stands for the maker of a task that was not made in a task, or whose maker has gone."""


class WatchedTask(asyncio.Task[Any]):
    """A task that knows where it was made and by which task.

    Attributes:
        site: raw frames of the code that made it.
        maker: a weak reference to the task in which it was made.
    """

    __slots__ = ("maker", "site")

    def __init__(self, coro: Any, *, loop: Any, **options: Any) -> None:
        self.site: Frames = raw_frames(3, 2)
        maker = asyncio.current_task(loop)
        self.maker = weakref.ref(maker) if maker is not None else _no_maker
        super().__init__(coro, loop=loop, **options)


def path_of(task: asyncio.Task[Any]) -> str:
    """The names of the tasks above a task, outermost first, and its own."""
    names = [task.get_name()]
    above: Any = getattr(task, "maker", _no_maker)()
    while above is not None:
        names.append(above.get_name())
        above = getattr(above, "maker", _no_maker)()
    return " / ".join(reversed(names))


def describe_leak(task: asyncio.Task[Any]) -> str:
    """One leaked task: its path, where it waits and where it was made."""
    lines = [f"task {path_of(task)!r} at {format_chain(call_chain(task))}"]
    site: Frames = getattr(task, "site", ())
    if site:
        lines.append(f"    made at {format_site(site)}")
    return "\n".join(lines)


@contextlib.contextmanager
def watched_tasks(loop: Any) -> Iterator[None]:
    """Let new tasks of a loop know where they were made.

    A loop that has a task factory keeps it: its tasks are found all the same, without a creation site.
    """
    if loop.get_task_factory() is not None or is_virtual(loop):
        yield
        return

    def factory(loop: Any, coro: Any, **options: Any) -> WatchedTask:
        if options.get("name", "") is None:
            del options["name"]
        return WatchedTask(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        yield
    finally:
        if loop.get_task_factory() is factory:
            loop.set_task_factory(None)


async def left_since(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the tasks made since, and still there after a grace of some turns; oldest first.

    Cancellation: raised at once.
    """
    for _ in range(GRACE_TURNS):
        left = _new_tasks(before)
        if not left:
            break
        await asyncio.sleep(0)
    return sorted(_new_tasks(before), key=lambda task: task.get_name())


def _new_tasks(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    current = asyncio.current_task()
    return [task for task in asyncio.all_tasks() if task not in before and task is not current]


async def end_tasks(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel leaked tasks, so that they do not reach the next test.

    Cancellation: raised at once; the tasks have been asked to end.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
