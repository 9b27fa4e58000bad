"""FirstSteps: tasks that a foreign cancellation ends before their first step, when no code of ours runs in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._ground import kernel
from .handle import PENDING, TaskHandle


class FirstSteps:
    """Notices at once a task that is cancelled from outside before its first step.

    Nearly every task makes that step in the loop iteration after its start. So new tasks are looked at one iteration
    later, all together, and only those that have not begun by then get a done callback, which costs more.

    An owner for which nobody waits does without, and calls `sweep` when it is asked what it holds.
    """

    __slots__ = ("_fresh",)

    def __init__(self) -> None:
        self._fresh: list[TaskHandle[Any]] = []  # launched in this loop iteration

    def expect(self, handle: TaskHandle[Any]) -> None:
        """Watch *handle*, unless it has begun, or has no native task yet."""
        if handle._status is PENDING and handle._task is not None:
            if not self._fresh:
                kernel.running_loop().call_soon(self._find_unstarted)
            self._fresh.append(handle)

    def _find_unstarted(self) -> None:
        # This comes after the first step of the first of them; those of the others follow in this loop iteration.
        handles, self._fresh = self._fresh, []
        unstarted = [handle for handle in handles if handle._status is PENDING]
        if unstarted:
            kernel.running_loop().call_soon(watch, unstarted)


def watch(handles: Iterable[TaskHandle[Any]]) -> None:
    """End those of *handles* that were cancelled before their first step, and learn at once of others that will be."""
    for handle in handles:
        handle._sweep()
        if handle._status is PENDING and handle._task is not None:
            handle._watch_native_task()


def sweep(handles: Iterable[TaskHandle[Any]]) -> None:
    """End those of *handles* that were cancelled before their first step."""
    for handle in [handle for handle in handles if handle._task is not None and handle._task.done()]:
        handle._sweep()


def next_sweep(size: int) -> int:
    """Return above how many tasks to sweep again, with *size* of them now: a fourfold costs each a constant share."""
    return 4 * size + 1000
