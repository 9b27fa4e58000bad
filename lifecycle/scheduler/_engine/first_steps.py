"""First steps: a task that is cancelled before its first step never runs its body, so somebody else has to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._ground.bridge import call_after_first_steps

if TYPE_CHECKING:
    from .attempt import Attempt


class FirstSteps:
    """Looks, a turn of the loop later, whether the attempts whose tasks were made have begun, or are over.

    One look for all that begin in a turn costs less than a callback for every task.

    Args:
        lost: called as ``lost(attempt, why)`` with an attempt that will never begin.
    """

    def __init__(self, lost: Callable[[Attempt, str], None]) -> None:
        self._lost = lost
        self._fresh: list[Attempt] = []

    def watch(self, attempt: Attempt) -> None:
        """Look at an attempt whose task has just been made."""
        self._fresh.append(attempt)
        if len(self._fresh) == 1:
            call_after_first_steps(self._look)

    def _look(self) -> None:
        fresh, self._fresh = self._fresh, []
        for attempt in fresh:
            if attempt.begun or attempt.task is None:
                continue
            if attempt.task.done():
                self._lost(attempt, "its task was cancelled before its first step")
            else:  # it was made after this was asked for, in the same turn
                self.watch(attempt)
