"""Server: takes connections, runs a handler for each in a task of its own, and lets them finish when it closes."""

from __future__ import annotations

import enum
import socket
import ssl as tls
from asyncio import CancelledError, Future, TimerHandle
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from weakref import WeakMethod

from .._ground import kernel, trace
from .._ground.checks import (
    checked_async,
    checked_callable,
    checked_limit,
    checked_sync,
    checked_timeout,
)
from .._ground.closing import tell_closed, wait_closed
from .._ground.endpoints import checked_tls
from .._ground.errors import OwnerClosed
from .._ground.foreign import in_words
from .._ground.logs import OwnerLog
from .._ground.roots import Portrait, Thing, enroll
from .._ground.signatures import check_takes
from .._ground.watchers import tell_task_failure
from .._manager.ending import end_block
from .._manager.manager import TaskManager
from .._manager.records import DrainReport
from .._task.handle import TaskHandle
from .connections import LOOKS, Connection, ConnectionSettings, Handler, ServerStatistics
from .intake import Intake
from .listener import Incoming, Listener

logger = OwnerLog("lifecycle.server")

#: What draining does to the handlers: end their input, or just tell them.
Drain = Literal["end", "tell"]

Listen = Callable[[], Coroutine[Any, Any, list[Listener]]]


class ServerState(enum.Enum):
    """Where a server is in its life; it only moves down this list."""

    NEW = "new"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


NEW, OPEN, CLOSING, CLOSED = ServerState


