"""The error family: every error is a LifecycleError and also the class that users already catch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import anyio


class LifecycleError(Exception):
    """Base of every error that this package raises on its own account.

    Errors raised by your callables are never wrapped in it: they reach you as they are, alone or in an
    ``ExceptionGroup``.
    """


class OwnerClosed(LifecycleError, anyio.ClosedResourceError, RuntimeError):
    """Something was asked of an owner that is closing or closed, has not been entered, or is entered for a second time.

    It is a ``RuntimeError`` as well, which is what ``asyncio.TaskGroup`` raises in these places.

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
        fate = "ignored its cancellation and was abandoned" if abandoned else "was cancelled"
        where = f", suspended at {self.stack[-1]}" if self.stack else ""
        super().__init__(
            f"releasing {resource} took longer than {timeout:g} s and {fate}{where}; "
            "make the release faster or give the owner a longer timeout"
        )


class TaskCancelled(LifecycleError, anyio.TaskCancelled):
    """The task whose result was asked for had been cancelled.

    It is not a ``CancelledError``: whoever asks for the result has not been cancelled.
    """


def cancelled_inside(what: str, error: asyncio.CancelledError) -> TaskCancelled:
    """Return the failure of *what*, which raised a cancellation that was not meant for its caller."""
    failure = TaskCancelled(f"{what} was cancelled: {' '.join(map(str, error.args)) or 'from outside'}")
    failure.__cause__ = error
    return failure


class TaskNotFinished(LifecycleError, anyio.TaskNotFinished, asyncio.InvalidStateError):
    """A task's result or exception was asked for before the task had ended."""


class ManagerFull(LifecycleError, anyio.WouldBlock):
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


class TimeoutExpired(LifecycleError, TimeoutError):
    """Something did not end within the ``timeout`` of its call; it has been asked to end.

    What has a bound by default has an error of its own: `ReleaseTimeout`, `CreationTimeout`, `PoolTimeout`,
    `ConnectTimeout`. All of them are a ``TimeoutError``.

    Attributes:
        what: the name of what took too long.
        timeout: the seconds it was given.
    """

    def __init__(self, what: str, timeout: float) -> None:
        self.what = what
        self.timeout = timeout
        super().__init__(f"{what} took longer than {timeout:g} s; make it faster or allow more")


class PoolTimeout(LifecycleError, TimeoutError):
    """No value of a pool became free in the time that the borrower was ready to wait."""


class PoolFull(LifecycleError, anyio.WouldBlock):
    """A pool has as many waiters as it allows, or nothing free for a borrower that does not wait."""


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


class CreationTimeout(LifecycleError, TimeoutError):
    """Making a value took longer than its registry or pool allows.

    Attributes:
        timeout: the seconds it was given.
        stack: where it was suspended when the time was up, outermost call first.
    """

    def __init__(self, what: str, timeout: float, stack: tuple[str, ...]) -> None:
        self.timeout = timeout
        self.stack = stack
        where = f", suspended at {stack[-1]}" if stack else ""
        super().__init__(
            f"{what} took longer than {timeout:g} s and was cancelled{where}; make it faster or allow more"
        )


class StillLent(ReleaseTimeout):
    """An owner closed while values that it had lent were still in use; each is ended when it comes back.

    Attributes:
        borrowed: what is still out, one line each.
    """

    def __init__(self, owner: str, timeout: float, borrowed: Sequence[str]) -> None:
        self.resource = owner
        self.timeout = timeout
        self.abandoned = True
        self.stack: tuple[str, ...] = ()
        self.borrowed: tuple[str, ...] = tuple(borrowed)
        Exception.__init__(
            self,
            f"{owner} closed while {len(self.borrowed)} of its values were still lent after {timeout:g} s: "
            f"{'; '.join(self.borrowed)}. Each is ended when it comes back; return them before the owner closes",
        )


class ConnectTimeout(ConnectError, TimeoutError):
    """A connect took longer than it may; everything half made has been rolled back.

    You do not get it for a `TimeoutError` that the connector itself raises, nor for the timeout of a single stage:
    these are causes of a plain `ConnectError`.
    """


def carries(error: BaseException, given: BaseException) -> bool:
    """Return whether *error* holds *given* by itself: raised from it, or as a group around it."""
    if error is given or error.__cause__ is given:
        return True
    if not isinstance(error, BaseExceptionGroup):
        return False
    leaves = given.exceptions if isinstance(given, BaseExceptionGroup) else (given,)
    return all(any(carries(inner, leaf) for inner in error.exceptions) for leaf in leaves)


def split_cancellation(error: BaseException) -> tuple[asyncio.CancelledError | None, BaseException | None]:
    """Return a cancellation that *error* is, or that is in its group, and what is left without cancellations."""
    if isinstance(error, asyncio.CancelledError):
        return error, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    cancelled, rest = error.split(asyncio.CancelledError)
    found: BaseException | None = cancelled
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return cast("asyncio.CancelledError | None", found), rest
