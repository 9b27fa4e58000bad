"""Receiving into one buffer for each connection, so that memory is taken for what has come, and not for what may come.

For a protocol that is given what has come, asyncio takes 256 kB of memory each time, and cuts that down to the few
hundred bytes that it was. The allocator of glibc keeps such a piece for the next of its size, in the middle of the room
that the next 256 kB need, which are taken from behind it: a worker grew by 8 MB of gaps in 100,000 jobs. And as long as
it takes as much as that from the system each time, it does so with three calls of it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

BUFFER: Final = 64 * 1024
"""Bytes of each connection's buffer; a longer answer comes in several pieces."""


class Receiver(asyncio.BufferedProtocol):
    """Takes the place of a protocol, and gives it what has come.

    Args:
        protocol: what everything is given to.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._buffer = memoryview(bytearray(BUFFER))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where what comes next is written."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Give to the protocol what has come."""
        self._protocol.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        """Tell the protocol that nothing more comes."""
        closes: bool | None = self._protocol.eof_received()
        return closes

    def pause_writing(self) -> None:
        """Tell the protocol that what it writes has to wait."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the protocol that it may write again."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol that the connection is gone."""
        self._protocol.connection_lost(exc)


def receive_in_a_buffer(connection: Any) -> None:
    """Have a connection of asyncpg, on which nothing is under way, receive into a buffer of its own.

    The driver does not hand out its transport. Where another version of it has none under that name, it receives as
    before.
    """
    transport = getattr(connection, "_transport", None)
    if isinstance(transport, asyncio.Transport) and not transport.is_closing():
        transport.set_protocol(Receiver(transport.get_protocol()))
