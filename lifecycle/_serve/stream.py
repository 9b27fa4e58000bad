"""ServedStream: one connection of a server, as its handler sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

from .._ground.checks import checked_count
from .wire import Wire

#: How much may be sent before the loop has a turn, in bytes, with so many for each call. A peer that takes all would
#: let no other task run else, and where it has gone, its loss is told in a turn.
BURST, CALL = 256 * 1024, 2048

#: Which address a port is a part of, where the socket is one of IP.
PORTS = {
    SocketAttribute.remote_port: SocketAttribute.remote_address,
    SocketAttribute.local_port: SocketAttribute.local_address,
}


class ServedStream(ByteStream):
    """One connection of a server: an ``anyio.abc.ByteStream`` with a few methods more.

    The server owns it and closes it when the handler has ended. One task may receive and others send at the same time.
    It makes no turn of the loop where it need not wait, but for one now and then while a task sends much.

    Do not use it in the place of a framework: it carries bytes.

    Attributes:
        peer: who is at the other end, as ``host:port``, or the connection's number for a Unix socket.
    """

    def __init__(self, wire: Wire, peer: str, close_timeout: float) -> None:
        self.peer: str = peer
        self._wire = wire
        self._close_timeout = close_timeout

    def __repr__(self) -> str:
        return f"<ServedStream {self.peer}>"

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return what has come in, at least one byte.

        Cancellation: nothing is taken.

        Args:
            max_bytes: how many bytes to return at most, 1 or more.

        Raises:
            TypeError, ValueError: *max_bytes* is not a whole number from 1; nothing was taken.
            EndOfStream: the peer sends nothing more; all that came before has been returned.
            ServerDraining: the same, because the server closes. (An ``EndOfStream``.)
            BrokenResourceError: the connection broke.
            ClosedResourceError: this side has closed it.
        """
        if type(max_bytes) is not int or max_bytes < 1:
            checked_count(max_bytes, "max_bytes", least=1)
        wire = self._wire
        if not wire.chunks:
            await wire.readable()
        return wire.take(max_bytes)

    async def send(self, item: bytes) -> None:
        """Send *item*; waits only while the peer takes less than it is sent.

        Cancellation: *item* goes out nevertheless.

        Raises:
            BrokenResourceError: the connection broke.
            ClosedResourceError: this side has closed it, or its output by `send_eof`.
        """
        wire = self._wire
        wire.write(item)
        if wire.blocked:
            await wire.writable()
        else:
            wire.burst += len(item) + CALL
            if wire.burst > BURST:
                wire.burst = 0
                await asyncio.sleep(0)

    def send_nowait(self, item: bytes) -> None:
        """Have *item* sent as the peer takes it, however much waits already: look at `unsent`.

        Raises:
            BrokenResourceError: the connection broke.
            ClosedResourceError: this side has closed it.
        """
        self._wire.write(item)

    @property
    def unsent(self) -> int:
        """How many bytes wait for the peer to take them."""
        return self._wire.unsent

    @property
    def draining(self) -> bool:
        """Whether the server has begun to close, so that the handler should come to its end."""
        return self._wire.draining

    async def wait_draining(self) -> None:
        """Wait until the server begins to close.

        Cancellation: ends the waiting.
        """
        await self._wire.drained()

    @property
    def cut(self) -> bool:
        """Whether the server has ended the input before the peer did: what has come in may be a part of something."""
        return self._wire.cut

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._wire.closed or self._wire.gone

    async def send_eof(self) -> None:
        """Tell the peer that nothing more will be sent; what was sent goes out first.

        Cancellation: never suspends.

        Raises:
            NotImplementedError: the connection is encrypted, and TLS cannot close one direction.
            BrokenResourceError, ClosedResourceError: as in `send`.
        """
        wire = self._wire
        wire.write(b"")
        if not wire.transport.can_write_eof():
            raise NotImplementedError("TLS cannot close one direction alone")
        wire.transport.write_eof()

    def abort(self) -> None:
        """Cut the connection at once; what has not gone out is lost."""
        self._wire.abort()

    async def aclose(self) -> None:
        """Send what waits, close the connection, and wait until it is gone; past the server's ``close_timeout`` cut it.

        The server does this when the handler has ended. Idempotent. A peer that still sends is read from for at most
        two seconds, so that it gets what was sent; one that has not taken all when it is cut meets a reset.

        Cancellation: the connection is cut at once.
        """
        await self._wire.finish(self._close_timeout)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """What anyio's ``stream.extra(attribute)`` looks into."""
        transport = self._wire.transport
        if transport is None:
            return {}
        attributes = {
            SocketAttribute.raw_socket: "socket",
            SocketAttribute.remote_address: "peername",
            SocketAttribute.local_address: "sockname",
            TLSAttribute.ssl_object: "ssl_object",
            TLSAttribute.peer_certificate: "peercert",
        }
        known: dict[Any, Any] = {attribute: transport.get_extra_info(name) for attribute, name in attributes.items()}
        if known[SocketAttribute.raw_socket] is not None:
            known[SocketAttribute.family] = known[SocketAttribute.raw_socket].family
        for port, address in PORTS.items():
            if isinstance(known[address], tuple):  # that of a Unix socket is its path
                known[port] = known[address][1]
        return {attribute: partial(as_it_is, value) for attribute, value in known.items() if value is not None}


def as_it_is(value: object) -> object:
    """Return *value*."""
    return value
