"""serve_tcp and serve_unix: a server whose connections end with it, each with an owner from its first step on."""

from __future__ import annotations

import os
import ssl as tls
from collections.abc import Callable
from functools import partial
from typing import Any

from .._ground.checks import checked_count, checked_name
from .._task.handle import TaskHandle
from .connections import Handler, ServerStatistics
from .listener import listen_tcp, listen_unix
from .server import Server
from .stream import ServedStream

__all__ = ["ServedStream", "Server", "ServerStatistics", "serve_tcp", "serve_unix"]


def serve_tcp(
    handler: Handler,
    host: str | None = "127.0.0.1",
    port: int = 0,
    *,
    limit: int | None = 10_000,
    idle_timeout: float | None = None,
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
        limit: how many connections there may be at once, at least 1; further ones wait in the system's line. None for
            no bound.
        idle_timeout: seconds without any traffic after which a handler is cancelled, measured to a quarter; None for no
            bound.
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
    label = checked_name(name, f"{host or '*'}:{port}")
    return Server(
        label,
        partial(listen_tcp, host, checked_port(port), checked_count(backlog, "backlog"), label),
        handler,
        limit=limit,
        idle_timeout=idle_timeout,
        drain_timeout=drain_timeout,
        cancel_timeout=cancel_timeout,
        close_timeout=close_timeout,
        ssl=ssl,
        handshake_timeout=handshake_timeout,
        on_error=on_error,
    )


def serve_unix(
    handler: Handler,
    path: str | os.PathLike[str],
    *,
    limit: int | None = 10_000,
    idle_timeout: float | None = None,
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

    As `serve_tcp`. The file is made when the server opens, in the place of one without a listener, and removed when it
    closes, unless another file is there by then. A path that begins with a zero byte is a name in Linux's abstract
    namespace, and not a file.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """
    return Server(
        checked_name(name, os.fspath(path)),
        partial(listen_unix, path, checked_count(backlog, "backlog")),
        handler,
        limit=limit,
        idle_timeout=idle_timeout,
        drain_timeout=drain_timeout,
        cancel_timeout=cancel_timeout,
        close_timeout=close_timeout,
        ssl=ssl,
        handshake_timeout=handshake_timeout,
        on_error=on_error,
    )


def checked_port(port: int) -> int:
    """Return *port*.

    Raises:
        TypeError: it is not a whole number.
        ValueError: there is no such port; some systems would take another one instead.
    """
    if checked_count(port, "port") > 65535:
        raise ValueError(f"port must be at most 65535, got {port}")
    return port
