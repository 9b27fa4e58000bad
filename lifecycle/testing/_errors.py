"""Errors of the test kit: what a virtual loop, a replay or an exploration can meet."""

from __future__ import annotations

from .._ground.errors import LifecycleError


class LeakError(LifecycleError, AssertionError):
    """Something was still owned where nothing should be."""


class StuckError(LifecycleError, RuntimeError):
    """What both errors of a loop that gets nowhere share.

    Attributes:
        dump: every task that is alive, where it waits and where it was made.
    """

    def __init__(self, message: str, dump: str) -> None:
        self.dump = dump
        super().__init__(f"{message}\n{dump}")


class DeadlockError(StuckError):
    """Nothing is ready, no timer is set and nothing outside is awaited: no task can ever run again.

    You do not get it while a worker thread or a file descriptor is still waited for.

    Attributes:
        dump: every task that is alive, where it waits and where it was made.
    """


class LivelockError(StuckError):
    """The step budget is used up: tasks keep running without getting anywhere.

    Attributes:
        dump: every task that is alive, where it waits and where it was made.
    """


class ReplayError(LifecycleError, RuntimeError):
    """A replay token does not fit: the code has changed since, or the scenario is not deterministic."""


class LeakWarning(UserWarning):
    """A test left tasks or resources behind, and leaks were to be reported as warnings."""


for _error in (DeadlockError, LeakError, LeakWarning, LivelockError, ReplayError):
    _error.__module__ = __package__  # a traceback names what can be imported
