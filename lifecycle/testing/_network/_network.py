"""The memory network itself: addresses, connects, servers, and what is still open."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..._ground.checks import checked_async, checked_count
from .._checks import checked_kind
from ._faults import PERFECT, NetworkFaults
from ._server import MemoryServer
from ._transport import MemoryTransport
from ._wire import Wire

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
ANY_HOST = ("0.0.0.0", "::", "", None)


class MemoryNetwork:
    """A network without sockets: what connects through the loop reaches a server that listens through it.

    Replaces ``create_connection``, ``create_server``, their unix variants and ``getaddrinfo`` of a loop, not
    the clients: asyncio's streams, anyio's ``connect_tcp``, redis-py and httpcore run over it unmodified. Code
    that opens raw sockets itself (anyio's listeners, ``loop.sock_connect``) does not.
    """

    def __init__(self, faults: NetworkFaults = PERFECT) -> None:
        self.default_faults: NetworkFaults = checked_kind(faults, NetworkFaults, "faults", "a NetworkFaults")
        self.connects: dict[Any, int] = {}
        self._faults: dict[Any, NetworkFaults] = {}
        self._servers: dict[Any, MemoryServer] = {}
        self._transports: dict[MemoryTransport, None] = {}
        self._ports = itertools.count(49152)
        self._addresses: dict[str, str] = {}
        self._peer_tasks: set[asyncio.Task[Any]] = set()

    # What a scenario asks for.

    def set_faults(self, host: str | None, port: Any, faults: NetworkFaults) -> None:
        """Let connections to an address misbehave; a unix path is given as the port, with host None."""
        if host is not None:
            checked_kind(host, str, "host", "a string or None")
        self._faults[self._key(host, port)] = checked_kind(faults, NetworkFaults, "faults", "a NetworkFaults")

    async def peer(self, handler: Handler, host: str, port: int) -> None:
        """Let a server that is not under test answer at an address, for as long as the bubble lives.

        It belongs to the outside: never struck, never counted as left behind.

        Cancellation: raised before anything has been done.

        Raises:
            TypeError, ValueError: an argument is of the wrong type, or *port* is negative.
        """
        checked_async(handler, "handler must be an async function of a reader and a writer")
        checked_kind(host, str, "host", "a string")
        checked_count(port, "port")
        loop = asyncio.get_running_loop()
        server = await self.create_server(lambda: self._peer_protocol(loop, handler), host, port, _loop=loop)
        server.outside = True

    def _peer_protocol(self, loop: Any, handler: Handler) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(loop=loop)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = loop.create_task(_answer(handler, reader, writer), name="peer")
            self._peer_tasks.add(task)
            task.add_done_callback(self._peer_tasks.discard)

        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

    def is_outside(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task answers for a server that is not under test."""
        return task in self._peer_tasks

    def end_peers(self) -> None:
        """End the tasks of servers that are not under test, so that their timers do not count as leaks."""
        for task in self._peer_tasks:
            task.cancel()

    def kill_all(self) -> None:
        """Reset every open connection, at both ends."""
        for transport in list(self._transports):
            if transport.side == "client":
                transport._reset_both()

    def abort_all(self) -> None:
        """End every connection at once: the bubble is being taken down."""
        for transport in list(self._transports):
            transport.abort()

    def has_connections(self) -> bool:
        """Whether any connection is open."""
        return bool(self._transports)

    def residue(self) -> list[str]:
        """Name every connection end and server of the scenario that is still open."""
        servers = [server.describe() for server in self._servers.values() if not server.outside]
        ends = [end.describe() for end in self._transports if not end.is_closing() and not self._is_outside_end(end)]
        return servers + ends

    def _is_outside_end(self, end: MemoryTransport) -> bool:
        return any(end in server.transports for server in self._servers.values() if server.outside)

    # What a loop asks for.

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **how: Any
    ) -> tuple[Any, Any]:
        """Connect, as ``loop.create_connection`` does.

        Cancellation: a connection that was made already is closed again.
        """
        loop = asyncio.get_running_loop()
        key = self._key(host, port)
        faults = self._faults.get(key, self.default_faults)
        attempt = self.connects.get(key, 0)
        self.connects[key] = attempt + 1
        await asyncio.sleep(faults.latency)
        if faults.black_hole:
            await loop.create_future()
        server = self._find_server(key)
        if server is None or faults.refuses(attempt):
            raise ConnectionRefusedError(111, f"Connect call failed {key}")
        client, server_end = self._connect_ends(loop, server, key, faults)
        server_end.begin(server.factory())
        protocol, waiter = protocol_factory(), loop.create_future()
        transport = _begin(client, protocol, waiter, how.get("ssl"), how.get("server_hostname") or host)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _connect_ends(
        self, loop: Any, server: MemoryServer, key: Any, faults: NetworkFaults
    ) -> tuple[MemoryTransport, MemoryTransport]:
        wire = Wire(faults)
        own = ("10.0.0.1", next(self._ports))

        def gone(transport: MemoryTransport) -> None:
            self._transports.pop(transport, None)
            server.lost(transport)

        client = MemoryTransport(loop, "client", wire, own, key, gone)
        server_end = MemoryTransport(loop, "server", wire, key, own, gone)
        client.peer, server_end.peer = server_end, client
        server.transports.add(server_end)
        self._transports[client] = self._transports[server_end] = None
        return client, server_end

    async def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        _loop: Any = None,
        **how: Any,
    ) -> MemoryServer:
        """Listen, as ``loop.create_server`` does.

        Cancellation: never suspends.
        """
        loop = _loop or asyncio.get_running_loop()
        if isinstance(host, (list, tuple)):
            host = host[0]
        key = self._key(host, port or next(self._ports))
        if key in self._servers:
            raise OSError(98, f"address {key} is already in use")
        server = MemoryServer(loop, key, protocol_factory, self._forget)
        self._servers[key] = server
        return server

    def getaddrinfo(self, host: Any, port: Any, **how: Any) -> list[Any]:
        """Resolve: every name has one made-up IPv4 address, every address is itself."""
        text = host.decode() if isinstance(host, bytes) else host
        address = self._address_of(text)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]

    def _address_of(self, host: str | None) -> str:
        if host in ANY_HOST:
            return "127.0.0.1"
        assert host is not None
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            number = len(self._addresses) + 1
            return self._addresses.setdefault(host, f"10.1.{number // 250}.{number % 250 + 1}")

    def _key(self, host: Any, port: Any) -> Any:
        if isinstance(port, (str, bytes)) and not str(port).isdigit():
            return str(port)  # a unix path
        return (self._address_of(host), int(port))

    def _forget(self, server: MemoryServer) -> None:
        self._servers.pop(server.key, None)

    def _find_server(self, key: Any) -> MemoryServer | None:
        return self._servers.get(key)

    # Outside of bubbles.

    @contextlib.contextmanager
    def installed(self, loop: Any) -> Iterator[MemoryNetwork]:
        """Let an ordinary running loop connect through this network inside the block."""

        async def getaddrinfo(host: Any, port: Any, **how: Any) -> Any:
            return self.getaddrinfo(host, port, **how)

        async def unix_connection(factory: Any, path: Any = None, **how: Any) -> Any:
            return await self.create_connection(factory, None, path, **how)

        async def unix_server(factory: Any, path: Any = None, **how: Any) -> Any:
            return await self.create_server(factory, None, path, **how)

        replaced = {
            "create_connection": self.create_connection,
            "create_server": self.create_server,
            "create_unix_connection": unix_connection,
            "create_unix_server": unix_server,
            "getaddrinfo": getaddrinfo,
        }
        for name, function in replaced.items():
            setattr(loop, name, function)
        try:
            yield self
        finally:
            self.end_peers()
            for name in replaced:
                delattr(loop, name)


def _begin(client: MemoryTransport, protocol: Any, waiter: asyncio.Future[None], tls: Any, name: Any) -> Any:
    """Connect a protocol to its end, through TLS where that is asked for; return the transport that it sees."""
    loop = waiter.get_loop()
    if not tls:
        client.begin(protocol)
        loop.call_soon(_wake, waiter)
        return client
    context = None if tls is True else tls
    secure: Any = sslproto.SSLProtocol(loop, protocol, context, waiter, False, name)  # type: ignore[arg-type]
    client.begin(secure)
    return secure._app_transport


async def _answer(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Run a peer's handler; a connection that breaks is not an error of the peer."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
    finally:
        writer.close()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
