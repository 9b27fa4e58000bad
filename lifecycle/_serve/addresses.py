"""Addresses: what a server listens on, from the names of hosts and ports, or from sockets that it is given."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from .._ground import kernel
from .._ground.foreign import in_words
from .._ground.logs import OwnerLog
from .listener import Listener, SocketListener

logger = OwnerLog("lifecycle.server")

#: What listening fails with where the machine has no IPv6, although names resolve to it.
NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

#: How often a port is chosen that is free on one address, until it is on all.
TRIES = 50


async def listen_tcp(host: str | None, port: int, backlog: int, owner: str, *, reuse_port: bool) -> list[Listener]:
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
    return [
        SocketListener(listening) for listening in open_sockets(list(dict.fromkeys(found)), backlog, owner, reuse_port)
    ]


def open_sockets(found: Sequence[Any], backlog: int, owner: str, reuse_port: bool = False) -> list[socket.socket]:
    """Return a listening socket for each address, all on one port; IPv6 may be missing where there is another.

    Where any port will do, the system's choice for one address may be taken on another: each of them chooses in turn.

    Raises:
        OSError: an address cannot be listened on; none is then.
    """
    for chooser in range(TRIES - 1):
        try:
            return open_on_one_port(found, chooser % len(found), backlog, owner, reuse_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or len(found) == 1 or any(address[1] for *_, address in found):
                raise
    return open_on_one_port(found, 0, backlog, owner, reuse_port)


def open_on_one_port(
    found: Sequence[Any], chooser: int, backlog: int, owner: str, reuse_port: bool
) -> list[socket.socket]:
    """Do that, once; of addresses without a port the one at *chooser* gets one, and the others the same."""
    opened: dict[int, socket.socket] = {}
    missing: OSError | None = None
    try:
        for number in sorted(range(len(found)), key=lambda number: number != chooser):
            family, _, _, _, address = found[number]
            if opened and address[1] == 0:
                port = next(iter(opened.values())).getsockname()[1]
                address = (address[0], port, *address[2:])
            try:
                opened[number] = open_socket(family, address, backlog, reuse_port)
            except OSError as error:
                if family != socket.AF_INET6 or error.errno not in NO_SUCH_FAMILY:
                    raise
                missing = error
        if missing is not None and not opened:
            raise missing
    except BaseException:
        for listening in opened.values():
            listening.close()
        raise
    if missing is not None:
        logger.warning("listening without IPv6", extra={"owner": owner, "error": str(missing)})
    return [opened[number] for number in sorted(opened)]


def open_socket(family: int, address: Any, backlog: int, reuse_port: bool = False) -> socket.socket:
    """Return a listening socket of IP.

    Raises:
        OSError: the address cannot be listened on.
    """
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


async def listen_on(sockets: Sequence[socket.socket], backlog: int) -> list[Listener]:
    """Return listeners on *sockets*, which are the server's from now on; those that do not listen yet do.

    Cancellation: never suspends.

    Raises:
        OSError: one of them cannot listen; all are closed then.
    """
    try:
        for listening in sockets:
            listening.setblocking(False)
            if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.listen(backlog)
        return [SocketListener(listening) for listening in sockets]
    except BaseException:
        for listening in sockets:
            listening.close()
        raise


def checked_sockets(sock: object, families: Sequence[int], kind: str) -> list[socket.socket]:
    """Return the sockets that a server is given, one or several.

    Raises:
        TypeError: it is no socket.
        ValueError: there is none, or one that nothing can connect to in that way, or that is closed.
    """
    given = [sock] if isinstance(sock, socket.socket) else list(sock) if isinstance(sock, (list, tuple)) else None
    if given is None or not all(isinstance(each, socket.socket) for each in given):
        raise TypeError(f"sock must be a socket or a list of sockets, got {in_words(sock)}")
    if not given:
        raise ValueError("sock must have at least one socket")
    for each in given:
        if each.fileno() < 0:
            raise ValueError(f"sock must be open, got {in_words(each)}")
        if each.family not in families or each.type != socket.SOCK_STREAM:
            raise ValueError(f"sock must be a stream socket of {kind}, got {in_words(each)}")
    return given


def checked_reuse_port(reuse_port: bool) -> bool:
    """Return *reuse_port*.

    Raises:
        TypeError: it is no bool.
        ValueError: the system cannot do that.
    """
    if not isinstance(reuse_port, bool):
        raise TypeError(f"reuse_port must be True or False, got {in_words(reuse_port)}")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port: this system has no SO_REUSEPORT")
    return reuse_port
