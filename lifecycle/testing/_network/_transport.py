"""One end of a connection in memory: a transport like any other, with a small kernel buffer in between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from ..._ground.frames import Frames
from .._sites import format_site, raw_frames
from ._socket import Address, MemorySocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._wire import Side, Wire


# Bytes that lie unread at the receiver before the sender has to wait, as in a kernel.
RECEIVE_BUFFER = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end of a connection in memory.

    Data written goes to ``_outgoing``; the wire carries it, after the network's latency, into the ``_incoming``
    buffer of the other end while there is room, and from there it is handed to the protocol unless reading is
    paused.

    Attributes:
        side: ``client`` or ``server``.
        site: raw frames of the code that opened the connection.
        closed: whether the protocol has been told that the connection is lost.
    """

    _start_tls_compatible = True

    def __init__(
        self,
        loop: Any,
        side: Side,
        wire: Wire,
        name: Address,
        peer_name: Address,
        gone: Callable[[Any], None],
    ) -> None:
        self.socket = MemorySocket(name, peer_name)
        super().__init__({"socket": self.socket, "sockname": name, "peername": peer_name})
        self.side = side
        self.site: Frames = raw_frames(3, 2)
        self.closed = False
        self.peer: MemoryTransport
        self._loop = loop
        self._wire = wire
        self._gone = gone
        self._protocol: Any = None
        self._outgoing: deque[bytes] = deque()
        self._outgoing_size = 0
        self._incoming: deque[bytes] = deque()
        self._incoming_size = 0
        self._received = 0
        self._end_received = False  # the end of the stream lies in the buffer, or was handed over
        self._end_handed_over = False
        self._end_wanted = False  # nothing more will be written
        self._end_sent = False
        self._reading = False
        self._paused = False
        self._closing = False
        self._carrying = False
        self._protocol_paused = False
        self._high, self._low = 64 * 1024, 16 * 1024

    # What a protocol and its user see.

    def begin(self, protocol: Any) -> None:
        """Tell the protocol that it is connected, then let it read."""
        self._protocol = protocol
        self._loop.call_soon(protocol.connection_made, self)
        self._loop.call_soon(self._begin_reading)

    def _begin_reading(self) -> None:
        self._reading = True
        self._hand_over()

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._paused and not self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._hand_over)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (4 * low if low is not None else 64 * 1024) if high is None else high
        self._low = self._high // 4 if low is None else low
        self._tell_protocol_to_wait()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._outgoing_size

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if self._end_wanted and not self._closing:
            raise RuntimeError("Cannot call write() after write_eof()")
        piece = bytes(data)
        if not piece or self._closing:
            return
        self._outgoing.append(piece)
        self._outgoing_size += len(piece)
        self._carry_soon()
        self._tell_protocol_to_wait()

    def write_eof(self) -> None:
        if not self._end_wanted and not self._closing:
            self._end_wanted = True
            self._carry_soon()

    def close(self) -> None:
        """Send what was written, then the end of the stream, then tell the protocol that it is over."""
        if self._closing:
            return
        self._closing = self._end_wanted = True
        if self._outgoing:
            self._carry_soon()
        else:
            self._end_sent = True
            self._loop.call_soon(self.peer.receive_end)
            self._lose_after(self._wire.faults.slow_close, None)

    def abort(self) -> None:
        """End at once; what was not sent is lost."""
        self.fail(None)

    def fail(self, error: BaseException | None) -> None:
        """End at once, with an error or without, and let the other end see it."""
        if self.closed:
            return
        self._closing = self._end_wanted = True
        self._outgoing.clear()
        self._outgoing_size = 0
        if not self._end_sent:
            self._end_sent = True
            unread = self._incoming or error is not None
            tell = self.peer.receive_reset if unread else self.peer.receive_end
            self._loop.call_soon(tell)
        self._lose_after(0.0, error)

    def _lose_after(self, delay: float, error: BaseException | None) -> None:
        if delay and not self._wire.dead:
            self._loop.call_later(delay, self._lose, error)
        else:
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: BaseException | None) -> None:
        if self.closed:
            return
        self.closed = True
        self.socket.close()
        self._incoming.clear()
        self._gone(self)
        self._protocol.connection_lost(error)
        # Data on its way to an end that has gone comes back as a reset.
        self.peer._carry_soon()

    # The wire.

    def _carry_soon(self) -> None:
        if self._carrying or not (self._outgoing or (self._end_wanted and not self._end_sent)):
            return
        self._carrying = True
        faults = self._wire.faults
        delay = faults.latency + (faults.late_answer if self.side == "server" else 0.0)
        if delay:
            self._loop.call_later(delay, self._carry)
        else:
            self._loop.call_soon(self._carry)

    def _carry(self) -> None:
        """Move what fits into the other end's buffer, subject to its faults."""
        self._carrying = False
        peer, wire = self.peer, self._wire
        if self.closed and not self._outgoing:
            return
        if peer.closed:
            if self._outgoing and not self.closed:
                self.fail(ConnectionResetError("the other end has gone"))
            return
        while self._outgoing:
            room = RECEIVE_BUFFER - peer._incoming_size
            if room <= 0:
                return
            if wire.left(wire.faults.black_hole_at) == 0:
                self._swallow()
                return
            self._carry_piece(room)
            if wire.left(wire.faults.reset_at) == 0:
                self._reset_both()
                return
        self._all_carried()

    def _carry_piece(self, room: int) -> None:
        wire = self._wire
        data = self._outgoing.popleft()
        size = wire.piece(self.side, len(data), room, self.peer._received)
        if size < len(data):
            self._outgoing.appendleft(data[size:])
        self._outgoing_size -= size
        wire.arrived += size
        self.peer.receive(data[:size])
        self._tell_protocol_to_go_on()

    def _all_carried(self) -> None:
        if self._end_wanted and not self._end_sent:
            self._end_sent = True
            self._loop.call_soon(self.peer.receive_end)
        if self._closing:
            self._lose_after(self._wire.faults.slow_close, None)

    def _swallow(self) -> None:
        """A black hole takes everything, and a close just ends here."""
        self._outgoing.clear()
        self._outgoing_size = 0
        self._tell_protocol_to_go_on()
        self._end_sent = True
        if self._closing:
            self._lose_after(self._wire.faults.slow_close, None)

    def _reset_both(self) -> None:
        self._wire.dead = True
        for end in (self, self.peer):
            end._end_sent = True
            end.fail(ConnectionResetError("connection reset by the network's faults"))

    # Arrival.

    def receive(self, data: bytes) -> None:
        """Take data off the wire."""
        if self._closing or self._end_received:
            return
        self._incoming.append(data)
        self._incoming_size += len(data)
        self._received += len(data)
        limit = self._wire.faults.half_close_at
        if self.side == "client" and limit is not None and self._received >= limit:
            self._end_received = True
        self.socket.set_readable(True)
        self._loop.call_soon(self._hand_over)

    def receive_end(self) -> None:
        """Take the end of the stream off the wire."""
        if not self._end_received and not self.closed:
            self._end_received = True
            self.socket.set_readable(True)
            self._hand_over()

    def receive_reset(self) -> None:
        """Take a reset off the wire."""
        self._end_sent = True
        self.fail(ConnectionResetError("connection reset by peer"))

    def _hand_over(self) -> None:
        """Give the protocol what lies in the buffer, piece by piece, until it pauses."""
        while self._incoming and self.is_reading():
            data = self._incoming.popleft()
            self._incoming_size -= len(data)
            self._give(data)
        if self._incoming:
            return
        if self._end_received and not self._end_handed_over and self.is_reading():
            self._end_handed_over = True
            keep_open = self._protocol.eof_received()
            if not keep_open:
                self.close()
            return
        if not self._end_received:
            self.socket.set_readable(False)
        self.peer._carry_soon()

    def _give(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data:
            buffer: Any = protocol.get_buffer(len(data))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    # Flow control.

    def _tell_protocol_to_wait(self) -> None:
        if self._outgoing_size > self._high and not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()

    def _tell_protocol_to_go_on(self) -> None:
        if self._protocol_paused and self._outgoing_size <= self._low:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def describe(self) -> str:
        """One line for a report."""
        name, peer = self.get_extra_info("sockname"), self.get_extra_info("peername")
        return f"open connection, {self.side} side, {name} to {peer}, made at {format_site(self.site)}"

    def __repr__(self) -> str:
        state = "closed" if self.closed else "closing" if self._closing else "open"
        return f"<MemoryTransport {self.side} {state} to {self.get_extra_info('peername')}>"
