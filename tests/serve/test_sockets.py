"""Sockets that a server is given, ports that servers share, and one port for several addresses."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle import ServedStream, serve_tcp, serve_unix
from lifecycle._serve import addresses

from ..loops import on_every_loop, run_on
from .clients import ask, balance, echo, hang_up


def bound() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


@on_every_loop
def test_a_server_listens_on_sockets_that_it_is_given(new_loop: Any, tmp_path: Path) -> None:
    """Those that listen already, with what is in their line, and those that do not; they are closed with it."""

    async def main() -> None:
        first, second = bound(), bound()
        first.listen()
        with socket.create_connection(first.getsockname()) as early:
            server = serve_tcp(echo, sock=[first, second])
            assert server.name == f"127.0.0.1:{first.getsockname()[1]}"
            async with server:
                assert server.addresses == (first.getsockname(), second.getsockname())
                assert await ask(server, b"x") == b"x"
                early.sendall(b"early")
                early.shutdown(socket.SHUT_WR)
                early.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(early, 100) == b"early"
        assert (first.fileno(), second.fileno()) == (-1, -1)
        path = tmp_path / "given.sock"
        given = socket.socket(socket.AF_UNIX)
        given.bind(str(path))
        async with serve_unix(echo, sock=given) as server:
            assert server.addresses == (str(path),)
            _, writer = await asyncio.open_unix_connection(path)
            await hang_up(writer)
        assert path.exists()  # its maker's

    run_on(new_loop, main())


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: serve_tcp(echo, sock=3), TypeError, "sock must be a socket"),  # type: ignore[arg-type]
        (lambda: serve_tcp(echo, sock=[]), ValueError, "at least one"),
        (lambda: serve_tcp(echo, sock=closed()), ValueError, "must be open"),
        (lambda: serve_tcp(echo, sock=datagram()), ValueError, "a stream socket of IP"),
        (lambda: serve_unix(echo, sock=unopened()), ValueError, "a stream socket of Unix"),
        (lambda: serve_tcp(echo, port=1, sock=unopened()), ValueError, "give no host, port"),
        (lambda: serve_tcp(echo, sock=unopened(), reuse_port=True), ValueError, "give no host, port and reuse_port"),
        (lambda: serve_unix(echo, "x", sock=unopened()), ValueError, "give no path"),
        (lambda: serve_tcp(echo, reuse_port=1), TypeError, "reuse_port must be True or False"),  # type: ignore[arg-type]
    ],
)
def test_sockets_of_the_wrong_kind_are_refused(make: Callable[[], object], kind: type[Exception], message: str) -> None:
    """When they are given, and they stay their giver's."""
    with pytest.raises(kind, match=message):
        make()


kept: list[socket.socket] = []


def unopened() -> socket.socket:
    made = socket.socket()
    kept.append(made)
    return made


def datagram() -> socket.socket:
    made = socket.socket(type=socket.SOCK_DGRAM)
    kept.append(made)
    return made


def closed() -> socket.socket:
    made = socket.socket()
    made.close()
    return made


@pytest.fixture(autouse=True, scope="module")
def nothing_kept() -> Any:
    yield
    while kept:
        kept.pop().close()


def test_a_socket_that_cannot_listen_is_closed_with_the_others() -> None:
    """They are the server's from its entering on."""

    async def main() -> None:
        good, connected = bound(), socket.socket()
        with bound() as peer:
            peer.listen()
            connected.connect(peer.getsockname())
            with pytest.raises(OSError, match="Invalid argument"):
                await serve_tcp(echo, sock=[good, connected]).__aenter__()
        assert good.fileno() == connected.fileno() == -1

    asyncio.run(main())


def test_servers_may_share_a_port() -> None:
    """Each connection comes to one of them."""

    async def main() -> None:
        async with serve_tcp(echo, reuse_port=True) as first:
            with pytest.raises(OSError, match="in use"):
                await serve_tcp(echo, port=first.port).__aenter__()
            async with serve_tcp(echo, port=first.port, reuse_port=True) as second:
                for _ in range(20):
                    assert await ask(second, b"x") == b"x"
                assert balance(first).get("finished", 0) + balance(second).get("finished", 0) == 20

    asyncio.run(main())


def test_a_port_that_is_taken_on_another_address_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By turns each address chooses; a port that was asked for is not."""
    tried: list[tuple[str, int]] = []
    opened = addresses.open_socket

    def open_socket(family: int, address: Any, backlog: int, reuse_port: bool = False) -> socket.socket:
        tried.append(address)
        if address[1] and len(tried) < 4:
            raise OSError(errno.EADDRINUSE, "in use")
        return opened(family, address, backlog, reuse_port)

    monkeypatch.setattr(addresses, "open_socket", open_socket)
    found = [(socket.AF_INET, 1, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    sockets = addresses.open_sockets(found, 5, "both")
    try:
        assert [each.getsockname()[0] for each in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert [host for host, port in tried if not port] == ["127.0.0.1", "127.0.0.2"]
    finally:
        for each in sockets:
            each.close()
    tried.clear()
    with pytest.raises(OSError, match="in use"):
        addresses.open_sockets([(socket.AF_INET, 1, 6, "", ("127.0.0.1", 1))], 5, "asked")
    assert len(tried) == 1


async def unserved(stream: ServedStream) -> None:
    raise AssertionError("nobody connects")


def test_a_server_that_is_never_entered_leaves_the_sockets_alone() -> None:
    """They are their maker's until then."""
    with bound() as mine:
        serve_tcp(unserved, sock=mine).close()
        assert mine.fileno() >= 0