class Server:
    """Takes connections and runs a handler for each, in a task of its own; made by `serve_tcp` and `serve_unix`.

    It listens while its block runs. Leaving the block drains: nothing more is taken, handlers see the end of their
    stream and may finish within ``drain_timeout``, the rest is cancelled. A failing handler ends its connection, is
    logged and counted, and leaves the others alone.

    Do not use it as a web server: an ASGI server knows HTTP.

    Attributes:
        name: for logs, errors and statistics.
    """

    def __init__(
        self,
        name: str,
        listen: Listen,
        handler: Handler,
        *,
        limit: int | None,
        idle_timeout: float | None,
        drain: Drain,
        drain_timeout: float | None,
        cancel_timeout: float | None,
        close_timeout: float | None,
        ssl: tls.SSLContext | None,
        handshake_timeout: float | None,
        on_error: Callable[[TaskHandle[Any], BaseException], None] | None,
    ) -> None:
        self.name: str = name
        checked_callable(handler, "handler")
        checked_async(handler, "handler must be an async function of a stream")
        check_takes(handler, 1, "handler")
        if on_error is not None:
            checked_sync(on_error, "on_error", takes=2)
        self._limit = checked_limit(limit)
        self._drain_tells = checked_drain(drain)
        self._idle_timeout = checked_timeout(idle_timeout, "idle_timeout")
        if not self._idle_timeout:
            raise ValueError("idle_timeout must be more than 0 seconds, or None for no bound, got 0")
        self._listen = listen
        closing = checked_timeout(close_timeout, "close_timeout")
        handshake = checked_timeout(handshake_timeout, "handshake_timeout")
        if not handshake:
            raise ValueError("handshake_timeout must be more than 0 seconds, or None for no bound, got 0")
        secure = tls_settings(checked_tls(ssl, "ssl", of_server=True), handshake, closing)
        self._settings = ConnectionSettings(handler, closing, secure)
        self._tasks = TaskManager(
            f"connections of {name}",
            drain_timeout=drain_timeout,
            cancel_timeout=cancel_timeout,
            hooks=(EndHook(self),),
            on_error=on_error or partial(log_error, name),
        )
        self._intake = Intake(name)
        self._connections: dict[TaskHandle[Any], Connection] = {}
        self._in_line: deque[Future[None]] = deque()  # connections that were in line when the server closed
        self._counts: Counter[str] = Counter()
        self._accepted = 0
        self._state = NEW
        self._entered = False
        self._closing = False
        self._context: Context | None = None  # that in which it was entered, and in which everything of it runs
        self._sweeper: TimerHandle | None = None
        self._over: Future[None] | None = None  # see `wait_closed`
        self._since: float | None = None
        self._account: trace.Account | None = None  # while tracing
        enroll(self)

    def __repr__(self) -> str:
        return f"server {self.name!r}"

    # The block

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Cancellation: nothing is left open.

        Raises:
            OwnerClosed: it has been entered before, or is closed.
            OSError: the address cannot be listened on.
        """
        if self._state is not NEW or self._entered:
            raise OwnerClosed(f"{self} has been entered before, or closed: it is {self._state.value}; make another one")
        self._entered = True
        try:
            listeners = await self._listen()
        except BaseException:
            self.close()  # so that `wait` returns
            raise
        if self._state is not NEW:  # closed meanwhile
            for listener in listeners:
                listener.close()
            raise OwnerClosed(f"{self} was closed before it listened")
        self._context = copy_context()
        await self._tasks.__aenter__()
        self._since = kernel.running_loop().time()
        self._state = OPEN
        if trace.sink is not None:
            self._account = trace.Account("server", self.name)
        self._intake.begin(listeners, self._take, self._has_room, self._context)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the server, as `aclose` does; an error of the block goes on.

        Cancellation: ends the draining, is held back until the connections have ended, and raised then.
        """
        await end_block(self, self.aclose(), error, self._tasks.cancel_timeout)

    @property
    def addresses(self) -> tuple[Any, ...]:
        """Where it listens: ``(host, port)`` for each address, or the path of a Unix socket."""
        return self._intake.addresses

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it listens on, once it does; such as for a child process that must not keep it."""
        return self._intake.sockets

    @property
    def port(self) -> int:
        """The port that it listens on.

        Raises:
            RuntimeError: it does not listen, or on a Unix socket.
        """
        for address in self.addresses:
            if isinstance(address, tuple):
                return int(address[1])
        raise RuntimeError(f"{self} listens on no port: it is {self._state.value}")

    def statistics(self) -> ServerStatistics:
        """Return what the server holds at this moment, and what it has done."""
        kinds = ("finished", "departed", "failed", "idle", "handshake_failures", "cut")
        return ServerStatistics(
            name=self.name,
            state=self._state.value,
            limit=self._limit,
            live=len(self._connections),
            accepted=self._accepted,
            paused=self._intake.paused,
            exhausted=self._intake.exhausted,
            **{kind: self._counts[kind] for kind in kinds},
        )

    # Taking connections

    def _has_room(self) -> bool:
        return self._limit is None or len(self._connections) < self._limit

    def _take(self, incoming: Incoming) -> None:
        """Own a connection from this step on; over the limit, where the server closes, it waits for its turn."""
        connection = Connection(incoming, self._settings)
        if self._account is not None:
            self._account.enter(connection, "connection", connection.peer)
        self._accepted += 1
        if self._closing:
            self._end(connection)
        if not self._has_room():
            connection.turn = kernel.new_future()
            self._in_line.append(connection.turn)
        assert self._context is not None
        try:
            # In a copy of the server's context: this may be a step of whoever has made room.
            handle = self._tasks.start_soon(connection.run, name=incoming.peer, context=self._context.copy())
        except BaseException:  # closing, or a task factory that refuses
            self._count_end(connection, None)
            raise
        if handle.done():  # under an eager task factory
            self._count_end(connection, handle)
        else:
            self._connections[handle] = connection
            if self._sweeper is None:
                self._sweep_later()

    # The ends of connections

    def _connection_ended(self, handle: TaskHandle[Any]) -> None:
        connection = self._connections.pop(handle, None)
        if connection is not None:
            self._count_end(connection, handle)
            self._intake.go_on()
            while self._in_line:
                turn = self._in_line.popleft()
                if not turn.done():  # it has been cancelled
                    turn.set_result(None)
                    break
            self._finish_if_empty()
            self._report_closed()

    def _count_end(self, connection: Connection, handle: TaskHandle[Any] | None) -> None:
        verdict = connection.ended(handle)
        if self._account is not None:
            self._account.leave(connection)
        self._counts[verdict] += 1
        if connection.error is not None:
            facts = {"owner": self.name, "peer": connection.peer, "error": in_words(connection.error)}
            logger.debug("connection ended", extra=facts)

    def _sweep_later(self) -> None:
        if self._idle_timeout != kernel.FOREVER:
            loop = kernel.running_loop()
            self._sweeper = loop.call_later(self._idle_timeout / LOOKS, self._sweep, context=self._context)

    def _sweep(self) -> None:
        """Cut off what has been quiet for ``idle_timeout``; each connection is looked at four times in that time."""
        self._sweeper = None
        for handle, connection in list(self._connections.items()):
            if connection.verdict is None and connection.look():
                connection.verdict = "idle"
                handle.cancel(f"nothing came or went for {self._idle_timeout:g} s")
        if self._connections:
            self._sweep_later()

    # Closing

    @property
    def closed(self) -> bool:
        """Whether it listens no more and has come to its end; connections that ignore theirs may be left."""
        return self._state is CLOSED

    def close(self) -> None:
        """Take no more connections; those that are there go on, those in the system's line included. Idempotent.

        When none is left the server is closed.
        """
        if self._state is NEW:
            self._finish()
        elif self._state is OPEN:
            self._state = CLOSING
            self._intake.end(self._finish_if_empty)

    def _finish_if_empty(self) -> None:
        if self._state is CLOSING and not (self._takes_line() or self._connections or self._closing):
            self._finish()

    def cancel(self, reason: str | None = None) -> None:
        """Take no more connections, and cancel the handlers, without waiting for their end.

        Args:
            reason: why; the message of the ``CancelledError`` in the handlers.
        """
        self._intake.close()
        self.close()
        for handle in list(self._connections):
            handle.cancel(reason or f"{self} was cancelled")

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until no connection is left, those included that come meanwhile; after `close` none does.

        Cancellation: ends the waiting; no connection is touched.

        Args:
            timeout: seconds to wait at most; None for as long as it takes. Who is still connected then is named in the
                report's ``running``.
        """
        checked_timeout(timeout, "timeout")
        while self._takes_line():
            await kernel.next_turn()
        return await self._tasks.drain(timeout)

    async def wait(self) -> None:
        """Wait until the server is closed, from wherever: the body of a server that runs for ever.

        Cancellation: ends the waiting, not the server.
        """
        await wait_closed(self)

    async def aclose(self) -> DrainReport:
        """Take no more connections, let the handlers finish, cut off the rest; return what became of them. Idempotent.

        Handlers see the end of their stream once they have taken what has come in, and what they send still goes out.
        After ``drain_timeout`` they are cancelled. A second caller waits for the first. A handler that closes its own
        server is not waited for.

        Cancellation: a native cancellation while the handlers finish ends the draining: they are cancelled, and the
        cancellation is raised when they have ended. A second caller just stops waiting.
        """
        if self._closing:
            while self._takes_line():
                await kernel.next_turn()
            return await self._tasks.aclose()
        self._closing = True
        self.close()
        for connection in self._connections.values():
            self._end(connection)
        held: CancelledError | None = None
        while self._takes_line():
            held = kernel.foremost(held, await kernel.wait_through(kernel.next_turn()))
        if held is not None:
            self.cancel()
        try:
            report = await self._tasks.aclose()
        finally:
            self._finish()
        kernel.conclude(None, held)
        return report

    def _takes_line(self) -> bool:
        """Whether it takes connections still, some in each turn, from what was in line when it closed."""
        return self._intake.ending and not self._intake.closed

    def _end(self, connection: Connection) -> None:
        """Have a handler see that the server closes."""
        connection.drain()
        if not self._drain_tells:
            connection.end_input()

    def _finish(self) -> None:
        for handle, connection in self._connections.items():
            if handle.cancelling():  # it ignores its cancellation, but not the end of its connection
                connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._state = CLOSED
        tell_closed(self)
        for connection in self._connections.values():
            connection.server = self  # which it must find when it ends after all
        self._report_closed()

    def _report_closed(self) -> None:
        if self._account is not None and self._state is CLOSED and self._account.is_empty:
            self._account.end()
            self._account = None

    def _portrait(self) -> Portrait:
        things: list[Thing] = []
        if not self._tasks.closed:
            things.append(Thing("task manager", self._tasks.name, owner=self._tasks))
        if self._state is OPEN:
            things += [Thing("listener", str(address)) for address in self.addresses]
        counts = {"accepted": self._accepted, "live": len(self._connections)}
        return Portrait(
            "server", self.name, self._state.value, self._since, things, counts, trace.mark_in(self._account)
        )


