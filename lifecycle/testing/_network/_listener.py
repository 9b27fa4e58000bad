"""A listener of a memory network: what a server of ours listens with on a loop that has no sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._network import MemoryNetwork
    from ._server import MemoryServer


class MemoryListener:
    """Hands on each connection in the step in which it is made; while paused, they wait in line.

    Attributes:
        address: where it listens.
    """

    def __init__(self) -> None:
        self.address: Any = None
        self._server: MemoryServer | None = None
        self._take: Callable[[Any], bool] | None = None
        self._paused = False
        self._waiting: deque[MemoryIncoming] = deque()
        self._number = 0

    @classmethod
    async def open(cls, network: MemoryNetwork, host: Any, port: Any) -> MemoryListener:
        """Return a listener at an address.

        Cancellation: never suspends.
        """
        listener = cls()
        listener._server = await network.create_server(lambda: Knock(listener), host, port)
        listener.address = listener._server.key
        return listener

    def begin(self, take: Callable[[Any], bool], failed: Callable[[OSError], None]) -> None:
        """Hand each connection to *take*, until that returns False."""
        self._take = take
        self._hand_on()

    def pause(self) -> None:
        """Leave connections in line."""
        self._paused = True

    def resume(self) -> None:
        """Go on taking."""
        self._paused = False
        self._hand_on()

    def take_line(self) -> bool:
        """Hand on what is in line."""
        self.resume()
        return False

    def close(self) -> None:
        """End for good; what is in line is reset."""
        self._take = None
        if self._server is not None:
            self._server.close()
        for incoming in self._waiting:
            incoming.drop()
        self._waiting.clear()

    def arrived(self, transport: Any) -> None:
        """Put a new connection in line."""
        self._number += 1
        self._waiting.append(MemoryIncoming(transport, self._number))
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and self._take is not None and not self._paused:
            incoming = self._waiting.popleft()
            if not incoming.gone and not self._take(incoming):
                return


class Knock(asyncio.Protocol):
    """The protocol of a connection that waits in line."""

    def __init__(self, listener: MemoryListener) -> None:
        self._listener = listener

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()
        self._listener.arrived(transport)


class MemoryIncoming:
    """A connection that has been taken and is not established."""

    def __init__(self, transport: Any, number: int) -> None:
        name = transport.get_extra_info("peername")
        self.peer: str = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix:{number}"
        self._transport: Any = transport

    @property
    def gone(self) -> bool:
        """Whether the other end has left."""
        return bool(self._transport.closed)

    async def establish(self, wire: Any, tls: Any) -> None:
        """Connect *wire* to it.

        Cancellation: never suspends.

        Raises:
            ConnectionResetError: the other end has left.
        """
        transport, self._transport = self._transport, None
        if transport.closed:
            raise ConnectionResetError("the other end has left")
        transport.set_protocol(wire)
        wire.connection_made(transport)
        transport.resume_reading()

    def hang_up(self) -> None:
        """Give up a handshake, of which there is none in memory."""

    def drop(self) -> None:
        """Close it, unless it is being established."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
