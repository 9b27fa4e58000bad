"""Work that begins whatever happens, although no owner holds its task and a foreign cancellation may hit it."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Coroutine
from typing import Any

from . import kernel
from .frames import wrapper


def run_surely(work: Callable[[], Coroutine[Any, Any, object]], name: str) -> Task[None]:
    """Return a task that runs *work*; another takes its place if it is cancelled before its first step.

    Raises:
        RuntimeError: there is no running event loop.
    """
    kernel.running_loop()  # before a coroutine is made in vain
    begun = False

    @wrapper
    async def run() -> None:
        nonlocal begun
        begun = True
        await work()

    def ended(_: Task[None]) -> None:
        if not begun:
            run_surely(work, name)

    task = kernel.spawn_kept(run(), name)
    task.add_done_callback(ended)
    return task
