"""What `dial_tcp` and `dial_tls` say when they could not: errors of the system, of the class that fits."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from lifecycle import ConnectError, Retry, connect, dial_tcp, dial_tls
from lifecycle._connect import streams

from ..loops import on_every_loop, run_on

NewLoop = Callable[[], asyncio.AbstractEventLoop]

QUICK = Retry(attempts=3, backoff=(0.0, 0.0))


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@on_every_loop
def test_a_refusal_is_one(new_loop: NewLoop) -> None:
    """The error is the one that people name in `retry_on`."""

    async def main() -> None:
        retry = Retry(attempts=3, backoff=(0.0, 0.0), retry_on=ConnectionRefusedError)
        with pytest.raises(ConnectError) as caught:
            await connect(dial_tcp, "127.0.0.1", free_port(), retry=retry)
        assert caught.value.attempts == 3
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert caught.value.__cause__.errno == errno.ECONNREFUSED

    run_on(new_loop, main())


def failing(*errors: OSError) -> Callable[..., Any]:
    """Return a connect of anyio's that has met *errors*, one for each address."""

    async def connect_tcp(host: str, port: int) -> None:
        met = list(errors)
        try:
            raise OSError("All connection attempts failed") from ExceptionGroup("multiple attempts failed", met)
        finally:
            met.clear()  # as anyio does

    return connect_tcp


REFUSED = [ConnectionRefusedError(errno.ECONNREFUSED, f"refused by {address}") for address in ("::1", "127.0.0.1")]


def test_several_addresses_that_refuse_are_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are told, and kept."""
    monkeypatch.setattr(anyio, "connect_tcp", failing(*REFUSED))

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError, match=r"refused by ::1; refused by 127\.0\.0\.1") as caught:
            await streams.open_tcp("both.example", 1)
        cause = caught.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        assert list(cause.exceptions) == REFUSED
        assert "refused by ::1" in repr(cause)

    asyncio.run(main())


TIMED_OUT = TimeoutError(errno.ETIMEDOUT, "timed out")
NO_ROUTE = OSError(errno.ENETUNREACH, "unreachable")
NO_ADDRESS = OSError(errno.EADDRNOTAVAIL, "none here")


@pytest.mark.parametrize(
    ("met", "kind"),
    [
        ((REFUSED[0], TIMED_OUT), OSError),
        ((REFUSED[0], ConnectionResetError(errno.ECONNRESET, "reset")), ConnectionError),
        ((TIMED_OUT, TIMED_OUT), TimeoutError),
        ((NO_ROUTE, REFUSED[0]), ConnectionRefusedError),
        ((NO_ADDRESS, NO_ROUTE, TIMED_OUT), TimeoutError),
        ((NO_ROUTE, NO_ADDRESS), OSError),
        ((OSError("without a number"), OSError("nor this")), OSError),
    ],
    ids=["refused, late", "refused, reset", "late", "no way, refused", "no way, late", "no way", "no number"],
)
def test_addresses_that_fail_differently_are_all_told(
    monkeypatch: pytest.MonkeyPatch, met: tuple[OSError, ...], kind: type[OSError]
) -> None:
    """By an error of the class that fits all of those that could be tried from here; `retry_on` may name it."""
    monkeypatch.setattr(anyio, "connect_tcp", failing(*met))

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await streams.open_tcp("mixed.example", 1)
        assert type(caught.value) is kind
        assert all((error.strerror or str(error)) in str(caught.value) for error in met)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert caught.value.__cause__.exceptions == met

    asyncio.run(main())


def test_a_name_that_is_none_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is an error of its own."""

    async def connect_tcp(host: str, port: int) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    with pytest.raises(socket.gaierror, match="not known"):
        asyncio.run(streams.open_tcp("nowhere.example", 1))


def test_a_connection_with_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may give a client the very port that it asks for; the socket is closed then."""
    closed: list[bool] = []

    class Itself:
        def extra(self, attribute: object) -> tuple[str, int]:
            return ("127.0.0.1", 40008)

        async def aclose(self) -> None:
            closed.append(True)

    async def connect_tcp(host: str, port: int) -> Itself:
        return Itself()

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    with pytest.raises(ConnectionRefusedError, match="has met itself"):
        asyncio.run(streams.open_tcp("127.0.0.1", 40008))
    assert closed == [True]


async def hang_up(how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End a connection in which the peer has said hello, or was about to."""
    if how != "at once":
        await reader.read(100)
    if how == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    writer.close()


@on_every_loop
@pytest.mark.parametrize("how", ["at once", "after the hello", "reset"])
def test_a_hang_up_in_the_handshake_is_tried_again(new_loop: NewLoop, how: str) -> None:
    """It is a `ConnectionResetError`, as it is to asyncio."""

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await hang_up(how, reader, writer)

        serving = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = serving.sockets[0].getsockname()[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.raises(ConnectError) as caught:
            await connect(dial_tls, "127.0.0.1", port, context, timeout=30, retry=QUICK)
        assert (caught.value.attempts, caught.value.stage) == (3, "tls")
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        serving.close()
        await asyncio.sleep(0.01)

    run_on(new_loop, main())


def test_the_context_is_made_once_and_not_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all certificates takes long: ten handshakes at once have one context, made in a thread."""
    made: list[int] = []
    used: list[ssl.SSLContext] = []
    genuine = ssl.create_default_context

    def make() -> ssl.SSLContext:
        made.append(threading.get_ident())
        return genuine()

    async def wrap(stream: object, *, ssl_context: ssl.SSLContext, hostname: str, **_: object) -> str:
        used.append(ssl_context)
        return hostname

    monkeypatch.setattr(streams, "_default", None)
    monkeypatch.setattr(ssl, "create_default_context", make)
    monkeypatch.setattr(streams.TLSStream, "wrap", wrap)

    async def main() -> None:
        stream: Any = object()
        names = await asyncio.gather(*[streams.shake_hands(stream, "host.example.", None, None) for _ in range(10)])
        assert set(names) == {"host.example"}

    asyncio.run(main())
    assert len(made) == 1
    assert made[0] != threading.get_ident()
    assert len(used) == 10
    assert len(set(map(id, used))) == 1
