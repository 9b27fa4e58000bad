"""Work that begins whatever happens: no owner holds it, a foreign cancellation may hit it, a task factory refuse it."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from . import kernel
from .foreign import is_fatal
from .frames import wrapper
from .starts import spawn_eagerly

T = TypeVar("T")


def spawn_surely(work: Callable[[], Coroutine[Any, Any, T]], name: str) -> Task[T]:
    """Do as `spawn_eagerly` does, for what must not be refused: a task factory of the loop that does is passed by."""
    coro = work()
    try:
        return spawn_eagerly(coro, name)
    except BaseException as refusal:
        if kernel.is_plain(kernel.running_loop()):  # a first step that ends the process
            raise
        coro.close()
        if is_fatal(refusal):
            kernel.end_process(refusal)
        return _spawn_natively(work(), name)


def run_surely(work: Callable[[], Coroutine[Any, Any, object]], name: str) -> Task[None]:
    """Return a task that runs *work*; another takes its place if it is cancelled before its first step.

    A task factory of the loop that refuses it is passed by: what an owner has to undo is not for others to refuse.

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

    first = run()
    try:
        task = kernel.spawn_kept(first, name)
    except BaseException as refusal:
        if begun:  # an eager first step that ends the process
            raise
        first.close()
        if is_fatal(refusal):
            kernel.end_process(refusal)
        task = _spawn_natively(run(), name)
    task.add_done_callback(ended)
    return task


_kept: set[Task[Any]] = set()


def _spawn_natively(coro: Coroutine[Any, Any, T], name: str) -> Task[T]:
    """Return a new task that is referenced until it ends, without the task factory of the loop, which has refused."""
    task = kernel.NativeTask(coro, loop=kernel.running_loop(), name=name)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
    return task
