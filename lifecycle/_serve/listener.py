"""Listeners: sockets that take connections in plain steps, so that none is lost between the kernel and its owner."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .._ground import kernel
from .._ground.logs import OwnerLog
from .wire import Wire

logger = OwnerLog("lifecycle.server")

#: Connections that are taken in one step, before other callbacks have their turn.
BATCH = 16

#: What listening fails with where the machine has no IPv6, although names resolve to it.
NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Incoming(Protocol):
    """A connection that has been taken and is not established."""

    peer: str

    async def establish(self, wire: Wire, tls: dict[str, Any]) -> None:
        """Connect *wire* to it, with a TLS handshake where *tls* says so."""

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

    def close(self) -> None:
        """End for good. Idempotent."""


class SocketListener:
    """Takes connections from a socket, in the step in which the loop finds it readable.

    There is no task between the kernel and *take*: asyncio's ``sock_accept`` loses a connection whose task is cancelled
    in the step in which it came.

    Args:
        listening: the socket, which listens already.
        file: the file to remove with it, None where it has none.
    """

    def __init__(self, listening: socket.socket, file: SocketFile | None = None) -> None:
        self.address: Any = listening.getsockname()
        self._socket = listening
        self._file = file
        self._loop = kernel.running_loop()
        self._taking = False
        self._take: Callable[[Incoming], bool] = lambda incoming: False
        self._failed: Callable[[OSError], None] = lambda error: None
        self._number = 0

    def begin(self, take: Callable[[Incoming], bool], failed: Callable[[OSError], None]) -> None:
        """Hand each connection to *take*."""
        self._take, self._failed = take, failed
        self.resume()

    def resume(self) -> None:
        """Go on taking."""
        if not self._taking and self._socket.fileno() >= 0:
            self._taking = True
            self._loop.add_reader(self._socket, self._accept)

    def pause(self) -> None:
        """Leave connections in the kernel's line."""
        if self._taking:
            self._taking = False
            self._loop.remove_reader(self._socket)

    def close(self) -> None:
        """End for good; what waits in the kernel's line is refused."""
        self.pause()
        self._take = lambda incoming: False  # no longer the server's: a cycle
        self._failed = lambda error: None
        if self._file is not None:
            self._file.remove()  # before the socket is closed, which keeps the file's number from being used again
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                return
            connection.setblocking(False)
            self._number += 1
            if not self._take(SocketIncoming(connection, name_of_peer(address, self._number))):
                return


class SocketIncoming:
    """A connection in a socket."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.peer = peer
        self._socket: socket.socket | None = connection

    async def establish(self, wire: Wire, tls: dict[str, Any]) -> None:
        """Connect *wire* to it.

        Cancellation: the connection is closed.
        """
        connection, self._socket = self._socket, None  # from here on the transport's, made in this step
        assert connection is not None
        if connection.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await kernel.running_loop().connect_accepted_socket(lambda: wire, connection, **tls)

    def drop(self) -> None:
        """Close it, unless it is being established."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def name_of_peer(address: Any, number: int) -> str:
    """Return what to call the other end."""
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"{host}:{address[1]}"
    return f"unix:{number}"


async def listen_tcp(host: str | None, port: int, backlog: int, owner: str) -> list[Listener]:
    """Return listeners on all addresses of *host*, for the server called *owner*.

    Cancellation: nothing is left open.

    Raises:
        OSError: an address cannot be listened on; none is then.
    """
    loop = kernel.running_loop()
    if (own := getattr(loop, "open_listeners", None)) is not None:  # a loop without sockets, as the test kit's
        listeners: list[Listener] = await own(host, port)
        return listeners
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"cannot listen on {host!r}: {error.strerror}") from error
    return [SocketListener(listening) for listening in open_sockets(dict.fromkeys(found), backlog, owner)]


def open_sockets(found: Iterable[Any], backlog: int, owner: str) -> list[socket.socket]:
    """Return a listening socket for each address, all on one port; IPv6 may be missing where there is another.

    Raises:
        OSError: an address cannot be listened on; none is then.
    """
    opened: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in found:
            if opened and address[1] == 0:
                address = (address[0], opened[0].getsockname()[1], *address[2:])
            try:
                opened.append(open_socket(family, address, backlog))
            except OSError as error:
                if family != socket.AF_INET6 or error.errno not in NO_SUCH_FAMILY:
                    raise
                missing = error
        if missing is not None and not opened:
            raise missing
    except BaseException:
        for listening in opened:
            listening.close()
        raise
    if missing is not None:
        logger.warning("listening without IPv6", extra={"owner": owner, "error": str(missing)})
    return opened


def open_socket(family: int, address: Any, backlog: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the address cannot be listened on.
    """
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        if family != socket.AF_UNIX:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error
    except BaseException:
        listening.close()
        raise
    return listening


async def listen_unix(path: str | os.PathLike[str], backlog: int) -> list[Listener]:
    """Return a listener on a Unix socket; a file of a dead listener is replaced.

    Cancellation: never suspends.

    Raises:
        OSError: the path cannot be listened on.
    """
    loop = kernel.running_loop()
    if (own := getattr(loop, "open_listeners", None)) is not None:
        listeners: list[Listener] = await own(None, os.fspath(path))
        return listeners
    address = os.fspath(path)
    if is_dead(address):
        with contextlib.suppress(OSError):
            os.unlink(address)
    listening = open_socket(socket.AF_UNIX, address, backlog)
    has_file = isinstance(listening.getsockname(), str)  # bytes are a name in Linux's abstract namespace
    return [SocketListener(listening, SocketFile(address) if has_file else None)]


class SocketFile:
    """The file of a Unix socket, known by its number: another process may have put another file in its place.

    Args:
        path: where it is now; the process may change its directory.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._number = number_of(self._path)

    def remove(self) -> None:
        """Remove the file, if it is still there. Idempotent."""
        number, self._number = self._number, None
        if number is not None and number == number_of(self._path):
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def number_of(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_dead(path: str) -> bool:
    """Return whether *path* is a Unix socket without a listener."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except (OSError, ValueError):  # the latter for a name in the abstract namespace
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
