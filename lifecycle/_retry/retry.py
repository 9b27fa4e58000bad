"""Retry: the rules by which something is tried again, and the ways to do so."""

from __future__ import annotations

from dataclasses import dataclass

from .policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Policy):
    """When something that failed is tried again: by a `connect`, or whatever else is called.

    It holds rules and no state: one object serves any number of calls at once. Do not use it to hide a defect: what is
    not in ``retry_on`` fails at once, and should.

    Example::

        Retry(attempts=5, timeout=60.0, retry_on=(OSError, asyncpg.CannotConnectNowError))

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
