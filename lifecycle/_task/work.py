"""Work: whose task it is, read off the frame in which a task of ours does all that it does.

Nothing is noted when a task starts, so this costs nothing until somebody asks.
"""

from __future__ import annotations

import sys
from asyncio import Task
from collections.abc import Callable, Iterable, Iterator
from types import CoroutineType, FrameType
from typing import Any, Protocol, TypeVar, cast

from .._ground import kernel
from .._ground.awaiters import Waiter
from .._ground.frames import WRAPPERS, coroutine_of, local_of, suspended_frames
from .handle import TaskHandle

F = TypeVar("F", bound=Callable[..., Any])


class Employer(Protocol):
    """What has tasks: an owner, or the part of one that works with tasks."""

    def _hosts(self, task: Task[Any]) -> Iterable[Waiter]:
        """Yield who waits for *task*, which is one of its own, and who goes on when it has come to its own end."""


#: By a function that is all that a task of ours does: the path from one of its variables to the employer. A function
#: stands here by the identity of its code, which takes long to hash.
_EMPLOYERS: dict[int, list[str]] = {}

#: The same for the path to the task that has started it and waits for it from then on.
_STARTERS: dict[int, list[str]] = {}


def work_of(employer: str, *, starter: str | None = None) -> Callable[[F], F]:
    """Mark a coroutine function as all that a task of ours does.

    Args:
        employer: who waits for such tasks, as it is called in there: a variable, or attributes of one.
        starter: the task that starts them, where that waits for them from then on and is one of their waiters.
    """

    def mark(function: F) -> F:
        _EMPLOYERS[id(function.__code__)] = employer.split(".")
        if starter is not None:
            _STARTERS[id(function.__code__)] = starter.split(".")
        return function

    return mark


work_of("self._owner")(TaskHandle._run)


def employer_of(frame: FrameType) -> Employer | None:
    """Return whom the task works for whose work *frame* is; None for one that is at its end."""
    return cast("Employer | None", _at(_EMPLOYERS[id(frame.f_code)], frame))


def starter_of(task: Task[Any]) -> Task[Any] | None:
    """Return who has started *task*, where that is known and waits for it since; None elsewhere."""
    frame = work_in(task)
    path = None if frame is None else _STARTERS.get(id(frame.f_code))
    return None if frame is None or path is None else cast("Task[Any] | None", _at(path, frame))


def _at(path: list[str], frame: FrameType) -> object:
    variable, *attributes = path
    found = local_of(frame, variable)
    for name in attributes:
        found = getattr(found, name, None)
    return found


def handle_at(frame: FrameType) -> TaskHandle[Any] | None:
    """Return the handle of the task whose work *frame* is; None for one that has none."""
    return cast("TaskHandle[Any] | None", local_of(frame, "self")) if frame.f_code is TaskHandle._run.__code__ else None


def handle_of(task: Task[Any]) -> TaskHandle[Any] | None:
    """Return the handle of *task*, also where its coroutine has been wrapped; None for one that is not ours."""
    frame = work_in(task)
    return None if frame is None else handle_at(frame)


def work_in(task: Task[Any]) -> FrameType | None:
    """Return the frame in which *task* does its work; None for one that is not ours, or has ended."""
    outermost: Any = coroutine_of(task)
    if outermost is None:
        return None
    if type(outermost) is CoroutineType:
        code = id(outermost.cr_code)
        if code in _EMPLOYERS:
            return cast("FrameType", outermost.cr_frame)
        wrapped = code in WRAPPERS or task.get_loop().get_task_factory() is not None
    else:
        wrapped = True
    if wrapped:
        for frame in _frames_of(task, outermost):
            if id(frame.f_code) in _EMPLOYERS:
                return frame
    return None


def _frames_of(task: Task[Any], outermost: Any) -> Iterator[FrameType]:
    """Yield the frames of *task*, from either end."""
    last: FrameType | None = getattr(outermost, "cr_frame", None)
    if task is not kernel.current_task():
        yield from suspended_frames(outermost)
        return
    running: FrameType | None = sys._getframe(1)
    while running is not None and running is not last:
        running = running.f_back
        if running is not None:
            yield running
