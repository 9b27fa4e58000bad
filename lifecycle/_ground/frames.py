"""Frames: where a task is suspended and where a thing was made, with the core's own frames told apart."""

from __future__ import annotations

import gc
import os
import sys
from asyncio import Task
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

#: Code objects and line numbers only: a kept frame object would pin every local variable of its function.
Frames = tuple[tuple[CodeType, int], ...]

#: Coroutine functions of ours that do something else's work, with a few steps of their own around it: by the identity
#: of their code, which takes long to hash.
WRAPPERS: set[int] = set()

_PACKAGE = os.path.dirname(os.path.dirname(__file__))


def is_core(filename: str) -> bool:
    """Return whether a source file is of the core: directly in the package, or in one of its private rooms.

    The scheduler, the test kit and the command line are not: what stands in them is shown to their users.
    """
    directory = os.path.dirname(filename)
    if directory == _PACKAGE:
        return True
    parent, room = os.path.split(directory)
    return parent == _PACKAGE and room.startswith("_")


def calling_site(depth: int) -> Frames:
    """Capture up to *depth* of the calls that have led into the core, innermost first, as `creation_site` does."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_core(frame.f_code.co_filename):
        frame = frame.f_back
    kept: list[tuple[CodeType, int]] = []
    while frame is not None and len(kept) < depth:
        kept.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(kept)


def creation_site(depth: int = 3, *, skip: int = 1) -> Frames:
    """Capture up to ``depth`` raw ``(code, line)`` pairs, innermost first, without touching a source file.

    Args:
        depth: How many frames to keep.
        skip: Frames to leave out at the inner end; 0 keeps the caller of this function.
    """
    frame: FrameType | None = sys._getframe(1)
    kept: list[tuple[CodeType, int]] = []
    while frame is not None and len(kept) < depth + skip:
        kept.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(kept[skip:])


def wrapper(function: F) -> F:
    """Mark a coroutine function as one that does nothing but another's work."""
    WRAPPERS.add(id(function.__code__))
    return function


def coroutine_of(task: Task[Any]) -> object:
    """Return the coroutine of *task*, None where it has ended.

    Python 3.12.1 and older crash for one that an eager task has come to the end of in its first step.
    """
    return None if task.done() else task.get_coro()


async def _nothing() -> None: ...


_coroutine = _nothing()
#: What the ``__await__`` of a coroutine returns, which says nothing of the coroutine that it stands for.
_AWAITED_COROUTINE = type(_coroutine.__await__())
_coroutine.close()
del _coroutine


def suspended_frames(awaited: object) -> Iterator[FrameType]:
    """Yield the frames of a coroutine, a generator, or whatever else can be awaited, outermost first."""
    while awaited is not None:
        if type(awaited) is _AWAITED_COROUTINE:
            (awaited,) = gc.get_referents(awaited)
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        frame = frame or getattr(awaited, "gi_frame", None)
        if frame is None:
            return
        yield frame
        awaited = (
            getattr(awaited, "cr_await", None)
            or getattr(awaited, "ag_await", None)
            or getattr(awaited, "gi_yieldfrom", None)
        )


def suspended_at(task: Task[Any]) -> tuple[str, ...]:
    """Return where *task* is suspended, outermost call first, as ``file:line in function``."""
    return tuple(
        f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        for frame in suspended_frames(coroutine_of(task))
        if not is_core(frame.f_code.co_filename)
    )


def local_of(frame: FrameType, name: str) -> Any:
    """Return the local variable *name* of *frame*, None where it has none."""
    variables: Any = frame.f_locals
    value = variables.get(name)
    if type(variables) is dict:  # before Python 3.13 a copy, which the frame would keep: a cycle, if a traceback does
        variables.clear()
    return value