class EndHook:
    """Tells a server of the end of a connection's task, also of one that never began.

    By a weak reference, so that a closed server is freed at once, and not only by the garbage collector.
    """

    def __init__(self, server: Server) -> None:
        self._ended = WeakMethod(server._connection_ended)

    def after(self, handle: TaskHandle[Any]) -> None:
        """Pass it on."""
        ended = self._ended()
        if ended is not None:
            ended(handle)


def log_error(server: str, handle: TaskHandle[Any], error: BaseException) -> None:
    """Log what a handler raised: what a server does unless it is given an ``on_error``."""
    tell_task_failure(logger, "handler failed", error, owner=server, peer=handle.name)


def checked_drain(drain: Drain) -> bool:
    """Return whether draining only tells the handlers of it, and leaves their input open.

    Raises:
        ValueError: it is neither of the two words.
    """
    if drain not in ("end", "tell"):
        raise ValueError(f'drain must be "end" or "tell", got {in_words(drain)}')
    return drain == "tell"


def tls_settings(context: tls.SSLContext | None, handshake: float, shutdown: float) -> dict[str, Any] | None:
    """Return the TLS arguments of a transport, None without TLS."""
    if context is None:
        return None
    settings = {"ssl": context, "ssl_handshake_timeout": handshake, "ssl_shutdown_timeout": shutdown}
    return {key: value for key, value in settings.items() if value is context or (value and value != kernel.FOREVER)}
