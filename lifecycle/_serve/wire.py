"""Wire: the protocol under a served stream: what has come in, what has to go out, and how the connection ended."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import Future
from collections import deque
from contextlib import suppress
from typing import Any

import anyio

from .._ground import kernel
from .._ground.errors import ServerDraining

#: Bytes that are read ahead before the peer has to wait.
READ_AHEAD = 256 * 1024

#: Seconds that a closed connection is read from at most, for a peer that still sends. A system that closes with unread
#: input resets the connection, and the peer may lose the answer that was sent before.
LINGER = 2.0

#: Seconds between two looks whether all has been sent: the first pause, and the longest.
LOOK = (0.001, 0.05)

#: The option of a socket whose close resets the connection.
RESET = struct.pack("ii", 1, 0)


class Wire(asyncio.Protocol):
    """One end of one connection.

    Attributes:
        transport: the transport, None before the connection is made and after it is lost.
        chunks: what has come in and has not been taken.
        blocked: whether senders have to wait, because too much has not gone out yet.
        active: whether anything has come in or gone out since the server last looked.
        closed: whether this side has closed it.
        ended: whether nothing more will come in.
        error: what the connection broke with.
        received: how many bytes have come in.
        cut: whether input was ended before the peer has ended it.
        draining: whether the server has begun to close.
        truncated: whether it was cut before all that was written could be sent.
        burst: what was sent since the task that sends has let the loop turn; see `ServedStream.send`.
        socket: the socket, None where there is none.
    """

    __slots__ = (
        "_discarded",
        "_drained",
        "_finished",
        "_lost",
        "_paused",
        "_peer_ended",
        "_reader",
        "_size",
        "_writers",
        "active",
        "blocked",
        "burst",
        "chunks",
        "closed",
        "cut",
        "draining",
        "ended",
        "error",
        "received",
        "socket",
        "transport",
        "truncated",
    )

    def __init__(self) -> None:
        self.transport: Any = None
        self.chunks: deque[bytes] = deque()
        self.blocked: bool = False
        self.active: bool = True
        self.closed: bool = False
        self.ended: bool = False
        self.error: BaseException | None = None
        self.received: int = 0
        self.cut: bool = False
        self.draining: bool = False
        self.truncated: bool = False
        self.burst: int = 0
        self.socket: socket.socket | None = None
        self._discarded = False  # something came in after the end of the input
        self._peer_ended = False
        self._finished: Future[None] | None = None  # done when it has; made by who waits for that
        self._drained: Future[None] | None = None
        self._size = 0
        self._paused = False
        self._reader: Future[None] | None = None
        self._writers: list[Future[None]] | None = None
        self._lost: Future[None] | None = None

    # What the transport calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.ended:
            self._discarded = True  # it would never be taken
            return
        self.chunks.append(data)
        self._size += len(data)
        self.received += len(data)
        self.active = True
        if self._size > READ_AHEAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    def eof_received(self) -> bool:
        self.end_input()
        self._note_end_of_peer()
        return True  # what was asked for may still be answered

    def _note_end_of_peer(self) -> None:
        self._peer_ended = True
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        transport, self.transport = self.transport, None
        transport.close()  # which changes nothing, but lets one of asyncio's that was cut go of itself: a cycle
        self.error = self.error or exc
        self.blocked = False
        self.end_input()
        self._note_end_of_peer()
        self._wake_writers()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        self.active = True
        self._wake_writers()

    # Input

    async def readable(self) -> None:
        """Wait until there is something to take.

        Cancellation: nothing is taken.

        Raises:
            EndOfStream: nothing more will come; a `ServerDraining` where the server has ended it.
            BrokenResourceError: the connection broke.
            ClosedResourceError: this side has closed it.
            BusyResourceError: another task waits already.
        """
        while not self.chunks:
            if self.closed:
                raise anyio.ClosedResourceError
            if self.ended:
                if self.error is not None:
                    raise anyio.BrokenResourceError from self.error
                if self.cut:
                    raise ServerDraining("the server closes and reads no more; the peer has not ended what it sends")
                raise anyio.EndOfStream
            if self._reader is not None:
                raise anyio.BusyResourceError("receiving from")
            self.burst = 0
            self._reader = kernel.new_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def take(self, most: int) -> bytes:
        """Return what came in first, at most *most* bytes of it."""
        chunk = self.chunks.popleft()
        if len(chunk) > most:
            self.chunks.appendleft(chunk[most:])
            chunk = chunk[:most]
        self._size -= len(chunk)
        if self._paused and self._size <= READ_AHEAD // 2:
            self._read_on()
        return chunk

    def _read_on(self) -> None:
        self._paused = False
        if self.transport is not None and not self.gone:
            self.transport.resume_reading()

    def drain(self) -> None:
        """Note that the server closes, and tell who waits for that."""
        self.draining = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drained(self) -> None:
        """Wait until the server closes.

        Cancellation: ends the waiting.
        """
        if not self.draining:
            self._drained = self._drained or kernel.new_future()
            await kernel.wait(self._drained)

    def cut_input(self) -> None:
        """Take nothing more in, whatever the peer has in mind; what has come in can still be taken."""
        if not self.ended:
            self.cut = True
            self.end_input()

    def end_input(self) -> None:
        """Take nothing more in; what has come in can still be taken."""
        if not self.ended:
            self.ended = True
            if self._reader is not None and not self._reader.done():
                self._reader.set_result(None)

    # Output

    def write(self, data: bytes) -> None:
        """Have *data* sent as the peer takes it.

        Raises:
            BrokenResourceError: the connection is lost.
            ClosedResourceError: this side has closed it.
        """
        transport = self.transport
        if self.closed or transport is None or transport.is_closing():
            self._refuse_output()
        try:
            transport.write(data)
        except RuntimeError as error:
            raise anyio.ClosedResourceError("nothing can be sent after send_eof()") from error
        self.active = True

    @property
    def gone(self) -> bool:
        """Whether the connection is lost, or will be with the next turn of the loop."""
        return self.transport is None or self.transport.is_closing()

    @property
    def unsent(self) -> int:
        """How many bytes wait for the peer to take them."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    async def writable(self) -> None:
        """Wait until the peer has taken enough.

        Cancellation: what was written goes out nevertheless.

        Raises:
            BrokenResourceError: the connection is lost.
        """
        self.burst = 0
        while self.blocked:
            if self._writers is None:
                self._writers = []
            waiter = kernel.new_future()
            self._writers.append(waiter)
            try:
                await waiter
            finally:
                if self._writers is not None and waiter in self._writers:
                    self._writers.remove(waiter)
        if self.transport is None:
            self._refuse_output()

    def _refuse_output(self) -> None:
        if self.closed:
            raise anyio.ClosedResourceError
        raise anyio.BrokenResourceError from self.error

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers or (), None
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    # The end

    async def finish(self, timeout: float) -> None:
        """Send what waits, close the connection, and wait until it is gone; past *timeout* seconds cut it.

        Cancellation: the connection is cut at once.
        """
        self.closed = True
        self.end_input()
        now = kernel.clock()
        ends = now() + timeout
        try:
            if self._is_to_flush() or self._peer_sends():
                await self._flush(ends)
                if self._peer_sends():
                    await self._linger(min(LINGER, ends - now()))
            if self.transport is not None and not self.unsent_now():
                self.transport.close()
            gone = await self.lost(min(self._patience, ends - now()))
        except BaseException:
            self.cut_off()
            raise
        if not gone:
            self.cut_off()

    #: Seconds that closing may take once nothing is left to send that the transport would not send by itself.
    _patience = kernel.FOREVER

    def _is_to_flush(self) -> bool:
        """Return whether something is left to send that must be out before the transport is closed."""
        return False

    def unsent_now(self) -> bool:
        """Return whether closing the transport now would lose something."""
        return False

    def _peer_sends(self) -> bool:
        """Return whether the peer may be sending still, so that a close would reset the connection."""
        if self._peer_ended or self.gone:
            return False
        return bool(self.chunks) or self._paused or self._discarded or self._has_unread()

    def _has_unread(self) -> bool:
        """Return whether the system has input that nobody has read."""
        if self.socket is None:
            return False
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def _flush(self, ends: float) -> None:
        """Wait until all has been sent, or the time is *ends*."""
        now = kernel.clock()
        pause, longest = LOOK
        while self.transport is not None and self.unsent and now() < ends:
            await asyncio.sleep(min(pause, ends - now()))
            pause = min(2 * pause, longest)

    async def _linger(self, timeout: float) -> None:
        """Tell the peer that this is all, and read what it still sends, until it has ended or *timeout* has passed."""
        if self.transport is None or self.unsent:
            return
        self.chunks.clear()
        self._size = 0
        if self._paused:
            self._read_on()
        self._end_output()
        if not self._peer_ended:
            self._finished = self._finished or kernel.new_future()
            await kernel.wait(self._finished, timeout)

    def _end_output(self) -> None:
        self.transport.write_eof()

    def cut_off(self) -> None:
        """Cut the connection, and note whether that has cost anything."""
        self.truncated = self.truncated or self._loses_output()
        self.abort()

    def abort(self) -> None:
        """Cut the connection; what was written and not taken is lost, and the peer then meets a reset.

        It would take the end of a part for that of the whole, else.
        """
        self.closed = True
        self.end_input()
        if self.transport is not None:
            if self.socket is not None and self._loses_output():
                with suppress(OSError):
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()

    def _loses_output(self) -> bool:
        """Return whether something was written that has not been sent."""
        return self.unsent > 0

    async def lost(self, timeout: float) -> bool:
        """Wait until the connection is gone, or *timeout* seconds have passed; return whether it is.

        Cancellation: ends the waiting.
        """
        if self.transport is None:
            return True
        if self._lost is None:
            self._lost = kernel.new_future()
        return await kernel.wait(self._lost, timeout)
