"""Wire: the protocol under a served stream: what has come in, what has to go out, and how the connection ended."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from typing import Any

import anyio

from .._ground import kernel

#: Bytes that are read ahead before the peer has to wait.
READ_AHEAD = 256 * 1024


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
    """

    __slots__ = (
        "_lost",
        "_paused",
        "_reader",
        "_size",
        "_tls",
        "_writers",
        "active",
        "blocked",
        "chunks",
        "closed",
        "ended",
        "error",
        "received",
        "transport",
    )

    def __init__(self, *, tls: bool = False) -> None:
        self.transport: Any = None
        self.chunks: deque[bytes] = deque()
        self.blocked: bool = False
        self.active: bool = True
        self.closed: bool = False
        self.ended: bool = False
        self.error: BaseException | None = None
        self.received: int = 0
        self._tls = tls
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
            return  # it would never be taken
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
        return not self._tls  # what was asked for may still be answered

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self.error = self.error or exc
        self.blocked = False
        self.end_input()
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
            EndOfStream: nothing more will come.
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
                raise anyio.EndOfStream
            if self._reader is not None:
                raise anyio.BusyResourceError("receiving from")
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
            self._paused = False
            if self.transport is not None and not self.ended:
                self.transport.resume_reading()
        return chunk

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
        transport.write(data)
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

    def close(self) -> None:
        """Have the connection closed when everything written has been taken."""
        self.closed = True
        self.end_input()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection; what was written and not taken is lost."""
        self.closed = True
        self.end_input()
        if self.transport is not None:
            self.transport.abort()

    async def lost(self, timeout: float) -> bool:
        """Wait until the connection is gone, or *timeout* seconds have passed; return whether it is.

        Cancellation: ends the waiting.
        """
        if self.transport is None:
            return True
        if self._lost is None:
            self._lost = kernel.new_future()
        return await kernel.wait(self._lost, timeout)
