"""Attempts: one call under the rules of a retry; all that is known of it lives and dies with the call."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from .._ground import kernel
from .._ground.calls import call
from .._ground.errors import TimeoutExpired
from .._ground.foreign import with_traceback
from .._ground.logs import OwnerLog
from .deciding import decide
from .failure import RetryFailure
from .history import History
from .policy import Policy

logger = OwnerLog("lifecycle.retry")

#: Seconds for the hook that is told that there is no further attempt: it comes when the time for everything may be up.
LAST_HOOK = 30.0


class Attempts(AsyncIterator["RetryAttempt"]):
    """The attempts of one call, each made in the block of its own; see `RetryAttempt`.

    Args:
        policy: the rules.
        name: what is tried.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        self.policy = policy
        self.name = name
        self.history: History = History()
        self.last_error: BaseException | None = None
        self.pause: float | None = None  # before the next attempt; None where there is none to be
        self.made: bool = False  # whether the present attempt is over; a reference to it would be a cycle
        self._number = 0
        self._began = kernel.clock()()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RetryAttempt:
        """Return the next attempt, after its pause.

        Cancellation: ends the pause.
        """
        if self._number > 0:
            if not self.made:
                raise RuntimeError(f"attempt {self._number} of {self.name!r} was not made: write `async with attempt:`")
            if self.pause is None:
                raise StopAsyncIteration
            await asyncio.sleep(self.pause)
            self.pause = None
            self.made = False
        self._number += 1
        return RetryAttempt(self, self._number)

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt began."""
        return kernel.clock()() - self._began

    @property
    def left(self) -> float:
        """Seconds until everything has to be over."""
        timeout = self.policy.timeout
        return kernel.FOREVER if timeout is None else max(0.0, timeout - self.elapsed)

    async def judge(self, attempt: int, error: BaseException, *, final: bool = False) -> None:
        """Decide what follows *error*, unless it is final anyway, and tell the hook.

        Cancellation: ends the hook.
        """
        pause = None if final else decide(self.policy, attempt, error, self.left)
        if self.policy.on_failure is not None:
            await self._tell(self.policy.on_failure, RetryFailure(self.name, attempt, error, pause, self.elapsed))
            if pause is not None and pause >= self.left:
                pause = None
        self.pause = pause
        if pause is None:
            self.history.tell(error)
            return
        self.last_error = with_traceback(error, None)  # whose frames lead to the attempts: a cycle
        self.history.add(attempt, error)
        if self.history.is_worth_a_line(attempt, kernel.clock()()):
            facts = {"owner": self.name, "attempt": attempt, "error": self.history.latest, "pause": pause}
            logger.warning("attempt failed, another one follows", extra=facts)

    async def _tell(self, hook: Callable[[RetryFailure], object], failure: RetryFailure) -> None:
        limit = self.left if failure.pause is not None else LAST_HOOK
        bound = kernel.time_limit(limit)
        try:
            async with bound:
                await call(hook, failure)
        except TimeoutError as late:
            if not bound.expired():
                raise
            raise TimeoutExpired(f"on_failure of {self.name!r}", limit) from late.__cause__


class RetryAttempt:
    """One attempt of a loop over a `Retry`, made in the block of ``async with``.

    An error in the block that is tried again does not leave it: the loop goes round. Any other does, as it is. A block
    that is left without an error is the end of the loop.

    Attributes:
        number: which attempt it is, from 1.
        error: what the one before it has failed with, without its traceback; None of the first.
    """

    __slots__ = ("_attempts", "_bound", "_entered", "_requests", "_wholly", "error", "number")

    def __init__(self, attempts: Attempts, number: int) -> None:
        self.number: int = number
        self.error: BaseException | None = attempts.last_error
        self._attempts = attempts
        self._entered = False
        self._bound: asyncio.Timeout | None = None
        self._wholly = False  # whether it is the time for everything that bounds it
        self._requests = 0

    async def __aenter__(self) -> Self:
        """Begin the attempt, and its time.

        Cancellation: none; it does not suspend.

        Raises:
            RuntimeError: it has been made.
        """
        if self._entered:
            raise RuntimeError(f"attempt {self.number} of {self._attempts.name!r} has been made; take the next one")
        self._entered = True
        self._requests = kernel.current_task().cancelling()
        left, own = self._attempts.left, self._attempts.policy.attempt_timeout
        self._wholly = own is None or left <= own
        limit = left if own is None else min(left, own)
        if limit != kernel.FOREVER:
            self._bound = kernel.time_limit(limit)
            await self._bound.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the attempt; swallow an error that is tried again.

        Cancellation: ends the hook. A cancellation is never swallowed, nor what the block has made of one.

        Raises:
            TimeoutExpired: the time for everything is up, or that for the last attempt.
            BaseException: what the hook, or a decision of the user's, has raised.
        """
        attempts = self._attempts
        attempts.made = True
        failure: BaseException | None = None
        try:
            late = await self._is_late(exc_type, error, traceback)
            if self._was_cancelled() and not isinstance(error, CancelledError):
                return False
            failure = self._lateness(error) if late else error
            if failure is None or not isinstance(failure, Exception):
                return False
            await attempts.judge(self.number, failure, final=late and self._wholly)
            if attempts.pause is not None and not self._was_cancelled():
                return True
            attempts.pause = None
            if late:
                raise failure
            return False
        finally:
            del self, attempts, error, failure, traceback  # which the traceback would refer to: a cycle

    async def _is_late(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the time of the attempt; return whether the block has been cut off, whatever it has made of that."""
        bound = self._bound
        if bound is None:
            return False
        try:
            await bound.__aexit__(exc_type, error, traceback)
        except TimeoutError:  # in place of the cancellation that has ended the block
            return True
        return bound.expired() and (error is None or isinstance(error, (Exception, BaseExceptionGroup)))

    def _lateness(self, error: BaseException | None) -> TimeoutExpired:
        """Return the error of an attempt that was cut off, and has made *error* of that."""
        attempts = self._attempts
        policy = attempts.policy
        if self._wholly:
            late = TimeoutExpired(f"{attempts.name!r}, in attempt {self.number},", policy.timeout or 0.0)
        else:
            late = TimeoutExpired(f"attempt {self.number} of {attempts.name!r}", policy.attempt_timeout or 0.0)
        late.__cause__ = error if isinstance(error, Exception) else attempts.last_error if self._wholly else None
        return late

    def _was_cancelled(self) -> bool:
        """Whether the calling task has been asked to end since the attempt began, and has not taken that back."""
        return kernel.current_task().cancelling() > self._requests
