"""The error family: every error is a LifecycleError and also the class that users already catch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import anyio

from .foreign import in_words


class LifecycleError(Exception):
    """Base of every error that this package raises on its own account.

    Errors raised by your callables are never wrapped in it: they reach you as they are, alone or in an
    ``ExceptionGroup``.

    Every one of them can be pickled and copied with all its attributes, also one of a class of yours that takes other
    arguments than it hands to its base.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again: without its constructor, which wants other arguments than ``args``."""
        _, args, *state = cast("tuple[Any, ...]", super().__reduce__())
        return made_again, (type(self), args), *state


def made_again(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Return an error as it was after its base's constructor; what pickling and copying call."""
    error = kind.__new__(kind, *args)
    if isinstance(error, OSError):
        OSError.__init__(error, *args)  # which sets errno and what belongs to it
    error.args = args
    return error


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


def failure_of(what: str, error: BaseException) -> BaseException:
    """Return what *what*, which raised *error*, has failed with: a cancellation was not meant for its caller."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    reason = " ".join(word if isinstance(word, str) else in_words(word) for word in error.args)
    failure = TaskCancelled(f"{what} was cancelled: {reason or 'from outside'}")
    failure.__cause__ = error
    return failure


class TaskNotFinished(LifecycleError, anyio.TaskNotFinished, asyncio.InvalidStateError):
    """A task's result or exception was asked for before the task had ended."""


class ManagerFull(LifecycleError, anyio.WouldBlock):
    """A task manager has as many waiting tasks as its ``pending_limit`` allows; the new one was refused.

    You do not get it from ``await manager.spawn(...)``, which waits for a free slot instead.
    """


class MailboxFull(LifecycleError, anyio.WouldBlock, asyncio.QueueFull):
    """A mailbox has no room for an item, and its sender does not wait; the item has not been put in.

    You do not get it from ``await mailbox.send(...)`` of a mailbox whose overflow is ``"wait"``.
    """


class MailboxEmpty(LifecycleError, anyio.WouldBlock, asyncio.QueueEmpty):
    """A mailbox has no item for a receiver that does not wait.

    You do not get it where nothing will come any more: that is `OwnerClosed`.
    """


class SubscriberTooSlow(LifecycleError, ConnectionError):
    """A subscriber of a broadcast was disconnected, because it was behind by more than it may be.

    Attributes:
        subscriber: its name.
        missed: how many items it has not got.
    """

    def __init__(self, subscriber: str, missed: int) -> None:
        self.subscriber = subscriber
        self.missed = missed
        super().__init__(
            f"subscriber {subscriber!r} was too slow and is disconnected: it has missed {missed} items; receive "
            "faster, allow more, or choose another overflow"
        )


class WrongLoop(LifecycleError, RuntimeError):
    """Something was asked of an owner in another event loop, or in another thread, than the one that uses it."""


class LimiterFull(LifecycleError, anyio.WouldBlock):
    """A limiter has as many waiters as it allows, or would let one that does not wait begin only later."""


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


class NotConnected(LifecycleError, ConnectionError):
    """There is no connection at this moment, and whoever asked did not want to wait for the next one.

    You do not get it from ``await kept.get()``, except where the next connection waits for the caller: in ``on_down``,
    or in the connector itself.
    """


class ConnectionLost(LifecycleError, ConnectionError):
    """A kept connection has ended although nothing of it has failed: a task of it has returned, or was cancelled."""


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


class RegistryFull(LifecycleError, anyio.WouldBlock):
    """A registry whose ``when_full`` is ``"refuse"`` has no place for one more value; nothing has happened."""


class KeyMissing(LifecycleError, KeyError):
    """A registry has no value under a key, and who asked has given neither a default nor a factory.

    Its only argument is the key, as of every ``KeyError``.
    """


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
            f"{owner} closed while {len(self.borrowed)} of its values were still lent: "
            f"{'; '.join(self.borrowed)}. Each is ended when it comes back; return them before the owner closes",
        )


class ServerDraining(LifecycleError, anyio.EndOfStream):
    """A server that closes has ended the input of a connection, and not the peer, which may have more to say.

    You do not get it from ``async for data in stream``, which just ends: `ServedStream.cut` tells the two ends apart.
    """


class ConnectTimeout(ConnectError, TimeoutError):
    """A connect took longer than it may; everything half made has been rolled back.

    You do not get it for a `TimeoutError` that the connector itself raises, nor for the timeout of a single stage:
    these are causes of a plain `ConnectError`.
    """
