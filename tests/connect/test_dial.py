"""dial: ready-made connectors, on real sockets, on every loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio.streams.tls
import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect, dial, dial_tcp, dial_tls, dial_unix
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual

NewLoop = Callable[[], asyncio.AbstractEventLoop]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until nothing does."""
    try:
        while data := await reader.read(100):
            writer.write(data)
            await writer.drain()
    except (OSError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve, and give the port."""
    serving = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        serving.close()
        await settle()


async def settle() -> None:
    """Give the server's own tasks the turns that they need to end."""
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)


def descriptors() -> int:
    """Return how many file descriptors are open."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@on_every_loop
def test_a_tcp_stream(new_loop: NewLoop) -> None:
    """Connected, used, and closed at the end of the block."""

    async def main() -> None:
        async with server() as port:
            before = descriptors()
            async with connect(dial_tcp, "127.0.0.1", port, timeout=5) as stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"hello"
                assert descriptors() > before
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"again")

    run_on(new_loop, main())


@on_every_loop
def test_a_port_where_nobody_listens(new_loop: NewLoop) -> None:
    """The stage is named, the cause is the OSError."""

    async def main() -> None:
        async with server() as port:
            pass
        with pytest.raises(ConnectError) as caught:
            await connect(dial_tcp, "127.0.0.1", port, timeout=5)
        assert caught.value.stage == "tcp"
        assert isinstance(caught.value.__cause__, OSError)

    run_on(new_loop, main())


@on_every_loop
def test_a_unix_stream(new_loop: NewLoop, tmp_path: Path) -> None:
    """The same over a Unix socket."""
    path = tmp_path / "socket"

    async def main() -> None:
        serving = await asyncio.start_unix_server(echo, path)
        async with connect(dial_unix, path, timeout=5) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        serving.close()
        await settle()
        with pytest.raises(ConnectError) as caught:
            await connect(dial_unix, tmp_path / "nowhere", timeout=5)
        assert caught.value.stage == "unix"

    run_on(new_loop, main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the key and the certificate of a server called localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    path = directory / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *names, "-keyout", path, "-out", directory / "own.pem"], check=True, stderr=-3)
    path.write_text(path.read_text() + (directory / "own.pem").read_text())
    return path


@on_every_loop
def test_a_tls_stream(new_loop: NewLoop, certificate: Path) -> None:
    """Two stages; the handshake is against the name that was asked for."""
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificate)
    trusts = ssl.create_default_context(cafile=str(certificate))

    async def main() -> None:
        attempt = partial(connect, dial_tls, "127.0.0.1", timeout=5)
        async with server(serves) as port, attempt(port, trusts, "localhost") as stream:
            assert isinstance(stream, anyio.streams.tls.TLSStream)
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"

    run_on(new_loop, main())


@on_every_loop
def test_a_tls_stream_is_all_that_there_is_to_close(new_loop: NewLoop, certificate: Path) -> None:
    """Who keeps the stream alone, as a pool does, leaves nothing behind and is not warned. A dot at the end is none."""
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificate)
    trusts = ssl.create_default_context(cafile=str(certificate))

    async def main() -> None:
        async with server(serves) as port:
            before = descriptors()
            stream = await connect(dial_tls, "127.0.0.1", port, trusts, "localhost.", timeout=30)
            gc.collect()
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            await stream.aclose()
            await settle()
            assert descriptors() == before

    run_on(new_loop, main())


@on_every_loop
def test_a_tls_handshake_that_fails(new_loop: NewLoop, certificate: Path) -> None:
    """Nobody trusts it, or nobody answers it: the stage is named, and the socket below is closed."""
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificate)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the server's side of it
        async with server(serves) as port, server() as plain:
            before = descriptors()
            with pytest.raises(ConnectError) as caught:
                await connect(dial_tls, "localhost", port, timeout=5)
            assert caught.value.stage == "tls"
            assert isinstance(caught.value.__cause__, ssl.SSLError)
            with pytest.raises(ConnectError):
                await connect(dial_tls, "127.0.0.1", plain, timeout=5)
            await settle()
            assert descriptors() == before

    run_on(new_loop, main())


@on_every_loop
def test_a_peer_that_says_nothing(new_loop: NewLoop) -> None:
    """It accepts, and never answers the handshake: the deadline ends it, and no descriptor stays."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        serving = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = serving.sockets[0].getsockname()[1]
        before = descriptors()
        with pytest.raises(ConnectTimeout) as caught:
            await connect(dial_tls, "127.0.0.1", port, timeout=0.5)
        assert caught.value.stage == "tls"
        serving.close()
        await settle()
        assert descriptors() <= before

    run_on(new_loop, main())


class Client:
    """A client as they come: made in one call, connected at first use, closed by a method of its own."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.closed = 0

    async def ping(self) -> None:
        """Connect, really."""
        await asyncio.sleep(0)
        if not self.answers:
            raise ConnectionResetError("no answer")

    async def aclose(self) -> None:
        """Close it."""
        await asyncio.sleep(0)
        self.closed += 1


def test_anything_that_is_opened_and_closed() -> None:
    """Synchronous and asynchronous openers, checks and closers; arguments are passed on."""

    async def main() -> None:
        checked: list[Client] = []

        async def open_client(answers: bool) -> Client:
            return Client(answers=answers)

        async with connect(dial(open_client, check=Client.ping), True) as client:
            assert not client.closed
        assert client.closed == 1
        async with connect(dial(Client, check=checked.append)) as client:
            assert checked == [client]
        assert client.closed == 1
        async with connect(dial(dict, close=dict.clear), [("a", 1)]) as values:
            assert values == {"a": 1}
        assert not values

    asyncio.run(main())


def test_a_check_that_fails_closes_the_client() -> None:
    """The attempt fails in stage "check", under the opener's name."""
    made: list[Client] = []

    def open_client(answers: bool) -> Client:
        made.append(Client(answers=answers))
        return made[-1]

    async def main() -> None:
        with pytest.raises(ConnectError, match=r"connect '.*open_client' failed in stage 'check'"):
            await connect(dial(open_client, check=Client.ping), False)

    asyncio.run(main())
    assert made[0].closed == 1


@virtual
async def test_a_check_that_returns_false_fails_as_that_of_a_pool_does(bubble: Bubble) -> None:
    """What it says is a refusal, after which it is tried again."""
    answers = iter([False, False, None])
    clients: list[Client] = []

    def open_client() -> Client:
        clients.append(Client(answers=True))
        return clients[-1]

    patient = Retry(attempts=2, backoff=(0.1, 0.1))
    with pytest.raises(
        ConnectError, match=r"'check', attempt 2: ConnectionError\('.*<lambda>\(\) has returned False'\)"
    ):
        await connect(dial(open_client, check=lambda _: next(answers)), retry=patient)
    assert [client.closed for client in clients] == [1, 1]
    async with connect(dial(open_client, check=lambda _: next(answers))):
        pass


def test_the_ready_made_connectors_are_stages_of_others() -> None:
    """A connector of one's own goes on where they end."""

    async def greet(stages: Stages, port: int) -> bytes:
        stream = await dial_tcp(stages, "127.0.0.1", port)
        await stages.step(stream.send(b"hello"), name="hello")
        return await stages.step(stream.receive(), name="answer")

    async def main() -> None:
        async with server() as port, connect(greet, port) as answer:
            assert answer == b"hello"

    asyncio.run(main())


def test_what_cannot_open_anything_is_refused() -> None:
    """At once."""
    with pytest.raises(TypeError, match="a function that opens something"):
        dial("asyncpg")  # type: ignore[arg-type]
