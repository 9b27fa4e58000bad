"""First steps: a task that is cancelled before its first step never runs its body, so somebody else has to notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .._ground.bridge import call_after_first_steps

if TYPE_CHECKING:
    from lifecycle import TaskHandle

    from .attempt import Attempt


class FirstSteps:
    """Looks, a turn or two of the loop later, whether the attempts whose tasks were made have begun.

    One look for all that begin in a turn costs less than a callback for every task. Twice, because a look comes before
    the tasks that were made after it was asked for, in the same turn.

    Args:
        lost: called as ``lost(attempt, why)`` with an attempt that will never begin.
    """

    def __init__(self, lost: Callable[[Attempt, str], None]) -> None:
        self._lost = lost
        self._fresh: list[Attempt] = []
        self._looked_at: list[Attempt] = []  # once, and had not begun
        self._will_look = False

    def watch(self, attempt: Attempt) -> None:
        """Look at an attempt whose task has just been made."""
        self._fresh.append(attempt)
        self._look_soon()

    def _look_soon(self) -> None:
        if not self._will_look:
            self._will_look = True
            call_after_first_steps(self._look)

    def _look(self) -> None:
        self._will_look = False
        for attempt in self._looked_at:
            if not attempt.begun and attempt.task is not None:
                attempt.task.add_done_callback(partial(self._ended, attempt))
        self._looked_at = [attempt for attempt in self._fresh if not attempt.begun]
        self._fresh.clear()
        if self._looked_at:
            self._look_soon()

    def _ended(self, attempt: Attempt, _: TaskHandle[None]) -> None:
        if not attempt.begun:
            self._lost(attempt, "its task was cancelled before its first step")
