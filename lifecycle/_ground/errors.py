"""The error family: every error is a LifecycleError and also the class that users already catch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio


class LifecycleError(Exception):
    """Base of every error that this package raises on its own account.

    Errors raised by your callables are never wrapped in it: they reach you as they are, alone or in an
    ``ExceptionGroup``.
    """


class OwnerClosed(LifecycleError, anyio.ClosedResourceError):
    """Something was offered to an owner that is closing or closed.

    You do not get it for *closing* twice: closing is idempotent everywhere.
    """


class ReleaseTimeout(LifecycleError, TimeoutError):
    """A release, or the end of a stopped task, took longer than its owner allows.

    Attributes:
        resource: the name of what was being released.
        timeout: the seconds it was given.
        abandoned: true when it also ignored its cancellation, so that it still runs.
        stack: where it was suspended, outermost call first; empty when it could not be seen.
    """

    def __init__(self, resource: str, timeout: float, *, abandoned: bool, stack: Sequence[str] = ()) -> None:
        self.resource = resource
        self.timeout = timeout
        self.abandoned = abandoned
        self.stack: tuple[str, ...] = tuple(stack)
        fate = "ignored its cancellation and was left behind" if abandoned else "was cancelled"
        where = f", suspended at {self.stack[-1]}" if self.stack else ""
        super().__init__(
            f"releasing {resource} took longer than {timeout:g} s and {fate}{where}; "
            "make the release faster or give the owner a longer timeout"
        )


class TaskCancelled(LifecycleError, anyio.TaskCancelled):
    """The task whose result was asked for had been cancelled.

    It is not a ``CancelledError``: whoever asks for the result has not been cancelled.
    """


class TaskNotFinished(LifecycleError, anyio.TaskNotFinished, asyncio.InvalidStateError):
    """A task's result or exception was asked for before the task had ended."""


class PendingLimitReached(LifecycleError, anyio.WouldBlock):
    """A task manager has as many waiting tasks as its ``pending_limit`` allows; the new one was refused.

    You do not get it from ``await manager.spawn(...)``, which waits for a free slot instead.
    """


class NoSurroundingRun(LifecycleError, RuntimeError):
    """``create_background_task`` was called outside of ``lifecycle.run``."""


class ConnectError(LifecycleError, ConnectionError):
    """A connect failed for good, and everything half made has been rolled back.

    Attributes:
        stage: the name of the stage that failed.
        attempts: how many attempts were made.
        rollback_errors: what the rollbacks met.
    """

    def __init__(
        self, message: str, *, stage: str | None, attempts: int, rollback_errors: Sequence[BaseException] = ()
    ) -> None:
        self.stage = stage
        self.attempts = attempts
        self.rollback_errors: tuple[BaseException, ...] = tuple(rollback_errors)
        super().__init__(message)


class PoolTimeout(LifecycleError, TimeoutError):
    """No value of a pool became free in the time that the borrower was ready to wait."""


class PoolFull(LifecycleError, anyio.WouldBlock):
    """A pool has as many waiters as it allows, or nothing free for a borrower that does not wait."""


class LeakError(LifecycleError, AssertionError):
    """Something was still owned where nothing should be."""


def is_fatal(error: BaseException) -> bool:
    """Return whether *error* ends the process and must therefore travel bare, never inside a group."""
    return isinstance(error, (KeyboardInterrupt, SystemExit))


def combine(message: str, errors: Sequence[BaseException]) -> BaseException:
    """Return the one error that carries all of *errors* (at least one), losing none.

    A single error is returned as it is, several as an ``ExceptionGroup``. ``KeyboardInterrupt`` and
    ``SystemExit`` come back bare, so that they still end the process, with the others as their context.
    """
    if len(errors) == 1:
        return errors[0]
    for error in errors:
        if is_fatal(error):
            others = [other for other in errors if other is not error]
            error.__context__ = combine(message, others)
            return error
    return BaseExceptionGroup(message, [*errors])  # it keeps what it is given, which a caller may empty
