"""connect: a connect in stages that can be cancelled anywhere, and then leaves nothing behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from typing_extensions import TypeVarTuple, Unpack

from .._ground.calls import name_of
from .._ground.checks import checked_async, checked_name, checked_timeout
from .._ground.signatures import check_takes
from .._retry.retry import Retry
from .attempt import ConnectAttempt
from .stages import Stages

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def connect(
    connector: Callable[[Stages, Unpack[Ts]], Awaitable[T]],
    *args: Unpack[Ts],
    timeout: float | None = None,
    retry: Retry | None = None,
    name: str | None = None,
    close_timeout: float | None = 30.0,
) -> ConnectAttempt[T]:
    """Return a connect that is not started yet: ``await`` it, use it with ``async with``, or ``poll()`` it.

    ``connector(stages, *args)`` connects in stages: ``await stages.acquire(...)`` for what has to be released,
    ``stages.enter(cm)`` for a context manager, ``stages.step(awaitable)`` for a handshake. What it returns is the
    value. On failure, timeout or cancellation at any point every stage is undone in reverse, once; what arrives too
    late is released as well, and only then the caller gets the error or another attempt begins.

    Do not use it for a single call that cleans up after itself; ``Scope.acquire`` does for one resource.

    Example::

        async def session(stages, host):
            stream = await stages.acquire(open_stream, host, release=close_stream, name="tcp")
            await stages.step(log_in(stream), name="login")
            return Session(stream)

        async with connect(session, "example.org", timeout=5.0, retry=Retry(attempts=3)) as opened:
            await opened.work()

    Args:
        connector: an async function of `Stages` and *args*; called once per attempt.
        args: what it is called with after the stages.
        timeout: seconds for each attempt, over all its stages; the deadline is fixed when the attempt begins. The
            rollback comes on top. None for no bound.
        retry: what to do after a failure; None to give up.
        name: for errors, logs and snapshots; by default the connector's name.
        close_timeout: seconds that each release, and a connector that has been cancelled, may take. None for no bound.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    checked_async(connector, "connect() takes an async function of stages", args_follow=True)
    check_takes(connector, 1 + len(args), "the connector")
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry or None, got {retry!r}")
    limit = checked_timeout(timeout, "timeout")
    close_limit = checked_timeout(close_timeout, "close_timeout")

    def call(stages: Stages) -> Awaitable[T]:
        return connector(stages, *args)

    label = checked_name(name, name_of(connector))
    return ConnectAttempt(call, label, timeout=limit, retry=retry, close_timeout=close_limit)
