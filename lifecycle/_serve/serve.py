"""serve_tcp and serve_unix: a server whose connections end with it, each with an owner from its first step on."""

from __future__ import annotations

import os
import socket
import ssl as tls
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .._ground.checks import checked_count, checked_name
from .._ground.endpoints import checked_host, checked_path, checked_port
from .._task.handle import TaskHandle
from .addresses import checked_reuse_port, checked_sockets, listen_on, listen_tcp
from .connections import Handler, ServerStatistics
from .listener import name_of_peer
from .server import Drain, Listen, Server
from .stream import ServedStream
from .unix import Owner, checked_mode, checked_owner, is_abstract, listen_unix

__all__ = ["ServedStream", "Server", "ServerStatistics", "serve_tcp", "serve_unix"]


def serve_tcp(
    handler: Handler,
    host: str | None = "127.0.0.1",
    port: int = 0,
    *,
    sock: socket.socket | Sequence[socket.socket] | None = None,
    reuse_port: bool = False,
    limit: int | None = 10_000,
    idle_timeout: float | None = None,
    drain: Drain = "end",
    drain_timeout: float | None = 5.0,
    cancel_timeout: float | None = 5.0,
    close_timeout: float | None = 5.0,
    ssl: tls.SSLContext | None = None,
    handshake_timeout: float | None = 10.0,
    backlog: int = 1024,
    on_error: Callable[[TaskHandle[Any], BaseException], None] | None = None,
    name: str | None = None,
) -> Server:
    """Return a server that calls ``handler(stream)`` for each TCP connection, while its ``async with`` block runs.

    Example::

        async def echo(stream):
            async for data in stream:
                await stream.send(data)

        async with serve_tcp(echo, port=0) as server:
            print("listening on port", server.port)

    Args:
        handler: gets a `ServedStream`, which is closed when it ends.
        host: where to listen; None for every address of the machine.
        port: where to listen; 0 for any that is free: see `Server.port`.
        sock: what to listen on instead, one or several bound sockets of IP, such as ``socket.socket(fileno=3)`` of a
            service manager. They are the server's as soon as its block is entered.
        reuse_port: let other servers, of this process or of others, listen on the same port; the system shares
            connections out among them. What waits in the line of one that ends without a close is lost.
        limit: how many connections there may be at once, at least 1; further ones wait in the system's line. None for
            no bound.
        idle_timeout: seconds without any traffic after which a handler is cancelled, measured to a quarter; None for no
            bound.
        drain: what happens to handlers when the server closes: "end" ends their input, as if the peer had, but for
            `ServedStream.cut`; "tell" leaves it open, for handlers that look at `ServedStream.draining`.
        drain_timeout: seconds that handlers have to finish when the server closes; None for no bound.
        cancel_timeout: seconds that cancelled handlers have to end before they are cancelled again, and abandoned
            ``min(1, cancel_timeout)`` seconds later; None for no bound.
        close_timeout: seconds that closing one connection may take, which sends what waits; None for no bound.
        ssl: the context of a server that speaks TLS.
        handshake_timeout: seconds that a TLS handshake may take; None for the loop's own bound.
        backlog: how many connections may wait in the system's line.
        on_error: called as ``on_error(handle, error)`` with what a handler raised; the name of the handle is the peer.
            By default the error is logged.
        name: for logs, errors and statistics.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    backlog = checked_count(backlog, "backlog")
    if sock is not None:
        if (host, port, checked_reuse_port(reuse_port)) != ("127.0.0.1", 0, False):
            raise ValueError("sock is where to listen; give no host, port and reuse_port with it")
        sockets = checked_sockets(sock, (socket.AF_INET, socket.AF_INET6), "IP")
        label = checked_name(name, name_of_peer(sockets[0].getsockname(), 0))
        listen: Listen = partial(listen_on, sockets, backlog)
    else:
        if host is not None:
            checked_host(host)
        label = checked_name(name, f"{host or '*'}:{port}")
        reuse = checked_reuse_port(reuse_port)
        listen = partial(listen_tcp, host, checked_port(port), backlog, label, reuse_port=reuse)
    return Server(
        label,
        listen,
        handler,
        limit=limit,
        idle_timeout=idle_timeout,
        drain=drain,
        drain_timeout=drain_timeout,
        cancel_timeout=cancel_timeout,
        close_timeout=close_timeout,
        ssl=ssl,
        handshake_timeout=handshake_timeout,
        on_error=on_error,
    )


def serve_unix(
    handler: Handler,
    path: str | os.PathLike[str] | None = None,
    *,
    sock: socket.socket | Sequence[socket.socket] | None = None,
    mode: int | None = None,
    owner: Owner | None = None,
    limit: int | None = 10_000,
    idle_timeout: float | None = None,
    drain: Drain = "end",
    drain_timeout: float | None = 5.0,
    cancel_timeout: float | None = 5.0,
    close_timeout: float | None = 5.0,
    ssl: tls.SSLContext | None = None,
    handshake_timeout: float | None = 10.0,
    backlog: int = 1024,
    on_error: Callable[[TaskHandle[Any], BaseException], None] | None = None,
    name: str | None = None,
) -> Server:
    """Return a server that calls ``handler(stream)`` for each connection to the Unix socket at *path*.

    As `serve_tcp`. The file is made when the server opens, in the place of one that no server has, and removed when it
    closes, unless another file is there by then. A path that begins with a zero byte is a name in Linux's abstract
    namespace, and not a file.

    Args:
        handler: gets a `ServedStream`, which is closed when it ends.
        path: where to listen.
        sock: what to listen on instead, one or several bound Unix sockets; their files are left alone.
        mode: the permissions of the file, such as ``0o660``; by default what the process's umask leaves. Nobody can
            connect before it has them.
        owner: user and group of the file, by name or number, None for what stays as it is.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    backlog = checked_count(backlog, "backlog")
    checked_mode(mode)
    user_and_group = checked_owner(owner)
    if sock is not None:
        if (path, mode, owner) != (None, None, None):
            raise ValueError("sock is where to listen; give no path, mode and owner with it")
        sockets = checked_sockets(sock, (socket.AF_UNIX,), "Unix")
        label = checked_name(name, os.fsdecode(sockets[0].getsockname()))
        listen: Listen = partial(listen_on, sockets, backlog)
    else:
        if path is None:
            raise TypeError("serve_unix() needs a path or a sock")
        checked_path(path)
        if is_abstract(os.fspath(path)) and (mode, owner) != (None, None):
            raise ValueError("a name in the abstract namespace has no file that could have a mode or an owner")
        label = checked_name(name, os.fsdecode(path))
        listen = partial(listen_unix, path, backlog, mode=mode, owner=user_and_group)
    return Server(
        label,
        listen,
        handler,
        limit=limit,
        idle_timeout=idle_timeout,
        drain=drain,
        drain_timeout=drain_timeout,
        cancel_timeout=cancel_timeout,
        close_timeout=close_timeout,
        ssl=ssl,
        handshake_timeout=handshake_timeout,
        on_error=on_error,
    )
