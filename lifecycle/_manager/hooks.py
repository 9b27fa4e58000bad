"""TaskHooks: who looks on while a task manager works, and what becomes of the errors of those who do."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from .._task.handle import TaskHandle

logger = logging.getLogger("lifecycle.tasks")


class TaskHooks(Protocol):
    """What a hook of a task manager looks like; leave out the methods that you do not need.

    Hooks are synchronous and run in the loop. An error that one raises is logged and hurts nobody.
    """

    def queued(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* was taken in and has to wait for a slot."""

    def before(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* has a slot, before its first step."""

    def after(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* has ended in whatever way, also if it never started: look at its status."""

    def rejected(self, name: str, error: Exception) -> None:
        """Called when a task called *name* was refused; *error* is what its sender gets."""


class Hooks:
    """The hooks of one manager, called one after the other, none of which can hurt the manager.

    Args:
        hooks: objects with some of the methods of `TaskHooks`.
        manager: its name, for the log.
    """

    __slots__ = ("_hooks", "_manager")

    def __init__(self, hooks: tuple[object, ...], manager: str) -> None:
        self._hooks = hooks
        self._manager = manager

    def call(self, moment: str, *args: object) -> None:
        """Call the method *moment* of each hook that has it."""
        for hook in self._hooks:
            call = getattr(hook, moment, None)
            if call is None:
                continue
            try:
                call(*args)
            except Exception:
                logger.exception("hook failed", extra={"manager": self._manager, "hook": f"{hook!r}.{moment}"})


def log_error(handle: TaskHandle[Any], error: BaseException) -> None:
    """Log *error* of a background task with its name: what a manager does unless it is told otherwise."""
    logger.error("background task %r failed", handle.name, exc_info=error, extra={"task": handle.name})
