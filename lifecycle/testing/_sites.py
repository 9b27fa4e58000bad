"""Where things were made and where they wait: raw frames captured cheaply, rendered only when printed."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import anyio

from .._ground.frames import Frames, coroutine_of, suspended_frames

_STDLIB = str(Path(asyncio.__file__).parent.parent)
_ASYNCIO = str(Path(asyncio.__file__).parent)
ANYIO = str(Path(anyio.__file__).parent)
_PACKAGE = str(Path(__file__).parent.parent)
_KIT = str(Path(__file__).parent)
_SITE_PACKAGES = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})

# Calls that start a task for their caller. A task made below any other library call (a closer, a connection's
# reader, the inner task of wait_for) belongs to that library.
SPAWN_VERBS = frozenset({
    "create_task", "ensure_future", "gather", "start_soon", "start", "spawn", "start_soon_threadsafe",
    "create_background_task", "amap", "race", "as_completed", "run_coroutine_threadsafe",
})  # fmt: skip

# Below this frame a loop runs a callback: what runs the loop did not make what the callback makes.
_LOOP_EDGE = asyncio.Handle._run.__code__
_own_loop_edge: CodeType | None = None

_kinds: dict[str, str] = {}


def file_kind(filename: str) -> str:
    """Say to whom a source file belongs: ``runtime`` (asyncio, anyio, lifecycle), ``library`` or ``user``."""
    kind = _kinds.get(filename)
    if kind is None:
        kind = _kinds[filename] = _classify(filename)
    return kind


def _classify(filename: str) -> str:
    if filename.startswith((_ASYNCIO, ANYIO, _PACKAGE)):
        return "runtime"
    # "/tools/" etc. inside site-packages all count as one: code that the user did not write.
    if filename.startswith((*_SITE_PACKAGES, _STDLIB, "<frozen")) or "site-packages" in filename:
        return "library"
    return "user"


def mark_loop_edge(run_callback: Any) -> None:
    """Say which function of a virtual loop runs callbacks."""
    global _own_loop_edge
    _own_loop_edge = run_callback.__code__


def raw_frames(depth: int, skip: int = 1) -> Frames:
    """Capture the innermost ``depth`` frames of the running step outside asyncio, anyio and this package.

    No frame object is kept (it would pin its locals) and no source line is read.
    """
    if not depth:
        return ()
    frame: FrameType | None = sys._getframe(skip)
    kept: list[tuple[CodeType, int]] = []
    kinds = _kinds
    while frame is not None:
        code = frame.f_code
        if code is _LOOP_EDGE or code is _own_loop_edge:
            break
        kind = kinds.get(code.co_filename) or file_kind(code.co_filename)
        if kind != "runtime":
            kept.append((code, frame.f_lineno))
            if len(kept) == depth:
                break
        frame = frame.f_back
    return tuple(kept)


def made_by_user(frame: FrameType | None) -> bool:
    """Whether the task being made below ``frame`` was asked for by user code, through a call that spawns."""
    verb: str | None = None
    while frame is not None:
        code = frame.f_code
        kind = file_kind(code.co_filename)
        if kind == "user":
            return verb is None or verb in SPAWN_VERBS
        if kind == "library":
            return False
        verb = code.co_name
        frame = frame.f_back
    return False


def made_by_anyio(frame: FrameType | None) -> bool:
    """Whether the task being made below ``frame`` is made by anyio: the child of one of its task groups."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith((_ASYNCIO, _KIT)):
            return filename.startswith(ANYIO)
        frame = frame.f_back
    return False


def format_frame(code: CodeType, line: int) -> str:
    """Render one place as ``file:line in function``, with the file's last two parts."""
    parts = Path(code.co_filename).parts[-2:]
    name = getattr(code, "co_qualname", code.co_name)
    return f"{'/'.join(parts)}:{line} in {name}"


def format_site(frames: Frames) -> str:
    """Render a creation site, innermost place first."""
    return " < ".join(format_frame(code, line) for code, line in frames) or "unknown"


def call_chain(task: asyncio.Task[Any]) -> list[tuple[CodeType, int]]:
    """Return where a suspended task stands: its coroutines from the outermost to the innermost await."""
    return [(frame.f_code, frame.f_lineno) for frame in suspended_frames(coroutine_of(task))]


def format_chain(chain: list[tuple[CodeType, int]]) -> str:
    """Render a call chain, outermost call first."""
    return " > ".join(format_frame(code, line) for code, line in chain) or "not started"


def describe_task(task: asyncio.Task[Any]) -> str:
    """One task in a dump: name, what it waits for, where, and where it was made."""
    waiter = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        waits = f"waits for task {waiter.get_name()!r}"
    elif waiter is not None:
        waits = f"waits for a {type(waiter).__name__.removeprefix('Virtual').lower()}"
    else:
        waits = "is ready to run"
    lines = [f"  task {task.get_name()!r} {waits}", f"    at {format_chain(call_chain(task))}"]
    site = getattr(task, "site", None)
    if site:
        lines.append(f"    made at {format_site(site)}")
    return "\n".join(lines)


def dump_tasks(tasks: list[asyncio.Task[Any]]) -> str:
    """Render a dump of all tasks, in the order in which they were made."""
    ordered = sorted(tasks, key=lambda task: getattr(task, "number", 0))
    return "\n".join(describe_task(task) for task in ordered) or "  (no task is alive)"
