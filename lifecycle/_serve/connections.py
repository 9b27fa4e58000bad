"""The connections of a server: one record each, which owns the connection from the step on in which it was taken."""

from __future__ import annotations

import contextlib
from asyncio import CancelledError, Future
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from .._ground import kernel
from .._ground.errors import LifecycleError, ServerDraining
from .._task.handle import CANCELLED, FAILED, TaskHandle
from .listener import Incoming
from .stream import ServedStream
from .tls import TlsWire
from .wire import Wire

Handler = Callable[[ServedStream], Coroutine[Any, Any, object]]

#: What a handler meets on its stream when its peer leaves or is cut off: no error of the handler.
DEPARTURES = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)

#: Looks without any traffic that make a connection idle.
LOOKS = 4

#: Turns of the loop in which it reads what the system has already, before the input of a connection is ended; as many
#: again after each in which something came, but no more than this in all.
READING_TURNS, MOST_TURNS = 3, 50


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What a server has done, and what it holds at one moment.

    The account closes at every await:
    ``accepted == live + finished + departed + failed + idle + handshake_failures + cut``.

    Attributes:
        name: the server's name.
        state: ``"new"``, ``"open"``, ``"closing"`` or ``"closed"``.
        limit: how many connections there may be at once, None for no bound.
        live: connections that have not ended.
        accepted: connections ever taken.
        finished: those whose handler returned, and whose peer was sent all of it.
        departed: those whose peer left, so that the handler met the end of the stream or a broken one.
        failed: those whose handler raised anything else.
        idle: those cut off because nothing came or went for ``idle_timeout``.
        handshake_failures: those that were lost before their handler began.
        cut: those whose handler was cancelled, by the end of a drain or from outside, or whose peer did not take what
            was sent in ``close_timeout``.
        paused: whether no connection is taken at this moment, because of the limit or because descriptors ran out.
        exhausted: how often taking a connection failed because the process or the system had no descriptor left.
    """

    name: str
    state: str
    limit: int | None
    live: int
    accepted: int
    finished: int
    departed: int
    failed: int
    idle: int
    handshake_failures: int
    cut: int
    paused: bool
    exhausted: int


class Connection:
    """One connection, from the step on in which it was taken to that in which its task has ended.

    Attributes:
        peer: who is at the other end.
        verdict: why it ends, where that is known before its task says so.
        error: what ended it, where that is not an error of the handler.
        since: the loop time at which it was taken.
        server: kept alive by a connection that outlives it.
        turn: what it waits for before it begins, None where there is room.
    """

    __slots__ = (
        "_established",
        "_incoming",
        "_input_ends",
        "_quiet",
        "_returned",
        "_settings",
        "_unsent",
        "_wire",
        "error",
        "peer",
        "server",
        "since",
        "turn",
        "verdict",
    )

    def __init__(self, incoming: Incoming, settings: ConnectionSettings) -> None:
        self.peer = incoming.peer
        self.verdict: str | None = None
        self.error: BaseException | None = None
        self.server: object = None
        self.turn: Future[None] | None = None
        self.since = kernel.running_loop().time()
        self._incoming = incoming
        self._settings = settings
        self._wire = Wire() if settings.tls is None else TlsWire()
        self._quiet = 0
        self._unsent = 0
        self._established = False
        self._input_ends = False
        self._returned = False

    async def run(self) -> None:
        """Establish the connection, handle it, and close it."""
        settings = self._settings
        if self.turn is not None:
            await self.turn
        try:
            await self._incoming.establish(self._wire, settings.tls or {})
        except OSError as error:  # a TLS handshake that failed, or took too long, is one as well
            self.verdict, self.error = "handshake_failures", error
            return
        self._established = True
        if self._input_ends:
            self._end_input_soon()
        stream = ServedStream(self._wire, self.peer, settings.close_timeout)
        try:
            await settings.handler(stream)
        except Exception as error:
            if not (self._has_gone() and is_departure(error)):
                with contextlib.suppress(CancelledError):  # which cuts it off, and changes nothing about the failure
                    await stream.aclose()  # what it had to say before it failed still goes out
                raise
            self.verdict, self.error = "departed", error
        else:
            self._returned = True
        await stream.aclose()

    def _has_gone(self) -> bool:
        """Return whether the peer left, so that what the handler met may be just that."""
        return self._wire.ended or self._wire.gone

    def ended(self, handle: TaskHandle[None] | None) -> str:
        """Let go of everything, and return what the end counts as."""
        self._incoming.drop()
        self._wire.abort()
        if self._returned and not self._wire.truncated:
            return "finished"
        if self.verdict is not None:
            return self.verdict
        if self._returned:
            return "cut"
        status = handle.status if handle is not None else CANCELLED
        return "failed" if status is FAILED else "cut" if status is CANCELLED else "finished"

    def end_input(self) -> None:
        """Let the handler see the end of the stream, once it has taken what has come in, to the system or to us.

        A peer that has not begun with the handshake it owes is not waited for.
        """
        self._incoming.hang_up()
        self._input_ends = True
        if self._established:
            self._end_input_soon()

    def _end_input_soon(self, turns: int = READING_TURNS, left: int = MOST_TURNS, size: int = 0) -> None:
        received = self._wire.received
        if received > size:
            turns = READING_TURNS
        if turns and left:
            kernel.running_loop().call_soon(self._end_input_soon, turns - 1, left - 1, received)
        else:
            self._wire.cut_input()

    def drain(self) -> None:
        """Tell the handler that the server closes."""
        self._wire.drain()

    def abort(self) -> None:
        """Cut the connection."""
        self._wire.abort()

    def look(self) -> bool:
        """Look whether there was traffic; return whether `LOOKS` looks in a row have seen none."""
        before, self._unsent = self._unsent, self._wire.unsent
        if self._wire.active or self._unsent < before:
            self._wire.active = False
            self._quiet = 0
        else:
            self._quiet += 1
        return self._quiet >= LOOKS


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What the connections of one server have in common.

    Attributes:
        handler: is called with each stream.
        close_timeout: seconds that sending what waits may take at the end.
        tls: the TLS arguments of ``loop.connect_accepted_socket``, None without TLS.
    """

    handler: Handler
    close_timeout: float
    tls: dict[str, Any] | None


def is_departure(error: BaseException) -> bool:
    """Return whether *error*, or all that is in it, is what a stream raises whose peer has left."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_departure(inner) for inner in error.exceptions)
    if isinstance(error, ServerDraining):
        return True
    return isinstance(error, DEPARTURES) and not isinstance(error, LifecycleError)
