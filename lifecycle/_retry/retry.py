"""Retry: the rules by which something is tried again, and the ways to do so."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

from .._ground.calls import coroutine_from, name_of
from .attempts import Attempts, RetryAttempt
from .functions import check_arguments, check_function
from .policy import Policy

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Policy):
    """When something that failed is tried again: by a `connect`, or whatever else is called.

    It holds rules and no state: one object serves any number of calls at once. Do not use it to hide a defect: what is
    not in ``retry_on`` fails at once, and should.

    Example::

        retry = Retry(attempts=5, timeout=60.0, retry_on=(OSError, asyncpg.CannotConnectNowError))

        @retry
        async def count_words(text):
            return len(text.split())

        assert await count_words("twice as long") == 3
        await retry.call(count_words, "once more")
        async for attempt in retry:
            async with attempt:
                await count_words("in a loop")

    Attributes:
        attempts: how many attempts at most, from 1; None for no bound.
        timeout: seconds for everything: all attempts, their rollbacks, the hooks and the pauses between them; None for
            no bound. It cuts an attempt short; no pause is made that could not be over in time.
        attempt_timeout: seconds for each attempt; None for no bound.
        backoff: the first pause and the longest one, in seconds; each is twice the one before it.
        jitter: the part of a pause, from 0 to 1, that chance may take away, so that those who failed together do not
            return together.
        retry_on: the errors after which it is tried again, by default those of networks: ``OSError``,
            ``TimeoutError``, ``EOFError``, and anyio's ``EndOfStream`` and ``BrokenResourceError``. Or a synchronous
            function that is asked about each error: it returns True, False, or the seconds to wait at least, such as
            those of a ``Retry-After``; what it raises ends the retrying. A group counts if all that is in it does, and
            a `ConnectError` as its cause. A cancellation never does.
        give_up_on: errors after which it is not tried again although ``retry_on`` covers them. None: a certificate that
            is not trusted, ``PermissionError``, ``IsADirectoryError`` and ``NotADirectoryError``, but for what
            ``retry_on`` names itself, and nothing where ``retry_on`` is a function. ``()`` for nothing.
        on_failure: called with a `RetryFailure` after each failed attempt, before the pause, and awaited where it is
            asynchronous; the last failure included. What it raises ends the retrying.

    Raises:
        TypeError, ValueError: a value is out of its range.
    """

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return *fn*, tried again by these rules at each call; for use as a decorator.

        What comes back is a plain async function, and so a method where it stands in a class. See `call`.

        Raises:
            TypeError: *fn* is no async function; or it yields, and what it has yielded could not be taken back.
        """
        check_function(fn)

        @functools.wraps(fn)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(fn, *args, **kwargs)

        return retried

    async def call(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``await fn(*args, **kwargs)`` gives, tried again by these rules, in the calling task.

        An attempt begins when the one before has ended completely. What *args* hold is the same for each of them: a
        file or an iterator would be read on where it stands; make it inside of *fn*.

        Cancellation: raised in *fn*, in the hook or in the pause, and ends all of it. It is never tried again, nor is
        an error that *fn* has made of it.

        Args:
            fn: an async function.
            args: what it is called with, each time.
            kwargs: the same by name.

        Raises:
            TimeoutExpired: ``timeout`` has passed; or ``attempt_timeout``, in the last attempt.
            TypeError: *fn* is no async function, or an argument can be used but once: a coroutine or a generator.
            BaseException: the error of the last attempt, as it is, with a note of those before; or what the hook, or a
                decision of yours, has raised.
        """
        check_function(fn)
        check_arguments((*args, *kwargs.values()))
        attempts = Attempts(self, name_of(fn))
        async for attempt in attempts:
            async with attempt:
                made = fn(*args, **kwargs)
                coro: Awaitable[T] = made if type(made) is CoroutineType else coroutine_from(fn, made)
                result = await coro
            if attempts.pause is None:  # not in the block: nothing keeps a return from being one, also when time was up
                return result
        raise AssertionError("an attempt has ended neither way")

    def __aiter__(self) -> AsyncIterator[RetryAttempt]:
        """Return the attempts of a loop, each to be made in ``async with attempt:``.

        Cancellation: ends the attempt, the hook or the pause, and the loop.
        """
        return Attempts(self, sys._getframe(1).f_code.co_qualname)
