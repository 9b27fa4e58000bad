"""Starts: tasks that make their first step at once."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import Task, get_running_loop
from collections.abc import Collection, Coroutine
from contextvars import Context
from inspect import CO_COROUTINE
from types import FrameType
from typing import Any, TypeVar

from .frames import coroutine_of, wrapper
from .kernel import spawn

T = TypeVar("T")

#: How many first steps may be made inside each other. Every one takes some frames of the few that Python allows, and
#: scopes may be nested by the hundred.
EAGER_DEPTH = 16


class _Nesting(threading.local):
    depth = 0


_nesting = _Nesting()


def spawn_eagerly(coro: Coroutine[Any, Any, T], name: str | None = None, context: Context | None = None) -> Task[T]:
    """Return a new native task that has made its first step already, on Python 3.12 and later.

    On 3.11, and inside `EAGER_DEPTH` others, the first step comes with the next loop iteration. Under a task factory it
    comes when the factory says.
    """
    if _nesting.depth >= EAGER_DEPTH:
        return spawn(_begin_later(coro), name, context)
    loop = get_running_loop()
    _nesting.depth += 1
    try:
        if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
            return Task(coro, loop=loop, name=name, context=context, eager_start=True)
        return spawn(coro, name, context)
    finally:
        _nesting.depth -= 1


#: What calls every step of a task that is not its first, and the first of one that does not start eagerly.
_IN_A_TURN = asyncio.Handle._run.__code__

#: The tasks of all loops that make their first step eagerly; None from Python 3.14 on, where asyncio does not tell.
_EAGER: Collection[Task[Any]] | None = None
if sys.version_info < (3, 14):
    _EAGER = getattr(asyncio.tasks, "_eager_tasks", ())


def is_in_step_of_starter(task: Task[Any]) -> bool:
    """Return whether *task*, which runs now, makes its first step inside the step of whoever has started it.

    Where it does, some coroutine is on the stack below the one of the task.
    """
    if _EAGER is not None and task not in _EAGER:  # as nearly always, and every close asks
        return False
    outermost: FrameType | None = getattr(coroutine_of(task), "cr_frame", None)
    below = None if outermost is None else outermost.f_back
    while below is not None and below.f_code is not _IN_A_TURN:  # of which uvloop has none
        if below.f_code.co_flags & CO_COROUTINE:
            return True
        below = below.f_back
    return False


@wrapper
async def _begin_later(coro: Coroutine[Any, Any, T]) -> T:
    """Run *coro* from the next loop iteration on, also where a task factory makes tasks eager."""
    try:
        await asyncio.sleep(0)
    except BaseException:
        coro.close()
        raise
    return await coro
