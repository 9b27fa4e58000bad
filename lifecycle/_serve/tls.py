"""TlsWire: the protocol under a served stream that is encrypted, which knows what the transport below has not sent."""

from __future__ import annotations

import array
from collections import deque
from contextlib import suppress
from typing import Any

from typing_extensions import override

from .._ground import kernel
from .wire import LINGER, Wire

#: Bytes that are handed to the TLS transport at once. It encrypts all that it is given and says nothing of what the
#: transport below it then holds; so it is given the next piece when it has got rid of the last.
PIECE = 64 * 1024


class TlsWire(Wire):
    """One end of one encrypted connection."""

    __slots__ = ("_below", "_full", "_waiting", "_waiting_size")

    #: The peer need not answer that the connection is to end, and many do not.
    _patience = LINGER

    def __init__(self) -> None:
        super().__init__()
        self._below: Any = None  # the transport of the socket, None where it cannot be seen
        self._full = False  # the transport wants no more
        self._waiting: deque[memoryview] = deque()
        self._waiting_size = 0

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._below = kernel.transport_below(transport)
        transport.set_write_buffer_limits(high=PIECE)

    @override
    def eof_received(self) -> bool:
        super().eof_received()
        return False  # TLS cannot close one direction

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._below = None
        self._waiting.clear()
        self._waiting_size = 0
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self._full = self.blocked = True

    @override
    def resume_writing(self) -> None:
        self._full = False
        self.active = True
        self._pump()
        if not self.blocked:
            self._wake_writers()

    @override
    def write(self, data: bytes) -> None:
        if self.closed or self.gone:
            self._refuse_output()
        if not self.blocked and len(data) <= PIECE:
            self.transport.write(data)
        else:
            self._waiting.append(memoryview(bytes(data)))
            self._waiting_size += len(data)
            self._pump()
        self.active = True

    def _pump(self) -> None:
        """Hand on, in pieces and in order, what waits, as long as the transport takes it."""
        waiting = self._waiting
        while waiting and not self._full and not self.gone:
            piece = waiting[0][:PIECE]
            if len(piece) == len(waiting[0]):
                waiting.popleft()
            else:
                waiting[0] = waiting[0][PIECE:]
            self._waiting_size -= len(piece)
            self.transport.write(piece)
        self.blocked = self._full or bool(waiting)

    @property
    @override
    def gone(self) -> bool:
        # The transport above does not know of a loss below it before that tells it, in a turn of the loop.
        return super().gone or (self._below is not None and self._below.is_closing())

    @property
    @override
    def unsent(self) -> int:
        below = self._below.get_write_buffer_size() if self._below is not None else 0
        return int(self._waiting_size + super().unsent + below)

    @override
    def _is_to_flush(self) -> bool:
        return self.unsent > 0

    @override
    def unsent_now(self) -> bool:
        return self.unsent > 0

    @override
    def _has_unread(self) -> bool:
        return False  # it may be no more than the peer's own good-bye

    @override
    def _end_output(self) -> None:
        """Do it later: what came after it would be an error."""

    @override
    def _loses_output(self) -> bool:
        return self.unsent > 0 or (self._below is None and self._is_stuck())

    def _is_stuck(self) -> bool:
        """Return whether the system has output that the peer has not taken, where the transport below is not seen."""
        if self.socket is None or self.socket.fileno() < 0:
            return False
        with suppress(OSError, ImportError, AttributeError):
            import fcntl
            import termios

            size = array.array("i", [0])
            fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, size)
            return size[0] > 0
        return False
