"""keep_connected: a connection that is made again whenever it is lost, one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from typing_extensions import TypeVarTuple, Unpack

from .._connect.stages import Stages
from .._ground.calls import name_of
from .._ground.checks import (
    checked_async,
    checked_callable,
    checked_name,
    checked_seconds,
    checked_timeout,
)
from .._ground.signatures import check_takes
from .._retry.retry import Retry
from .kept import KeptConnection
from .plan import Plan
from .records import ConnectionDown, ConnectionUp

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: The least that is taken for a life, in seconds, where nothing else is said.
LEAST_UPTIME = 10.0


def keep_connected(
    connector: Callable[[Stages, Unpack[Ts]], Awaitable[T]],
    *args: Unpack[Ts],
    retry: Retry | None = None,
    timeout: float | None = None,
    minimum_uptime: float | None = None,
    replay: Callable[[T], object] | None = None,
    on_up: Callable[[ConnectionUp[T]], object] | None = None,
    on_down: Callable[[ConnectionDown[T]], object] | None = None,
    name: str | None = None,
    close_timeout: float | None = 30.0,
) -> KeptConnection[T]:
    """Return a connection that is made again whenever it is lost; it has not begun yet.

    ``connector(stages, *args)`` connects in stages, as for `connect`, once per attempt. **What it does not watch is not
    seen to be lost.** A connection is lost when anything of it ends, by an error or not: a task that the connector has
    started with ``stages.start_soon``, such as a reader or a heartbeat, or a context manager of ``stages.enter``. It
    is lost when a user says so, with ``report_lost`` or by an error that leaves a `use` block. Then nobody gets it any
    more, ``on_down`` is called, everything of it is released, and only then the next attempt begins, after a pause.

    An error that *retry* does not cover is a defect, and ends it: it is given up. So is one whose release ignores its
    cancellation, beside which no other may begin. A task that just ends, as when a peer hangs up, never does that.

    Do not use it for what is only asked now and then: a `Pool` makes its values when they are needed.

    Example::

        async def session(stages, host):
            stream = await stages.acquire(open_stream, host)
            session = Session(stream)
            stages.start_soon(session.read)  # returns, or fails, when the peer is gone
            await stages.step(session.log_in())
            return session

        async with keep_connected(session, "example.org", replay=subscribe_again) as kept:
            session = await kept.get()  # waits for the present one, or the next
            await session.work()

    Args:
        connector: an async function of `Stages` and *args*.
        args: what it is called with after the stages.
        retry: the pauses, and how often in a row it may fail, short lives included; by default for ever. Its
            ``attempts`` and ``timeout`` count anew after each connection that has lived for *minimum_uptime*; of the
            time, only what passes without a connection counts. The first pause after such a life is drawn from
            nothing to the first of its ``backoff``.
        timeout: seconds for each attempt, the replay included; None for no bound.
        minimum_uptime: seconds that a connection has to live, from when it is up, for the pauses to begin anew. It is
            at least the longest pause, or a peer that hangs up at just that age would be asked ever again without one.
            None for the longest pause, or 10 s, whichever is more.
        replay: called with the value before anybody else gets it, inside the attempt: it brings back what the peer has
            forgotten, such as subscriptions. Its failure is that of the attempt. Of either kind, synchronous or not.
        on_up: called with a `ConnectionUp` when a connection is up, in a task of the connection, which ends with it.
        on_down: called with a `ConnectionDown` once for each connection of which ``on_up`` was told, when it is lost
            or closed, before it is released; no cancellation reaches it, and it has *close_timeout* to end.
            The hooks of one connection are over before those of the next begin. What one raises is logged and counted.
            They run in the context in which `keep_connected` was called, as the connector does.
        name: for errors, logs and snapshots; by default the connector's name.
        close_timeout: seconds that each release, a hook, and a connector that has been cancelled, may take. None for
            no bound.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    checked_async(connector, "keep_connected() takes an async function of stages", args_follow=True)
    check_takes(connector, 1 + len(args), "the connector")
    if retry is None:
        retry = Retry()
    elif not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry or None, got {retry!r}")
    for function, what in ((replay, "replay"), (on_up, "on_up"), (on_down, "on_down")):
        if function is not None:
            checked_callable(function, what, takes=1)
    limit = checked_timeout(timeout, "timeout")
    close_limit = checked_timeout(close_timeout, "close_timeout")
    uptime = checked_uptime(minimum_uptime, retry.backoff[1])

    def call(stages: Stages) -> Awaitable[T]:
        return connector(stages, *args)

    label = checked_name(name, name_of(connector))
    return KeptConnection(Plan(label, call, retry, limit, uptime, replay, on_up, on_down, close_limit))


def checked_uptime(seconds: float | None, longest_pause: float) -> float:
    """Return the seconds that a connection has to live.

    Raises:
        TypeError: it is not a number of seconds.
        ValueError: it is less than the longest pause.
    """
    if seconds is None:
        return max(longest_pause, LEAST_UPTIME)
    uptime = checked_seconds(seconds, "minimum_uptime")
    if uptime < longest_pause:
        raise ValueError(
            f"minimum_uptime must be at least the longest pause of the retry, {longest_pause:g} s, got {uptime:g} s; "
            "allow more, or give a Retry with a shorter backoff"
        )
    return uptime
