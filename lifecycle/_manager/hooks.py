"""TaskHooks: what is called while a task manager works, and what becomes of the errors of a hook."""

from __future__ import annotations

from typing import Any, Protocol

from .._ground.checks import checked_sync
from .._ground.foreign import in_words
from .._ground.logs import OwnerLog
from .._ground.watchers import tell_failure
from .._task.handle import TaskHandle

logger = OwnerLog("lifecycle.manager")


# Each method returns: one without a statement would be an abstract one to type checkers, and have to be overridden.
class TaskHooks(Protocol):
    """What a hook of a task manager looks like; leave out the methods that you do not need.

    A hook may derive from it, and need not. Hooks are synchronous and run in the loop. An error that one raises is
    logged, and changes nothing, a ``CancelledError`` included; ``SystemExit`` or ``KeyboardInterrupt`` end the process.
    """

    def queued(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* was taken in and has to wait for a slot."""
        return

    def before(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* has a slot, before its first step."""
        return

    def after(self, handle: TaskHandle[Any]) -> None:
        """Called when *handle* has ended in whatever way, also if it never started: look at its status."""
        return

    def rejected(self, name: str, error: Exception) -> None:
        """Called when a task called *name* was refused; *error* is what its caller gets."""
        return


_METHODS = ("queued", "before", "after", "rejected")


class Hooks:
    """The hooks of one manager, called one after the other; an error of one reaches neither the others nor the manager.

    Args:
        hooks: objects with some of the methods of `TaskHooks`.
        owner: the manager's name, for the log.

    Raises:
        TypeError: an object has none of them, or an asynchronous one.
    """

    __slots__ = ("_hooks", "_owner")

    def __init__(self, hooks: tuple[object, ...], owner: str) -> None:
        for hook in hooks:
            if not any(callable(getattr(hook, method, None)) for method in _METHODS):
                raise TypeError(f"a hook needs one of the methods {', '.join(_METHODS)}; got {hook!r}")
            for method in _METHODS:
                if getattr(hook, method, None) is not None:
                    checked_sync(getattr(hook, method), f"the hook {method}")
        self._hooks = hooks
        self._owner = owner

    def call(self, moment: str, *args: object) -> None:
        """Call the method *moment* of each hook that has it."""
        for hook in self._hooks:
            call = getattr(hook, moment, None)
            if call is None:
                continue
            try:
                call(*args)
            except BaseException as error:
                tell_failure(logger, "hook failed", error, owner=self._owner, hook=f"{in_words(hook)}.{moment}")
