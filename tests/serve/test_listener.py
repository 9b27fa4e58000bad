"""Where a server listens: addresses of every kind, what cannot be listened on, and what it leaves behind."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle import serve_tcp, serve_unix
from lifecycle.testing import Bubble
from lifecycle.types import Server

from ..loops import virtual
from .clients import echo, hang_up


def test_a_unix_socket_is_made_and_removed(tmp_path: Path) -> None:
    """A file of a dead server is replaced, one of a live server is not, and other files are left alone."""

    async def main() -> None:
        path = tmp_path / "control.sock"
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.listen()
        with pytest.raises(OSError, match=r"cannot listen on .*control\.sock"):
            await serve_unix(echo, path).__aenter__()
        dead.close()
        async with serve_unix(echo, path) as server:
            assert server.addresses == (str(path),)
            assert [one.getsockname() for one in server.sockets] == [str(path)]
            with pytest.raises(RuntimeError, match="listens on no port"):
                _ = server.port
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            await hang_up(writer)
        assert not path.exists()
        path.write_text("precious")
        with pytest.raises(OSError, match="cannot listen"):
            await serve_unix(echo, path).__aenter__()
        assert path.read_text() == "precious"

    asyncio.run(main())


def test_the_file_of_another_server_is_left_alone(tmp_path: Path) -> None:
    """Another server has put its socket in the place of ours, and listens on it."""

    async def main() -> None:
        path = tmp_path / "control.sock"
        async with serve_unix(echo, path) as first:
            path.unlink()
            async with serve_unix(echo, path):
                await first.aclose()
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"hello")
                assert await reader.read(100) == b"hello"
                await hang_up(writer)
        assert not path.exists()

    asyncio.run(main())


def test_a_relative_path_is_removed_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the file that was made, wherever the process is then."""

    async def main() -> None:
        monkeypatch.chdir(tmp_path)
        async with serve_unix(echo, "control.sock"):
            assert (tmp_path / "control.sock").exists()
            monkeypatch.chdir("/")
        assert not (tmp_path / "control.sock").exists()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="the abstract namespace is one of Linux")
def test_a_name_in_the_abstract_namespace(tmp_path: Path) -> None:
    """It is served, and there is no file."""

    async def main() -> None:
        name = f"\0{tmp_path}"
        async with serve_unix(echo, name) as server:
            assert server.addresses == (name.encode(),)
            reader, writer = await asyncio.open_unix_connection(name)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            await hang_up(writer)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: serve_tcp(echo, "no.such.name.invalid"), "cannot listen on 'no.such.name.invalid'"),
        (lambda: serve_unix(echo, "/tmp/" + "long" * 50), "cannot listen on .*long: .*too long"),
        (lambda: serve_tcp(echo, "2001:db8::1"), "cannot listen on .*2001:db8::1"),
    ],
    ids=["name", "path", "address"],
)
def test_what_cannot_be_listened_on_is_named(make: Callable[[], Server], message: str) -> None:
    """With the reason, wherever the refusal came from."""

    async def main() -> None:
        with pytest.raises(OSError, match=message):
            await make().__aenter__()

    asyncio.run(main())


def test_a_machine_without_ipv6_listens_on_the_other_addresses(caplog: pytest.LogCaptureFixture) -> None:
    """In whichever order a name resolves to them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def resolved(*_: object, **__: object) -> list[Any]:
            return [(socket.AF_INET6, 1, 6, "", ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]

        loop.getaddrinfo = resolved  # type: ignore[method-assign]
        async with serve_tcp(echo, "both") as server:
            assert server.addresses == (("127.0.0.1", server.port),)

    asyncio.run(main())
    assert [(record.getMessage(), vars(record)["owner"]) for record in caplog.records] == [
        ("listening without IPv6", "both:0")
    ]


@virtual
async def test_an_address_in_use_is_refused(bubble: Bubble) -> None:
    """With an error that says so, and the first server goes on."""
    async with serve_tcp(echo, "host", 1):
        with pytest.raises(OSError, match="in use"):
            await serve_tcp(echo, "host", 1).__aenter__()
