"""Background tasks of the process: in the manager of the surrounding `run`."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

from typing_extensions import ParamSpec

from .._ground.calls import checked_coroutine, coroutine_from, name_of
from .._ground.checks import checked_async
from .._ground.errors import NoSurroundingRun
from .._manager.manager import TaskManager
from .._task.handle import TaskHandle

T = TypeVar("T")
P = ParamSpec("P")

#: The manager of the surrounding run.
background_manager: ContextVar[TaskManager] = ContextVar("lifecycle_background")


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
    manager = background_manager.get(None)
    if manager is None:
        coro.close()
        raise NoSurroundingRun(
            "create_background_task() needs a surrounding lifecycle.run(main); elsewhere use a TaskManager of your own"
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
