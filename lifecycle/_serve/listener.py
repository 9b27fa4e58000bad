"""Listeners: sockets that take connections in plain steps, so that none is lost between the kernel and its owner."""

from __future__ import annotations

import contextlib
import os
import socket
from asyncio import Future
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol
from weakref import WeakSet

from .._ground import kernel
from .._ground.waking import wake
from .wire import Wire

#: Connections that are taken in one step, before other callbacks have their turn.
BATCH = 16

#: Seconds that a TLS handshake may take by default, as in asyncio.
HANDSHAKE = 60.0

#: The least seconds that asyncio is given for one; it takes none at all for a mistake.
SOON = 0.001


class Incoming(Protocol):
    """A connection that has been taken and is not established."""

    peer: str

    async def establish(self, wire: Wire, tls: dict[str, Any]) -> None:
        """Connect *wire* to it, with a TLS handshake where *tls* says so."""

    def hang_up(self) -> None:
        """Give up a peer that owes a handshake and has not begun with it."""

    def drop(self) -> None:
        """Close it, unless it is being established."""


class Listener(Protocol):
    """Something that takes connections."""

    address: Any

    def begin(self, take: Callable[[Incoming], bool], failed: Callable[[OSError], None]) -> None:
        """Hand each connection to *take*, until that returns False; call *failed* with why one could not be taken."""

    def pause(self) -> None:
        """Leave connections where they are."""

    def resume(self) -> None:
        """Go on taking."""

    def take_line(self) -> bool:
        """Hand on, whether there is room or not, some of what waits in line; return whether more may."""

    def close(self) -> None:
        """End for good; what waits in line is reset. Idempotent."""


_open: WeakSet[SocketListener] = WeakSet()


def _close_in_child() -> None:
    """Close the copies that a forked child has: it must not keep a port that its parent has given up."""
    for listener in list(_open):
        listener._socket.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class SocketListener:
    """Takes connections from a socket, in the step in which the loop finds it readable.

    There is no task between the kernel and *take*: asyncio's ``sock_accept`` loses a connection whose task is cancelled
    in the step in which it came.

    It takes them in the context that it was made in, whoever pauses and resumes it.

    Args:
        listening: the socket, which listens already.
        remove: removes what else there is of it, such as a file; called before it is closed.
    """

    def __init__(self, listening: socket.socket, remove: Callable[[], object] | None = None) -> None:
        self.address: Any = listening.getsockname()
        self._context = copy_context()
        self._socket = listening
        _open.add(self)
        self._remove = remove
        self._loop = kernel.running_loop()
        self._taking = False
        self._take: Callable[[Incoming], bool] = lambda incoming: False
        self._failed: Callable[[OSError], None] = lambda error: None
        self._number = 0

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it listens on."""
        return (self._socket,)

    def begin(self, take: Callable[[Incoming], bool], failed: Callable[[OSError], None]) -> None:
        """Hand each connection to *take*."""
        self._take, self._failed = take, failed
        self.resume()

    def resume(self) -> None:
        """Go on taking."""
        if not self._taking and self._socket.fileno() >= 0:
            self._taking = True
            # The loop calls it in the context of this call. A copy, because the caller may be in that one already.
            self._context.copy().run(self._loop.add_reader, self._socket, self._accept)

    def pause(self) -> None:
        """Leave connections in the kernel's line."""
        if self._taking:
            self._taking = False
            self._loop.remove_reader(self._socket)

    def close(self) -> None:
        """End for good; what waits in the kernel's line then is reset."""
        self.pause()
        self._take = lambda incoming: False  # no longer the server's: a cycle
        self._failed = lambda error: None
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()  # before the socket is closed, which keeps a file's number from being used again
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                incoming = self._next()
            except OSError as error:
                self._failed(error)
                return
            if incoming is None or not self._take(incoming):
                return

    def take_line(self) -> bool:
        """Hand on some of what is in line; without descriptors, as much as there are."""
        self.pause()
        for _ in range(BATCH):
            try:
                incoming = self._next()
            except OSError:  # it is closed, or there is nothing to take it with
                return False
            if incoming is None:
                return False
            try:
                self._take(incoming)
            except Exception as error:  # of a task factory that refuses: the others are still taken
                self._loop.call_exception_handler({"message": "connection refused", "exception": error})
        return True

    def _next(self) -> SocketIncoming | None:
        """Return what is first in line, None where nothing is."""
        try:
            connection, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        connection.setblocking(False)
        self._number += 1
        return SocketIncoming(connection, name_of_peer(address, self._number))


class SocketIncoming:
    """A connection in a socket."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.peer = peer
        self._socket: socket.socket | None = connection
        self._silence: Future[None] | None = None
        self._patient = True  # with a peer that has not said anything yet

    async def establish(self, wire: Wire, tls: dict[str, Any]) -> None:
        """Connect *wire* to it.

        Cancellation: the connection is closed.

        Raises:
            OSError: the TLS handshake failed.
        """
        assert self._socket is not None
        if tls:
            now = kernel.clock()
            ends = now() + tls.get("ssl_handshake_timeout", HANDSHAKE)
            await self._first_word(self._socket, ends - now())
            tls = {**tls, "ssl_handshake_timeout": max(SOON, ends - now())}
        connection, self._socket = self._socket, None  # from here on the transport's, made in this step
        wire.socket = connection
        if connection.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await kernel.running_loop().connect_accepted_socket(lambda: wire, connection, **tls)

    async def _first_word(self, connection: socket.socket, timeout: float) -> None:
        """Wait until the peer begins, so that it can be told whether it has.

        Raises:
            TimeoutError: it has not.
            ConnectionAbortedError: nor has it now that `hang_up` was called.
        """
        loop = kernel.running_loop()
        self._silence = kernel.new_future()
        loop.add_reader(connection, wake, self._silence)
        try:
            if not self._patient:
                self.hang_up()
            if not await kernel.wait(self._silence, timeout):
                raise TimeoutError("the peer has not begun with its TLS handshake")
            if not self._patient and is_silent(connection):
                raise ConnectionAbortedError("the server closes")
        finally:
            loop.remove_reader(connection)
            self._silence = None

    def hang_up(self) -> None:
        """Give up a peer that owes a handshake and has not begun with it."""
        self._patient = False
        if self._silence is not None:
            wake(self._silence)

    def drop(self) -> None:
        """Close it, unless it is being established."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def is_silent(connection: socket.socket) -> bool:
    """Return whether nothing has come in, not even the end."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return True
    except OSError:
        return False
    return False


def name_of_peer(address: Any, number: int) -> str:
    """Return what to call the other end."""
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"{host}:{address[1]}"
    return f"unix:{number}"
