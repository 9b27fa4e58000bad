"""ControlServer: lets Redis clients talk to a running scheduler."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import SocketAttribute

from lifecycle import DrainReport, ReaderWorker, Registry, Scope, ServedStream, TaskHandle, __version__, serve_tcp
from lifecycle.types import Server

from .._blocks.flow import Flow
from .._engine.scheduler import Scheduler
from .._ground.addresses import check_password
from .._ground.alarms import Alarms
from .._ground.checks import check_integer
from .._ground.descriptors import affordable
from .._ground.forks import close_in_children
from .._ground.opening import enter_and_open
from .._ground.patience import Patience
from ._commands import CommandTable
from ._encoder import Push, encode
from ._event_commands import CHANNEL
from ._limits import Limits
from ._long_lists import AT_ONCE, SHORT
from ._session import Session
from ._table import COMMANDS
from ._unread import Unread

DEFAULT_PORT = 6480

AHEAD = 4
"""Pieces of input that wait for the worker of a connection; each is at most what one read returns."""

FAREWELL = 2.0
"""Seconds that a client may take to read the last answers before its connection is cut."""


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """What a control server has done, and what it serves.

    Attributes:
        name: the server's name.
        state: ``"new"``, ``"open"``, ``"closing"`` or ``"closed"``.
        clients: how many are connected.
        watching: how many of them get events.
        connections: how many have ever connected.
        protocol_errors: how many were disconnected because what they sent was not a command.
        slow: how many were cut off because they did not read what was sent to them.
        refused: how many wrong passwords were given.
        http: how many were cut off because they sent HTTP, which a web page can make a browser do.
        silent: how many were cut off because they gave no password, or sent nothing, for too long.
    """

    name: str
    state: str
    clients: int
    watching: int
    connections: int
    protocol_errors: int
    slow: int
    refused: int
    http: int
    silent: int


class ControlServer:
    """Serves RESP2 and RESP3 while its ``async with`` block runs.

    Example::

        async with Scheduler() as scheduler, ControlServer(scheduler, port=0) as control:
            print("redis-cli -p", control.port, "LC.LIST")

    Args:
        scheduler: an open scheduler, which stays open for longer than the server.
        host: where to listen; anywhere but on the machine itself only with a password.
        port: where to listen; 0 for any that is free.
        password: what clients have to give with AUTH or HELLO; None for no password.
        flows: flows that ``LC.ENQUEUE`` can name.
        limit: how many clients there may be at once; never more than half of the descriptors of the process.
        limits: what each may send, and how much may wait for it.
        idle_timeout: seconds without traffic after which a client is cut off; None for no bound.
        drain_timeout: seconds to answer what has been read when the server closes; None for no bound.
        ssl: the context of a server that speaks TLS.
        name: for logs, errors and statistics; "control server" unless given.

    Attributes:
        name: the same.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: the host is not this machine and there is no password, the password is empty, or a number is
            outside of its range.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        password: str | None = None,
        flows: Iterable[Flow] = (),
        limit: int = 10_000,
        limits: Limits | None = None,
        idle_timeout: float | None = None,
        drain_timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        name: str | None = None,
    ) -> None:
        check_password("the control server", host, password)
        self.scheduler = scheduler
        self.password = password
        self.flows: Mapping[str, Flow] = {flow.name: flow for flow in flows}
        check_integer(limit, "limit", 1)
        self.limit: int = affordable(limit)
        self.limits: Limits = limits or Limits()
        self.commands: CommandTable[Session] = COMMANDS
        self._scope = Scope("control server" if name is None else name, close_timeout=None)
        self.name: str = self._scope.name
        self._drain_timeout = drain_timeout
        self._server = serve_tcp(
            self._handle,
            host,
            port,
            limit=self.limit,
            idle_timeout=idle_timeout,
            drain_timeout=drain_timeout,
            close_timeout=FAREWELL,
            ssl=ssl,
            name=self.name,
        )
        self._sessions: Registry[int, Session] = Registry("clients")
        self._numbers = itertools.count(1)
        few = min(self.limits.strangers, max(1, self.limit // 4))
        self._strangers = Patience(few, self.limits.stranger_timeout, self._scope.start_soon)
        self._alarms = Alarms(self.name)
        self._counts: Counter[str] = Counter()
        self._watching: set[Session] = set()
        self._long_lists = anyio.Semaphore(AT_ONCE)
        self.unread: Unread[Session] = Unread(self.limits.output_in_all)
        self._pump: TaskHandle[None] | None = None
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Cancellation: nothing is left open.

        Raises:
            OwnerClosed: it has been entered before, or is closed.
            OSError: the address cannot be listened on.
        """
        await enter_and_open(self._scope, self._open)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Take no more clients, answer what has been read, and close.

        Cancellation: held back until that is done, which is bounded.
        """
        return await self._scope.__aexit__(exc_type, error, traceback)

    async def _open(self) -> None:
        await self._scope.enter(self._sessions)
        await self._scope.enter(self._server)
        for listening in self._server.sockets:
            self._scope.callback(close_in_children(listening))

    def close(self) -> None:
        """Take no more clients; those that are connected go on. Idempotent."""
        self._server.close()

    def cancel(self, reason: str | None = None) -> None:
        """Take no more clients, and cut off those that are connected, without waiting for their end.

        Args:
            reason: why; the message of the ``CancelledError`` in what serves them.
        """
        self._server.cancel(reason)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until no client is connected, those included that come meanwhile; after `close` none does.

        Cancellation: ends the waiting; no client is touched.

        Args:
            timeout: seconds to wait at most; None for as long as it takes. Who is still connected then is named in the
                report's ``running``.
        """
        return await self._server.drain(timeout)

    async def aclose(self) -> DrainReport:
        """Take no more clients, answer what has been read, close, and return what became of them. Idempotent.

        A second caller waits for the first.

        Cancellation: held back until that is done, which is bounded.
        """
        await self._scope.aclose()
        return await self._server.aclose()

    async def wait(self) -> None:
        """Wait until it is closed, which somewhere else does.

        Cancellation: ends the waiting, and changes nothing.
        """
        await self._scope.wait()

    @property
    def closed(self) -> bool:
        """Whether it has come to its end."""
        return self._scope.closed

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def server(self) -> Server:
        """The server under it."""
        return self._server

    def statistics(self) -> ControlStatistics:
        """Return what it serves and what it has done."""
        under = self._server.statistics()
        return ControlStatistics(
            name=self.name,
            state=under.state,
            clients=len(self._sessions),
            watching=len(self._watching),
            connections=under.accepted,
            protocol_errors=self._counts["protocol_errors"],
            slow=self._counts["slow"],
            refused=self._counts["refused"],
            http=self._counts["http"],
            silent=self._strangers.ended,
        )

    # What sessions ask

    def sessions(self) -> list[Session]:
        """Return the clients that are connected, the oldest first."""
        return [session for number in list(self._sessions) if (session := self._sessions.get(number)) is not None]

    def count(self, what: str) -> None:
        """Count something that has happened."""
        self._counts[what] += 1

    def alarm(self, event: str, session: Session, **about: object) -> None:
        """Tell of what a client did that may be an attack, or a mistake that nobody else hears of."""
        self._alarms.tell(event, client=session.stream.peer, **about)

    def welcome(self, session: Session) -> None:
        """Let a client stay for as long as it likes."""
        self._strangers.leave(session.id)

    def watch(self, session: Session, *, on: bool) -> None:
        """Start or stop sending events to a client."""
        if session.watching is on:
            return
        session.watching = on
        (self._watching.add if on else self._watching.discard)(session)
        if on and (self._pump is None or self._pump.done()):
            self._pump = self._scope.start_soon(self._tell_watchers, name="events for clients")

    def long_list(self, length: int) -> AbstractAsyncContextManager[object]:
        """Wait for a turn to have a list of so many entries in memory."""
        return self._long_lists if length > SHORT else contextlib.nullcontext()

    def facts(self) -> dict[str, dict[str, object]]:
        """Return the facts of INFO, by section."""
        statistics = self.scheduler.statistics()
        own = self.statistics()
        return {
            "Server": {
                "redis_version": "7.0.0",
                "lifecycle_version": __version__,
                "redis_mode": "standalone",
                "process_id": os.getpid(),
                "tcp_port": self.port,
                "uptime_in_seconds": int(time.monotonic() - self._began),
            },
            "Clients": {"connected_clients": own.clients, "maxclients": self.limit, "watching_clients": own.watching},
            "Stats": {
                "total_connections_received": own.connections,
                "protocol_errors": own.protocol_errors,
                "slow_clients_cut": own.slow,
                "wrong_passwords": own.refused,
                "http_refused": own.http,
                "silent_clients_cut": own.silent,
            },
            "Scheduler": {
                "name": statistics.name,
                "workers": statistics.workers,
                "running": statistics.running,
                "waiting": statistics.waiting,
                "runs": statistics.runs,
                **{f"ended_{status}": count for status, count in statistics.ended.items()},
            },
        }

    # Connections and events

    async def _handle(self, stream: ServedStream) -> None:
        session = Session(next(self._numbers), self, stream)
        async with Scope(f"client {session.id}") as scope:
            scope.callback(self._sessions.put(session.id, session).remove)
            scope.callback(self.watch, session, on=False)
            scope.callback(self.unread.discard, session)
            self._strangers.enter(session.id, functools.partial(self._cut_stranger, session))
            scope.callback(self._strangers.leave, session.id)
            if (connection := stream.extra(SocketAttribute.raw_socket, None)) is not None:
                scope.callback(close_in_children(connection))
            pair = ReaderWorker(
                session.read,
                session.work,
                capacity=AHEAD,
                close=stream.aclose,
                drain_timeout=self._drain_timeout,
                close_timeout=2 * FAREWELL,  # longer than the stream's own: when that is over, it is not an error
                name=f"client {session.id}",
            )
            async with pair:
                outcome = await pair.wait()
        if len(outcome.errors) > 1:
            raise BaseExceptionGroup(f"errors of client {session.id}", outcome.errors)
        for error in outcome.errors:
            raise error

    def _cut_stranger(self, session: Session) -> None:
        self.alarm("client cut off that gave no password, or sent nothing", session)
        session.stream.abort()

    async def _tell_watchers(self) -> None:
        async with contextlib.aclosing(self.scheduler.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if not self._watching:
                    return
                message = Push(["message", CHANNEL, json.dumps(event.to_dict(), default=repr)])
                encoded = {resp: encode(message, resp) for resp in (2, 3)}
                for session in tuple(self._watching):
                    session.push(encoded[session.resp])
