"""Streams: what `dial_tcp` and `dial_tls` open, and the errors of the system by which they say that they could not."""

from __future__ import annotations

import errno
import ssl
import threading

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

#: What an address fails with that cannot be tried from here, as one of IPv6 where the machine has none.
NO_WAY = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_lock = threading.Lock()
_default: ssl.SSLContext | None = None


async def open_tcp(host: str, port: int) -> SocketStream:
    """Return a stream to *port* of *host*.

    Cancellation: ends the connecting and closes the socket.

    Raises:
        OSError: nothing answers there: the error of the one address that there is, or one that fits all, whose cause
            has all of them.
    """
    try:
        stream = await anyio.connect_tcp(host, port)
    except OSError as error:
        found = error.__cause__
        if not isinstance(found, (OSError, ExceptionGroup)):  # of the name
            raise
        if isinstance(found, OSError):
            raise found from None
        raise what_failed(found) from ExceptionGroup(
            found.message, found.exceptions
        )  # anyio empties the list of its own
    # Who asks for a port of the range from which the system takes the ports of clients may be given that very port, and
    # is then connected with itself: nobody listens there, and the owner of the port cannot begin to.
    if stream.extra(SocketAttribute.local_address) == stream.extra(SocketAttribute.remote_address):
        await anyio.aclose_forcefully(stream)
        raise OSError(errno.ECONNREFUSED, f"nobody listens at {host!r}, port {port}: the connection has met itself")
    return stream


def what_failed(found: ExceptionGroup[Exception]) -> OSError:
    """Return the error for what the addresses of one host have met, of the class that fits them all; it tells all."""
    errors = [error for error in found.exceptions if isinstance(error, OSError)]
    told = "; ".join(dict.fromkeys(error.strerror or str(error) for error in errors))
    # A name has often addresses of a kind that this machine has no way to, which say nothing about the peer.
    met = [error for error in errors if error.errno not in NO_WAY] or errors
    number = met[0].errno if len({error.errno for error in met}) == 1 else None
    if number is not None:
        return OSError(number, told)  # which is of the class for that number
    kind = ConnectionError if all(isinstance(error, ConnectionError) for error in met) else OSError
    return kind(f"no address could be connected to: {told}")


async def shake_hands(
    stream: SocketStream, host: str, context: ssl.SSLContext | None, server_name: str | None
) -> TLSStream:
    """Return *stream* under TLS.

    Cancellation: ends the handshake; *stream* is the caller's to close.

    Raises:
        ConnectionResetError: the peer has hung up.
        ssl.SSLError: the handshake has failed.
    """
    if context is None:
        context = await anyio.to_thread.run_sync(default_context, abandon_on_cancel=True)
    # A name may end in the dot of the root; that of a certificate does not.
    name = (server_name or host).removesuffix(".")
    try:
        return await TLSStream.wrap(stream, hostname=name, ssl_context=context, standard_compatible=False)
    except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
        raise ConnectionResetError(errno.ECONNRESET, f"{host!r} has hung up in the TLS handshake") from error


def default_context() -> ssl.SSLContext:
    """Return ``ssl.create_default_context()``, made once per process: to read all certificates takes long."""
    global _default
    with _lock:
        if _default is None:
            _default = ssl.create_default_context()
        return _default
