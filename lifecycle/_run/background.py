"""Background tasks: in the manager of the surrounding `run`, or in the running loop's own."""

from __future__ import annotations

import functools
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from typing_extensions import ParamSpec

from .._ground import kernel
from .._ground.calls import checked_coroutine, coroutine_from, name_of
from .._ground.checks import checked_async
from .._ground.errors import NoSurroundingRun
from .._ground.per_loop import kept_by_loop
from .._manager.manager import TaskManager
from .._task.handle import TaskHandle

T = TypeVar("T")
P = ParamSpec("P")


class LoopBackground:
    """The background of one event loop.

    Attributes:
        of_run: the manager of the `run` whose loop it is, which drains it; None elsewhere.
    """

    def __init__(self) -> None:
        self.of_run: TaskManager | None = None
        self._own: TaskManager | None = None

    def manager(self) -> TaskManager:
        """Return the manager of the run, or else the loop's own, a new one where somebody has closed that."""
        if self.of_run is not None:
            return self.of_run
        if self._own is None or self._own.closed:
            self._own = TaskManager("background")
        return self._own


#: Returns the background of a loop.
background_of: Callable[[AbstractEventLoop], LoopBackground] = kept_by_loop("_lifecycle_background", LoopBackground)


def get_background_manager() -> TaskManager:
    """Return the manager of the running loop's background tasks, for libraries that do not own the process.

    Under `run` it is that one's, which is drained at the end. Elsewhere the loop has one of its own, made when it is
    first asked for: its tasks are referenced and named, their errors are logged, and they are cancelled with all other
    tasks when the loop's ``asyncio.run`` ends. Who wants them to finish drains it before: ``await manager.drain()``.

    It is shared by everybody in the loop, so do not close it; a library that has a `close` of its own, or wants limits
    or hooks, makes its own ``TaskManager``.

    Example::

        def send_later(message):
            get_background_manager().start_soon(send, message, name=f"send {message.id}")

    Raises:
        RuntimeError: no event loop is running in this thread.
    """
    return background_of(kernel.running_loop()).manager()


def create_background_task(
    coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
) -> TaskHandle[T]:
    """Start *coro* in the background of the surrounding `run`: referenced, named, drained at the end.

    An error is logged with the task's name.

    Raises:
        RuntimeError: the caller does not run under `run`; *coro* has been closed.
        OwnerClosed: the process is ending; *coro* has been closed.
    """
    coro = checked_coroutine(coro)
    try:
        manager = background_of(kernel.running_loop()).of_run
    except RuntimeError:  # no loop is running, and so no run
        manager = None
    if manager is None:
        coro.close()
        raise NoSurroundingRun(
            "create_background_task() needs a surrounding lifecycle.run(main); "
            "elsewhere use get_background_manager(), or a TaskManager of your own"
        )
    return manager.create_task(coro, name=name, context=context)


def background(fn: Callable[P, Awaitable[T]]) -> Callable[P, TaskHandle[T]]:
    """Make an async function start in the background when it is called, and return its handle.

    The task belongs to the surrounding ``lifecycle.run``: referenced, named after the function, its errors logged,
    drained at the end.

    Example::

        @background
        async def send_welcome(user): ...

        send_welcome(user)  # no await: it runs in the background

    The call raises ``RuntimeError`` outside of ``lifecycle.run`` and ``OwnerClosed`` when the process is ending.

    Args:
        fn: an async function, or anything else that returns an awaitable when it is called.

    Raises:
        TypeError: *fn* is something else.
    """
    checked_async(fn, "@background takes an async function")

    @functools.wraps(fn)
    def start(*args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]:
        return create_background_task(coroutine_from(fn, fn(*args, **kwargs)), name=name_of(fn))

    return start
