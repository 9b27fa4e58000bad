"""ControlServer: the scheduler that runs, as a server that every Redis client can talk to."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lifecycle import ReaderWorker, Registry, Scope, ServedStream, Server, TaskHandle, __version__, serve_tcp

from .._ground.addresses import is_loopback
from ._commands import CommandTable
from ._encoder import Push
from ._event_commands import CHANNEL
from ._limits import Limits
from ._session import Session
from ._table import COMMANDS

if TYPE_CHECKING:
    from ssl import SSLContext

    from .._blocks.flow import Flow
    from .._engine.scheduler import Scheduler

DEFAULT_PORT = 6480

#: Pieces of input that wait for the worker of a connection; each is at most what one read returns.
AHEAD = 4

#: Seconds that a client may take for the last answers before its connection is cut.
FAREWELL = 2.0


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """What a control server has done, and whom it serves.

    Attributes:
        clients: how many are connected.
        watching: how many of them get events.
        connections: how many have ever connected.
        protocol_errors: how many were told that what they sent is no command, and let go.
        slow: how many were cut off because they did not take what was sent to them.
        refused: how many wrong passwords were given.
    """

    clients: int
    watching: int
    connections: int
    protocol_errors: int
    slow: int
    refused: int


class ControlServer:
    """Serves RESP2 and RESP3 while its ``async with`` block runs, for the scheduler that runs at the time.

    Example::

        async with Scheduler() as scheduler, ControlServer(scheduler, port=0) as control:
            print("redis-cli -p", control.port, "LC.LIST")

    Args:
        scheduler: an open scheduler, open for longer than this.
        host: where to listen; only on the machine itself, unless there is a password.
        port: where to listen; 0 for any that is free.
        password: what clients have to give with AUTH or HELLO; None for none.
        flows: flows that ``LC.ENQUEUE`` can name.
        limit: how many clients there may be at once.
        limits: what each may send, and how much may wait for it.
        idle_timeout: seconds without traffic after which a client is cut off; None for no bound.
        drain_timeout: seconds to answer what has been read when the server closes.
        ssl: the context of a server that speaks TLS.

    Raises:
        ValueError: the host is not this machine and there is no password, or it is empty.
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
        drain_timeout: float = 5.0,
        ssl: SSLContext | None = None,
    ) -> None:
        if password is None and not is_loopback(host):
            raise ValueError(
                f"the control server does not listen on {host!r} without a password, because anybody who can reach it "
                "could run jobs; give a password, or listen on 127.0.0.1"
            )
        if password == "":
            raise ValueError("the password is empty, which everybody knows; give another, or None for none")
        self.scheduler = scheduler
        self.password = password
        self.flows: Mapping[str, Flow] = {flow.name: flow for flow in flows}
        self.limit = limit
        self.limits: Limits = limits or Limits()
        self.commands: CommandTable[Session] = COMMANDS
        self._scope = Scope("control server", close_timeout=None)
        self._drain_timeout = drain_timeout
        self._server = serve_tcp(
            self._handle,
            host,
            port,
            limit=limit,
            idle_timeout=idle_timeout,
            drain_timeout=drain_timeout,
            close_timeout=FAREWELL,
            ssl=ssl,
            name="control server",
        )
        self._sessions: Registry[int, Session] = Registry("clients")
        self._numbers = itertools.count(1)
        self._counts: Counter[str] = Counter()
        self._watchers = 0
        self._pump: TaskHandle[None] | None = None
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Cancellation: nothing is left open.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._scope.__aenter__()
        try:
            await self._scope.enter(self._sessions)
            await self._scope.enter(self._server)
        except BaseException as error:
            await self._scope.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Take no more clients, answer what has been read, and close.

        Cancellation: held back until that is done, which is bounded.
        """
        return await self._scope.__aexit__(exc_type, error, traceback)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    @property
    def server(self) -> Server:
        """The server under it."""
        return self._server

    def statistics(self) -> ControlStatistics:
        """Return whom it serves, and what it has done."""
        return ControlStatistics(
            clients=len(self._sessions),
            watching=self._watchers,
            connections=self._server.statistics().accepted,
            protocol_errors=self._counts["protocol_errors"],
            slow=self._counts["slow"],
            refused=self._counts["refused"],
        )

    # What sessions ask

    def sessions(self) -> list[Session]:
        """Return the clients that are connected, the oldest first."""
        return [session for number in list(self._sessions) if (session := self._sessions.get(number)) is not None]

    def count(self, what: str) -> None:
        """Count something that has happened."""
        self._counts[what] += 1

    def watch(self, session: Session, *, on: bool) -> None:
        """Let a client get events, or no more of them."""
        if session.watching is on:
            return
        session.watching = on
        self._watchers += 1 if on else -1
        if on and (self._pump is None or self._pump.done):
            self._pump = self._scope.start_soon(self._tell_watchers, name="events for clients")

    def facts(self) -> dict[str, dict[str, object]]:
        """Return what INFO tells, by section."""
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
            },
            "Scheduler": {
                "name": statistics.name,
                "workers": statistics.workers,
                "running": statistics.running,
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
            pair = ReaderWorker(
                session.read,
                session.work,
                capacity=AHEAD,
                close=stream.aclose,
                drain_timeout=self._drain_timeout,
                close_timeout=2 * FAREWELL,  # the stream has to be the first to lose patience: it is no error then
                name=f"client {session.id}",
            )
            async with pair:
                outcome = await pair.wait()
        if len(outcome.errors) > 1:
            raise BaseExceptionGroup(f"errors of client {session.id}", outcome.errors)
        for error in outcome.errors:
            raise error

    async def _tell_watchers(self) -> None:
        async with contextlib.aclosing(self.scheduler.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if not self._watchers:
                    return
                message = Push(["message", CHANNEL, json.dumps(event.to_dict(), default=repr)])
                for session in self.sessions():
                    if session.watching:
                        session.push(message)
