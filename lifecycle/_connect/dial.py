"""Dial: ready-made connectors: for TCP, TLS and Unix streams, and for anything that is opened and closed."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Coroutine
from os import PathLike
from typing import Any, TypeVar, cast, overload

from anyio.abc import SocketStream, UNIXSocketStream
from anyio.streams.tls import TLSStream
from typing_extensions import TypeVarTuple, Unpack

from .._ground.calls import call, name_of, refuse_function
from .._ground.checks import checked_callable, checked_name
from .._ground.endpoints import checked_host, checked_path, checked_port, checked_tls
from .stages import Stages

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds for a TLS handshake, as asyncio allows: a peer may accept and then say nothing.
HANDSHAKE_TIMEOUT = 60.0


@overload
def dial(
    opener: Callable[[Unpack[Ts]], Awaitable[T]],
    *,
    close: Callable[[T], object] | None = None,
    check: Callable[[T], object] | None = None,
) -> Callable[[Stages, Unpack[Ts]], Coroutine[Any, Any, T]]: ...


@overload
def dial(
    opener: Callable[[Unpack[Ts]], T],
    *,
    close: Callable[[T], object] | None = None,
    check: Callable[[T], object] | None = None,
) -> Callable[[Stages, Unpack[Ts]], Coroutine[Any, Any, T]]: ...


def dial(  # a union of both kinds of opener is more than mypy can infer from
    opener: Callable[[Unpack[Ts]], Awaitable[T] | T],
    *,
    close: Callable[[T], object] | None = None,
    check: Callable[[T], object] | None = None,
) -> Callable[[Stages, Unpack[Ts]], Coroutine[Any, Any, T]]:
    """Return a connector of two stages, "open" and "check", for anything that is opened by one call and closed by one.

    Example::

        async with connect(dial(asyncpg.connect), address, timeout=5.0) as connection: ...
        async with connect(dial(redis.asyncio.from_url, check=lambda client: client.ping()), url) as client: ...
        async with connect(dial(httpx.AsyncClient, check=lambda client: client.get(health))) as client: ...

    Args:
        opener: makes the value from the arguments of the connect; synchronous or asynchronous.
        close: called with the value; synchronous or asynchronous. By default its ``aclose`` or ``close``.
        check: called with the value when it is there; synchronous or asynchronous. If it raises or returns ``False``,
            the attempt fails: for clients that do not connect before their first use.

    Raises:
        TypeError: *opener*, *close* or *check* is not callable.
    """
    if not callable(opener):
        refuse_function("dial() takes a function that opens something", opener)
    for function, what in ((close, "close"), (check, "check")):
        if function is not None:
            checked_callable(function, what, takes=1)

    make = cast("Callable[[Unpack[Ts]], Awaitable[T]]", opener)

    async def connector(stages: Stages, *args: Unpack[Ts]) -> T:
        value = await stages.acquire(make, *args, release=close, name="open")
        if check is not None:
            await stages.step(examine(check, value), name="check")
        return value

    connector.__name__ = connector.__qualname__ = name_of(opener)
    return connector


async def examine(check: Callable[[T], object], value: T) -> None:
    """Look at a value, as a pool does.

    Raises:
        ConnectionError: *check* has returned ``False``.
        BaseException: what it raised.
    """
    if await call(check, value) is False:
        raise ConnectionError(f"{name_of(check)}() has returned False")


async def dial_tcp(stages: Stages, host: str, port: int) -> SocketStream:
    """Connect to a TCP port; a connector of one stage, "tcp".

    Cancellation: ends the connecting; the attempt closes the socket.

    Args:
        stages: from `connect`.
        host: a name or an address. All addresses of a name are tried, each a little after the other (RFC 6555).
        port: from 1 to 65535.

    Raises:
        OSError: nothing answers there; of the class that fits what all addresses have met that could be tried from
            here, such as ``ConnectionRefusedError``, with all of them in its cause. A refusal it is also where the
            connection would be one with itself.
        TypeError, ValueError: *host* or *port* is none.
    """
    from .streams import open_tcp

    checked_host(host)
    checked_port(port, least=1)

    return await stages.acquire(open_tcp, host, port, name="tcp")


async def dial_tls(
    stages: Stages, host: str, port: int, context: ssl.SSLContext | None = None, server_name: str | None = None
) -> TLSStream:
    """Connect to a TCP port and shake hands over TLS; a connector of two stages, "tcp" and "tls".

    The handshake may take 60 seconds, or less where the connect has less time. The end of the stream is taken for its
    end also where the peer has not said so: a protocol that does not know its own lengths may miss what was cut off.

    Cancellation: ends the connecting; the attempt closes the socket. A rollback sends the peer no closing message.

    Args:
        stages: from `connect`.
        host: a name or an address.
        port: from 1 to 65535.
        context: what to trust and to offer; by default ``ssl.create_default_context()``, made once per process, in a
            thread.
        server_name: the name that the certificate must have; by default *host*. A dot at its end is left out.

    Raises:
        OSError: nothing answers there; a ``ConnectionResetError`` where the peer hangs up in the handshake, an
            ``ssl.SSLError`` where that fails.
        TypeError, ValueError: an argument is none, or *context* is one of a server.
    """
    from .streams import shake_hands

    checked_tls(context, "context", of_server=False)
    checked_name(server_name, host, what="server_name")

    stream = await dial_tcp(stages, host, port)
    secure = await stages.acquire(
        shake_hands, stream, host, context, server_name, release=TLSStream.aclose, name="tls", timeout=HANDSHAKE_TIMEOUT
    )
    stages._pass_on(stream)  # which closes with what is around it now, also where a caller keeps nothing but that
    return secure


async def dial_unix(stages: Stages, path: str | PathLike[str]) -> UNIXSocketStream:
    """Connect to a Unix socket; a connector of one stage, "unix".

    Cancellation: ends the connecting; the attempt closes the socket.

    Args:
        stages: from `connect`.
        path: the name of the socket in the file system.

    Raises:
        OSError: nothing answers there.
        TypeError, ValueError: *path* is none.
    """
    import anyio

    checked_path(path)

    return await stages.acquire(anyio.connect_unix, path, name="unix")
