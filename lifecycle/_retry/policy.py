"""Policy: how often, how long and after which errors something is tried again, and how long to wait before it is."""

# Annotations are evaluated here: who asks a `Retry` for the types of its fields does not know the names of this file.

import inspect
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from anyio import BrokenResourceError, EndOfStream
from typing_extensions import TypeIs

from .._ground.calls import name_of
from .._ground.checks import (
    LONGEST,
    checked_callable,
    checked_count,
    checked_limit,
    checked_part,
    checked_seconds,
    checked_sync,
    checked_timeout,
)
from .._ground.errors import ConnectError
from .._ground.foreign import in_words, members
from .failure import RetryFailure

Kinds = type[Exception] | tuple[type[Exception], ...]
Judge = Callable[[Exception], bool | float]

#: What networks do: errors of the operating system, time that is up, and a peer that has hung up, as streams say it.
TRANSIENT: tuple[type[Exception], ...] = (OSError, TimeoutError, EOFError, EndOfStream, BrokenResourceError)

#: Of these, what no further attempt mends.
FINAL: tuple[type[Exception], ...] = (
    ssl.SSLCertVerificationError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of a `Retry`, which has the words for them, and the decisions that follow."""

    attempts: int | None = None
    timeout: float | None = None
    attempt_timeout: float | None = None
    backoff: tuple[float, float] = (0.1, 10.0)
    jitter: float = 0.5
    retry_on: Kinds | Judge = TRANSIENT
    give_up_on: Kinds | None = None
    on_failure: Callable[[RetryFailure], object] | None = None

    def __post_init__(self) -> None:
        checked_limit(self.attempts, what="attempts")
        for limit, what in ((self.timeout, "timeout"), (self.attempt_timeout, "attempt_timeout")):
            if checked_timeout(limit, what) == 0.0:
                raise ValueError(f"{what} must be more than 0 seconds, or None for no bound")
        object.__setattr__(self, "backoff", checked_backoff(self.backoff))
        checked_part(self.jitter, "jitter")
        if is_judge(self.retry_on):
            checked_sync(self.retry_on, "retry_on", takes=1)
        else:
            checked_kinds(self.retry_on, "retry_on")
        if self.give_up_on is not None and self.give_up_on != ():
            checked_kinds(self.give_up_on, "give_up_on")
        if self.on_failure is not None:
            checked_callable(self.on_failure, "on_failure", takes=1)

    def covers(self, error: BaseException) -> bool:
        """Return whether *error* is one after which it is tried again.

        Raises:
            TypeError: it is no exception.
            BaseException: what a function `retry_on` raises.
        """
        checked_error(error)
        return self._verdict(error) is not False

    def pause_after(self, attempts: int, error: BaseException, left: float) -> float | None:
        """Return the seconds to wait before the next attempt, None where there is to be none.

        Args:
            attempts: how many have been made, 1 or more.
            error: what the last of them failed with.
            left: seconds until `timeout` has passed.

        Raises:
            TypeError, ValueError: *attempts* is not a whole number from 1, or *error* no exception; or ``retry_on`` is
                a function, and returned what it should not.
            BaseException: what it raised.
        """
        checked_count(attempts, "attempts", least=1)
        checked_error(error)
        if self.attempts is not None and attempts >= self.attempts:
            return None
        verdict = self._verdict(error)
        if verdict is False:
            return None
        pause = self.pause(attempts)
        if verdict is not True:  # seconds that the peer has asked for; chance may only add to them
            pause = max(pause, verdict + self.backoff[0] * self.jitter * random.random())
        return pause if pause < left else None

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after that many failures: doubled each time, bounded, shortened by chance.

        Args:
            failures: how often it has failed, 1 or more.

        Raises:
            TypeError, ValueError: *failures* is not a whole number from 1.
        """
        checked_count(failures, "failures", least=1)
        first, longest = self.backoff
        # The exponent is bounded: 2.0 ** 10_000 is an OverflowError.
        return min(longest, first * 2.0 ** min(failures - 1, 60)) * (1.0 - self.jitter * random.random())

    def _verdict(self, error: BaseException) -> bool | float:
        """Return whether *error* is covered, or the seconds after which it may be tried again at the earliest.

        A group counts if all that is in it does, and waits for the longest; a `ConnectError` as what has caused it.
        """
        error = self._behind(error)
        if not isinstance(error, BaseExceptionGroup):
            return self._judged(error)
        if not is_judge(self.retry_on) and isinstance(error, self.retry_on):
            return not any(map(self._is_final, members(error)))  # the group is named itself
        waits: list[float] = []
        for inner in members(error):
            verdict = isinstance(inner, BaseExceptionGroup) or self._judged(self._behind(inner))
            if verdict is False:
                return False
            if verdict is not True:
                waits.append(verdict)
        return max(waits, default=True)

    def _behind(self, error: BaseException) -> BaseException:
        """Return what has to be judged of *error*: of a connect inside of what is tried, its cause."""
        seen: set[int] = set()
        while isinstance(error, ConnectError) and not isinstance(error, TimeoutError) and id(error) not in seen:
            seen.add(id(error))
            cause = error.__cause__
            if cause is None or self._names(ConnectError):
                break
            error = cause
        return error

    def _names(self, kind: type[Exception]) -> bool:
        """Return whether `retry_on` names *kind*, or a class below it."""
        return not is_judge(self.retry_on) and any(issubclass(named, kind) for named in kinds_of(self.retry_on))

    def _is_final(self, error: BaseException) -> bool:
        """Return whether no attempt follows *error*, whatever `retry_on` says."""
        if not isinstance(error, Exception):
            return True  # a cancellation, or what ends the process
        if self.give_up_on is not None:
            return isinstance(error, self.give_up_on)
        if is_judge(self.retry_on):
            return False
        return any(isinstance(error, kind) and not self._names(kind) for kind in FINAL)

    def _judged(self, error: BaseException) -> bool | float:
        """Return the verdict on *error* alone."""
        if self._is_final(error):
            return False
        judge = self.retry_on
        if not is_judge(judge):
            return isinstance(error, judge)
        verdict: object = judge(cast("Exception", error))
        if isinstance(verdict, bool):
            return verdict
        if isinstance(verdict, (int, float)) and 0.0 <= verdict <= LONGEST:
            return float(verdict)
        if inspect.iscoroutine(verdict):
            verdict.close()
        told = f"{name_of(judge)}(), the retry_on of a Retry, has returned {in_words(verdict)}"
        kind = ValueError if isinstance(verdict, (int, float)) else TypeError
        raise kind(f"{told}; it returns True, False, or the seconds to wait at least, from 0 to {LONGEST:g}")


def is_judge(retry_on: Kinds | Judge) -> TypeIs[Judge]:
    """Return whether *retry_on* is a function that is asked, and no classes."""
    return not isinstance(retry_on, (type, tuple))


def kinds_of(kinds: Kinds) -> tuple[type[Exception], ...]:
    """Return the classes, of which there may be one alone."""
    return kinds if isinstance(kinds, tuple) else (kinds,)


def checked_error(error: object) -> None:
    """Check that *error* is an exception.

    Raises:
        TypeError: it is something else, its class for instance.
    """
    if not isinstance(error, BaseException):
        raise TypeError(f"error must be an exception, got {in_words(error)}")


def checked_kinds(kinds: object, what: str) -> None:
    """Check that *kinds* is a class of errors, or several.

    Raises:
        TypeError: it is something else.
        ValueError: there is none in it.
    """
    several = kinds if isinstance(kinds, tuple) else (kinds,)
    for kind in several:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"{what} must be exception classes, got {in_words(kinds)}")
    if not several:
        raise ValueError(f"{what} has no class in it; without one nothing would ever be tried again")


def checked_backoff(backoff: object) -> tuple[float, float]:
    """Return the first pause and the longest one.

    Raises:
        TypeError: it is not two numbers.
        ValueError: one is out of its range, or the first is longer than the longest.
    """
    if not isinstance(backoff, (tuple, list)) or len(backoff) != 2:
        raise TypeError(f"backoff must be two numbers, the first pause and the longest, got {in_words(backoff)}")
    first, longest = (checked_seconds(pause, "backoff") for pause in backoff)
    if first > longest:
        raise ValueError(f"backoff must be the first pause and then the longest, got {first:g} and {longest:g}")
    return first, longest
