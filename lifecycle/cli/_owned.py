"""What the process still holds (tasks, threads, children, open files), read from the interpreter and ``/proc``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..scheduler._ground.text import plural, shorten

THREAD_TIME = 5.0
"""Seconds that threads have to end before they are counted."""


@dataclass(frozen=True, slots=True)
class Owned:
    """What is still there.

    Attributes:
        tasks: names of asyncio tasks that have not ended.
        threads: names of threads that were not there before.
        processes: numbers of child processes, running or not reaped.
        files: open files of the store.
    """

    tasks: tuple[str, ...]
    threads: tuple[str, ...]
    processes: tuple[int, ...]
    files: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tasks or self.threads or self.processes or self.files)

    def __str__(self) -> str:
        kinds: list[tuple[str, str, Collection[Any]]] = [
            ("task", "tasks", self.tasks),
            ("thread", "threads", self.threads),
            ("child process", "child processes", self.processes),
            ("open store file", "open store files", self.files),
        ]
        parts = [
            f"{plural(len(things), one) if len(things) == 1 else f'{len(things)} {many}'} ({_names(things)})"
            for one, many, things in kinds
            if things
        ]
        return ", ".join(parts) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain table."""
        return {name: list(getattr(self, name)) for name in self.__slots__}


def _names(things: Collection[Any]) -> str:
    return shorten(", ".join(str(thing) for thing in things), 200)


def still_owned(threads_before: Collection[threading.Thread], store: Path | None) -> Owned:
    """Return what this process still has of what a run may have made.

    Args:
        threads_before: the threads that are not ours.
        store: the store's file, None when there is none.
    """
    return Owned(_tasks(), _threads(threads_before), _children(), _open_files(store))


def _threads(before: Collection[threading.Thread]) -> tuple[str, ...]:
    # A loop that closes asks its worker threads to end, and does not wait for them: give them a moment.
    deadline = time.monotonic() + THREAD_TIME
    for thread in threading.enumerate():
        if thread not in before:
            thread.join(max(0.0, deadline - time.monotonic()))
    return tuple(thread.name for thread in threading.enumerate() if thread not in before)


def _tasks() -> tuple[str, ...]:
    # Loops are closed by now, so that asyncio.all_tasks() cannot be asked: look at every object that there is.
    tasks = [thing for thing in gc.get_objects() if issubclass(type(thing), asyncio.Task)]
    return tuple(task.get_name() for task in tasks if not task.done())


def _children() -> tuple[int, ...]:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ()  # there is no child, running or ended
    found = [pid for pid in _process_numbers() if _parent_of(pid) == os.getpid()]
    return tuple(found) or ((ended.si_pid,) if ended else (0,))


def _process_numbers() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def _parent_of(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        # pid (name, which may hold spaces and parentheses) state ppid
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _open_files(store: Path | None) -> tuple[str, ...]:
    if store is None:
        return ()
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}")
                if target.startswith(str(store.absolute())):
                    found.append(target)
    return tuple(found)
