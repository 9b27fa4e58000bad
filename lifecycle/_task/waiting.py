"""Who waits for whom while owners close, so that no close waits for itself."""

from __future__ import annotations

import sys
from asyncio import Task
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, cast

from .._ground import kernel
from .._ground.frames import coroutine_of, suspended_frames
from .handle import TaskHandle

Tasks = frozenset[Task[Any]]

_closers: ContextVar[Tasks] = ContextVar("lifecycle_closers", default=frozenset())

#: Whose end is awaited, by whom and how often: a task of ours by its handle, all tasks of an owner by the owner.
_awaited: dict[object, dict[Tasks, int]] = {}

#: Owners whose tasks have no handle: whether a task is one of theirs, and who waits for all of them.
_awaited_lenders: dict[Callable[[Task[Any]], bool], Tasks] = {}


def closing_tasks(*, but_for: object = None) -> Tasks:
    """Return the calling task and every task that waits, through releases and closes, for what it does.

    An owner that closes must wait for none of them: it would wait for itself.

    Args:
        but_for: an owner; those that wait for it are not looked for, of which there may be many.
    """
    found = _closers.get() | {kernel.current_task()}
    if not (_awaited or _awaited_lenders):
        return found
    all_found = set(found)
    unseen = list(found)
    while unseen:
        for waiters in _waiters_of(unseen.pop(), but_for):
            unseen += waiters - all_found
            all_found |= waiters
    return frozenset(all_found)


def adopt_closers(tasks: Tasks) -> None:
    """Make *tasks* and the calling task part of `closing_tasks` for all that runs in this context from here on."""
    _closers.set(tasks | {kernel.current_task()})


def disown_closers() -> None:
    """Take `adopt_closers` back, at the end of its task: a context that refers to its own task is a cycle."""
    _closers.set(frozenset())


def begin_awaiting(awaited: object, waiters: Tasks) -> None:
    """Note that *waiters* wait, in a close, for the end of one task or of all tasks of an owner."""
    counts = _awaited.setdefault(awaited, {})
    counts[waiters] = counts.get(waiters, 0) + 1


def end_awaiting(awaited: object, waiters: Tasks) -> None:
    """Take back what `begin_awaiting` was told."""
    counts = _awaited[awaited]
    counts[waiters] -= 1
    if not counts[waiters]:
        del counts[waiters]
        if not counts:
            del _awaited[awaited]


@contextmanager
def awaiting_tasks_of(has: Callable[[Task[Any]], bool], waiters: Tasks) -> Iterator[None]:
    """Note, inside the block, that *waiters* wait in a close for every task that *has* says yes to."""
    _awaited_lenders[has] = waiters
    try:
        yield
    finally:
        del _awaited_lenders[has]


def _waiters_of(task: Task[Any], but_for: object) -> Iterator[Tasks]:
    for has, waiters in _awaited_lenders.items():
        if has(task):
            yield waiters
    handle = handle_of(task)
    if handle is not None:
        yield from _awaited.get(handle, ())
        if handle._owner is not but_for:
            yield from _awaited.get(handle._owner, ())


def handle_of(task: Task[Any]) -> TaskHandle[Any] | None:
    """Return the handle of *task*, also where its coroutine has been wrapped; None for one that is not ours."""
    for frame in _frames_of(task):
        if frame.f_code is _WRAPPER:
            handle = frame.f_locals.get("self")  # gone from there when the task has ended
            if handle is not None and handle._task is task:
                return cast("TaskHandle[Any]", handle)
    return None


_WRAPPER = TaskHandle._run.__code__


def _frames_of(task: Task[Any]) -> Iterator[FrameType]:
    """Yield the frames of *task*, from either end; if it is the running one, those below its caller's."""
    if task is not kernel.current_task():
        yield from suspended_frames(coroutine_of(task))
        return
    running: FrameType | None = sys._getframe(2)  # not the caller's own, which would be a cycle
    while running is not None:
        yield running
        running = running.f_back
