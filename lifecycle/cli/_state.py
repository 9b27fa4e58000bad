"""What a process does at this moment, as a text: who owns what, where each task waits, and where each thread is."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from lifecycle import take_snapshot


def owners_and_tasks() -> str:
    """Return who owns what, and where each task of the loop waits; call it in the loop."""
    lines = ["owners:", *(f"  {line}" for line in str(take_snapshot()).splitlines()), "tasks:"]
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        lines.append(f"  {task.get_name()}")
        lines += [f"    {place_of(frame)}" for frame in frames_of(task.get_coro())]
    return "\n".join(lines)


def threads() -> str:
    """Return where each thread is; call it in any, also while the loop is blocked."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = ["threads:"]
    for number, frame in sys._current_frames().items():
        lines.append(f"  {names.get(number, number)}")
        lines += [f"    {place_of(one)}" for one, _ in traceback.walk_stack(frame)]
    return "\n".join(lines)


def place_of(frame: FrameType) -> str:
    """Return the line that a frame is at."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def frames_of(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of what a coroutine waits for, the outermost first."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:  # a step of an asynchronous generator, which only the garbage collector lets look through
            awaited = next((one for one in gc.get_referents(awaited) if hasattr(one, "ag_frame")), None)
