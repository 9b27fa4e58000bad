"""serve_tcp and serve_unix: limits, timeouts, drains, errors that stay with their connection, and nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from lifecycle import OwnerClosed, ReleaseTimeout, Scope, ServedStream, serve_tcp, serve_unix, take_snapshot
from lifecycle.testing import Bubble
from lifecycle.types import Server

from ..guarantees.things import Stubborn
from ..loops import on_every_loop, run_on, virtual


async def echo(stream: ServedStream) -> None:
    async for data in stream:
        await stream.send(data)


async def forever(stream: ServedStream) -> None:
    await asyncio.Event().wait()


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def ask(server: Server, question: bytes) -> bytes:
    """Return what a server answers, up to the end of the connection."""
    reader, writer = await connect(server)
    writer.write(question)
    writer.write_eof()
    answer = await reader.read()
    await hang_up(writer)
    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def balance(server: Server) -> dict[str, int]:
    """Return what the ends of connections count as, where there are any; the account closes."""
    counts = server.statistics()
    kinds = ("live", "finished", "departed", "failed", "idle", "handshake_failures", "cut")
    found = {kind: getattr(counts, kind) for kind in kinds}
    assert sum(found.values()) == counts.accepted
    return {kind: number for kind, number in found.items() if number}


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


# Serving


@pytest.mark.usefixtures("no_strangers")
@on_every_loop
def test_connections_are_served_at_the_same_time(new_loop: Any) -> None:
    """On every kind of loop, and nothing is left of them."""

    async def main() -> None:
        async with serve_tcp(echo, name="echo") as server:
            answers = await asyncio.gather(*[ask(server, b"%d" % number * 1000) for number in range(20)])
            assert answers == [b"%d" % number * 1000 for number in range(20)]
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 20}
        assert take_snapshot().roots == ()

    run_on(new_loop, main())


@virtual
async def test_in_a_bubble_a_server_listens_on_the_memory_network(bubble: Bubble) -> None:
    """So that what is built on it can be explored."""
    async with serve_tcp(echo, "example.org", 80) as server:
        assert server.port == 80
        reader, writer = await asyncio.open_connection("example.org", 80)
        writer.write(b"hello")
        assert await reader.read(100) == b"hello"
        assert "server 'example.org:80', open" in str(take_snapshot())
        await hang_up(writer)
        await asyncio.sleep(0.1)
        assert balance(server) == {"finished": 1}


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
    """Somebody has put another socket in the place of ours, and listens on it."""

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
    """With the reason, whoever it was that refused."""

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
    assert "listening without IPv6" in caplog.text


def certificate(directory: Path) -> tuple[Path, Path]:
    key, cert = directory / "key.pem", directory / "cert.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@on_every_loop
def test_tls(new_loop: Any, tmp_path: Path) -> None:
    """Encrypted connections are served; handshakes that fail, or take too long, are counted and hurt nobody."""
    key, cert = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        async with serve_tcp(echo, ssl=context, handshake_timeout=0.3, drain_timeout=1) as server:
            silent = await connect(server)
            reader, writer = await connect(server)
            writer.write(b"this is no TLS")
            await reader.read()
            await hang_up(writer)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost"
            )
            writer.write(b"secret")
            assert await reader.read(100) == b"secret"
            assert await silent[0].read() == b""
            await hang_up(silent[1])
            await hang_up(writer)
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 1, "handshake_failures": 2}

    run_on(new_loop, main())


def test_a_closed_server_goes_on_with_a_handshake_that_has_begun(tmp_path: Path) -> None:
    """The connection is there, and those that are there go on."""
    key, cert = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        async with serve_tcp(echo, ssl=context) as server:
            reader, writer = await connect(server)
            await until(lambda: server.statistics().live)
            server.close()
            await writer.start_tls(trusting, server_hostname="localhost")
            await asyncio.sleep(0.05)  # the handler has begun
            writer.write(b"secret")
            assert await reader.read(100) == b"secret"
            await hang_up(writer)

    run_on(asyncio.new_event_loop, main())


# Limits


@virtual
async def test_over_the_limit_connections_wait_in_line(bubble: Bubble) -> None:
    """The next one is taken when one has ended."""
    async with serve_tcp(echo, "host", 1, limit=2) as server:
        clients = [await asyncio.open_connection("host", 1) for _ in range(3)]
        for _, writer in clients:
            writer.write(b"hello")
        await asyncio.sleep(0.1)
        assert (server.statistics().live, server.statistics().paused) == (2, True)
        await hang_up(clients[0][1])
        assert await clients[2][0].read(100) == b"hello"
        await hang_up(clients[1][1])
        await hang_up(clients[2][1])
        await asyncio.sleep(0.1)
        assert not server.statistics().paused


@on_every_loop
def test_the_limit_holds_for_real_connections(new_loop: Any) -> None:
    """However many come at once."""
    most = 0

    async def main() -> None:
        nonlocal most

        async def handler(stream: ServedStream) -> None:
            nonlocal most
            most = max(most, server.statistics().live)
            await echo(stream)

        async with serve_tcp(handler, limit=5) as server:
            answers = await asyncio.gather(*[ask(server, b"x") for _ in range(40)])
            assert answers == [b"x"] * 40
        assert most == 5

    run_on(new_loop, main())


@on_every_loop
def test_without_descriptors_it_waits_and_goes_on(new_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The connection stays in the system's line, the loop does not spin, and it is served when there is room again."""

    async def main() -> None:
        async with serve_tcp(echo) as server:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            client = socket.socket()
            client.setblocking(False)
            free = os.dup(client.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
            try:
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
                await asyncio.sleep(0.2)
                found = server.statistics()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert 1 <= found.exhausted <= 5
            assert found.paused
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"hello")
            assert await reader.read(100) == b"hello"
            await hang_up(writer)
            assert not server.statistics().paused

    run_on(new_loop, main())
    assert sum("cannot take connections" in record.message for record in caplog.records) == 1


# Ends


def test_without_descriptors_the_end_of_a_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is taken then, however long the pause would be."""
    monkeypatch.setattr("lifecycle._serve.server.BACK_OFF", (60.0, 60.0))

    async def main() -> None:
        async with serve_tcp(echo) as server, asyncio.timeout(30):
            first, second = socket.socket(), socket.socket()
            for client in (first, second):
                client.setblocking(False)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(first.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_connect(first, ("127.0.0.1", server.port))
                await loop.sock_connect(second, ("127.0.0.1", server.port))
                await until(lambda: server.statistics().exhausted)
                assert server.statistics().live == 1
                first.close()
                await loop.sock_sendall(second, b"hello")
                assert await loop.sock_recv(second, 100) == b"hello"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            second.close()

    run_on(asyncio.new_event_loop, main())


@virtual
async def test_an_error_stays_with_its_connection(bubble: Bubble) -> None:
    """It is told of, with the peer; what had been sent before goes out, and the others are served."""
    errors: list[tuple[str, BaseException]] = []

    async def handler(stream: ServedStream) -> None:
        data = await stream.receive()
        await stream.send(data)
        raise ValueError("broken handler")

    async with serve_tcp(handler, "host", 1, on_error=lambda *failure: errors.append(failure)) as server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("host", 1)
            writer.write(b"hello")
            assert await reader.read() == b"hello"
            await hang_up(writer)
        assert balance(server) == {"failed": 2}
    assert [str(error) for _, error in errors] == ["broken handler"] * 2
    assert errors[0][0].startswith("10.0.0.1:")


def test_an_error_is_told_although_the_connection_is_cut_off_after_it() -> None:
    """The peer does not take what the handler had to say before it failed."""
    errors: list[BaseException] = []

    async def handler(stream: ServedStream) -> None:
        stream.send_nowait(bytes(50_000_000))
        raise ValueError("broken")

    async def main() -> None:
        server = serve_tcp(handler, drain_timeout=0.05, on_error=lambda peer, error: errors.append(error))
        async with server:
            _, writer = await connect(server)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: server.statistics().live)
        writer.transport.abort()
        assert balance(server) == {"failed": 1}

    run_on(asyncio.new_event_loop, main())
    assert [str(error) for error in errors] == ["broken"]


def test_an_error_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """With server and peer as fields."""

    async def handler(stream: ServedStream) -> None:
        raise ValueError("broken handler")

    async def main() -> None:
        async with serve_tcp(handler, name="demo") as server:
            assert await ask(server, b"") == b""

    asyncio.run(main())
    facts = vars(caplog.records[0])
    assert (facts["message"], facts["owner"]) == ("handler failed", "demo")
    assert facts["peer"].startswith("127.0.0.1:")


def test_a_peer_that_leaves_is_no_error_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    """By a reset, or by closing while it is being answered; also where the handler meets it in a group."""

    async def patient(stream: ServedStream) -> None:
        while True:
            await stream.receive()

    async def grouped(stream: ServedStream) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(patient, stream)

    async def main() -> None:
        for handler in (patient, grouped):
            async with serve_tcp(handler) as server:
                for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):
                    _, writer = await connect(server)
                    writer.write(b"half a quest")
                    peer = writer.get_extra_info("socket")
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    await until(lambda: server.statistics().live == 1)
                    await hang_up(writer)
                    await until(lambda: server.statistics().live == 0)
                assert balance(server) == {"departed": 2}

    asyncio.run(main())
    assert not caplog.records


def test_who_sends_without_waiting_hears_at_once_that_the_peer_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    """In the step in which sending fails; nothing more is sent into the void, which asyncio would warn of."""
    client = socket.socket()

    async def handler(stream: ServedStream) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        for _ in range(100):
            stream.send_nowait(b"x")
        raise AssertionError("nobody heard of the end")

    async def main() -> None:
        async with serve_tcp(handler) as server:
            client.connect(("127.0.0.1", server.port))
            await until(lambda: server.statistics().accepted and not server.statistics().live)
            assert balance(server) == {"departed": 1}

    run_on(asyncio.new_event_loop, main())
    assert not caplog.records


@virtual
async def test_an_error_about_something_else_is_one_also_after_the_peer_has_left(bubble: Bubble) -> None:
    """A closed owner, or a backend that refuses, is not the end of the stream."""
    errors: list[BaseException] = []

    async def closed_owner(stream: ServedStream) -> None:
        async for _ in stream:
            pass
        scope = Scope()
        await scope.aclose()
        scope.callback(print)

    async def refusing(stream: ServedStream) -> None:
        async for _ in stream:
            pass
        raise ConnectionRefusedError("the backend")

    for handler in (closed_owner, refusing):
        async with serve_tcp(handler, "host", 1, on_error=lambda peer, error: errors.append(error)) as server:
            _, writer = await asyncio.open_connection("host", 1)
            await hang_up(writer)
            await asyncio.sleep(0.1)
            assert balance(server) == {"failed": 1}
    assert [type(error) for error in errors] == [OwnerClosed, ConnectionRefusedError]


@virtual
async def test_idle_connections_are_cut(bubble: Bubble) -> None:
    """After ``idle_timeout`` and at most a quarter more; traffic in either direction starts it anew."""
    ended: list[float] = []

    async def handler(stream: ServedStream) -> None:
        try:
            await echo(stream)
        finally:
            ended.append(asyncio.get_running_loop().time())

    async with serve_tcp(handler, "host", 1, idle_timeout=8) as server:
        reader, writer = await asyncio.open_connection("host", 1)
        for _ in range(5):
            await asyncio.sleep(6)
            writer.write(b"x")
        last = asyncio.get_running_loop().time()
        assert await reader.read() == b"xxxxx"
        assert 8 <= ended[0] - last <= 10
        assert balance(server) == {"idle": 1}
        await hang_up(writer)


def test_a_peer_that_takes_its_time_is_not_idle() -> None:
    """As long as it takes anything of what has been sent, all at once, and long ago."""

    async def handler(stream: ServedStream) -> None:
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        await stream.send(bytes(2_000_000))

    async def main() -> None:
        async with serve_tcp(handler, idle_timeout=0.2, close_timeout=30) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", server.port))
                received = 0
                while data := await loop.sock_recv(client, 65536):
                    received += len(data)
                    await asyncio.sleep(0.02)
            assert received == 2_000_000
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 1}

    run_on(asyncio.new_event_loop, main())


def test_the_receiver_of_a_slow_peer_waits_and_an_unsent_rest_is_bounded() -> None:
    """A sender waits while the peer takes nothing, and the close cuts the rest after ``close_timeout``."""

    async def main() -> None:
        blocked = asyncio.Event()

        async def handler(stream: ServedStream) -> None:
            with anyio.move_on_after(0.3):
                while True:
                    await stream.send(bytes(1_000_000))
            assert stream.unsent > 0
            blocked.set()

        async with serve_tcp(handler, close_timeout=0.2) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            await blocked.wait()
            await until(lambda: server.statistics().live == 0)
            assert balance(server) == {"finished": 1}
            writer.transport.abort()

    asyncio.run(main())


def test_a_fast_peer_is_held_back() -> None:
    """What a handler does not take stays with the peer, but for a bounded part."""

    async def main() -> None:
        streams: list[ServedStream] = []
        looked = asyncio.Event()

        async def handler(stream: ServedStream) -> None:
            streams.append(stream)
            await looked.wait()
            total = 0
            async for data in stream:
                assert len(data) <= 65536
                total += len(data)
            await stream.send(b"%d" % total)

        async with serve_tcp(handler) as server:
            reader, writer = await connect(server)
            writer.write(bytes(20_000_000))
            writer.write_eof()
            await until(lambda: streams and streams[0]._wire.chunks)
            await asyncio.sleep(0.1)
            assert sum(len(chunk) for chunk in streams[0]._wire.chunks) < 1_000_000
            looked.set()
            assert await reader.read() == b"20000000"
            await hang_up(writer)

    asyncio.run(main())


# Draining


@virtual
async def test_leaving_the_block_lets_handlers_finish(bubble: Bubble) -> None:
    """They see the end of their stream after what has come in, and what they send still goes out."""

    async def handler(stream: ServedStream) -> None:
        total = b""
        async for data in stream:
            total += data
            await asyncio.sleep(1)
        await stream.send(b"got " + total)

    async with serve_tcp(handler, "host", 1, drain_timeout=10) as server:
        reader, writer = await asyncio.open_connection("host", 1)
        writer.write(b"hello")
        await asyncio.sleep(0.1)
    assert asyncio.get_running_loop().time() == pytest.approx(1)
    assert await reader.read() == b"got hello"
    assert balance(server) == {"finished": 1}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("host", 1)
    await hang_up(writer)


@virtual
async def test_what_does_not_finish_in_time_is_cut(bubble: Bubble) -> None:
    """After ``drain_timeout``, and the report says so."""
    async with serve_tcp(forever, "host", 1, drain_timeout=3) as server:
        reader, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(0.1)
        report = await server.aclose()
    assert asyncio.get_running_loop().time() == pytest.approx(3.1)
    assert len(report.cancelled) == 1
    assert balance(server) == {"cut": 1}
    assert await reader.read() == b""
    await hang_up(writer)


@virtual
async def test_a_handler_that_ignores_its_cancellation_is_named_and_its_connection_cut(bubble: Bubble) -> None:
    """The block raises, and the peer is not left hanging."""
    stubborn = Stubborn()

    async def handler(stream: ServedStream) -> None:
        await stubborn.run()

    with pytest.raises(ReleaseTimeout, match=r"server 'host:1' \(abandoned: 10.0.0.1:"):
        async with serve_tcp(handler, "host", 1, drain_timeout=1, cancel_timeout=1):
            reader, writer = await asyncio.open_connection("host", 1)
            await asyncio.sleep(0.1)
    assert await reader.read() == b""
    await stubborn.let_go()
    await hang_up(writer)


@virtual
async def test_a_cancelled_close_cuts_at_once(bubble: Bubble) -> None:
    """All handlers have ended when the cancellation goes on."""
    server = serve_tcp(forever, "host", 1, drain_timeout=60)

    async def host() -> None:
        async with server:
            _, writer = await asyncio.open_connection("host", 1)
            await asyncio.sleep(0.1)
            writer.close()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await host()
    assert balance(server) == {"cut": 1}
    assert server.statistics().state == "closed"


@virtual
async def test_a_handler_may_close_its_own_server(bubble: Bubble) -> None:
    """It is not waited for, and whoever waits for the server goes on."""

    async def handler(stream: ServedStream) -> None:
        await stream.receive()
        await server.aclose()
        await stream.send(b"closed")

    async with serve_tcp(handler, "host", 1) as server:
        reader, writer = await asyncio.open_connection("host", 1)
        writer.write(b"close")
        await server.wait()
        assert await reader.read() == b"closed"
        await hang_up(writer)
    await server.aclose()


@virtual
async def test_a_server_is_entered_once(bubble: Bubble) -> None:
    """And not at all when it was closed before."""
    server = serve_tcp(echo, "host", 1)
    async with server:
        with pytest.raises(OwnerClosed, match="entered before"):
            await server.__aenter__()
    closed = serve_tcp(echo, "host", 1)
    await closed.aclose()
    with pytest.raises(OwnerClosed):
        await closed.__aenter__()


@virtual
async def test_a_server_can_be_waited_for_before_it_opens(bubble: Bubble) -> None:
    """Until it is closed, or cannot be opened, or is closed without having been."""
    async with serve_tcp(echo, "host", 1) as server:
        refused, unopened, opened = (serve_tcp(echo, "host", port) for port in (1, 2, 3))
        waiting = [asyncio.create_task(one.wait()) for one in (refused, unopened, opened)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        with pytest.raises(OSError, match="in use"):
            await refused.__aenter__()
        unopened.close()
        async with opened:
            await asyncio.sleep(0.1)
            assert [task.done() for task in waiting] == [True, True, False]
        async with asyncio.timeout(1):
            await asyncio.gather(*waiting, refused.wait())
        assert {one.statistics().state for one in (refused, unopened, opened)} == {"closed"}
        assert server.statistics().state == "open"


@virtual
async def test_an_address_in_use_is_refused(bubble: Bubble) -> None:
    """With an error that says so, and the first server goes on."""
    async with serve_tcp(echo, "host", 1):
        with pytest.raises(OSError, match="in use"):
            await serve_tcp(echo, "host", 1).__aenter__()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"idle_timeout": 0}, ValueError),
        ({"drain_timeout": "1"}, TypeError),
        ({"port": 70_000}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": "80"}, TypeError),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, error: type[Exception]) -> None:
    """Before anything begins."""
    with pytest.raises(error):
        serve_tcp(echo, **arguments)


# The stream


@on_every_loop
def test_the_stream_is_one_of_anyio(new_loop: Any) -> None:
    """It takes anyio's wrappers, attributes and rules."""

    async def main() -> None:
        async def handler(stream: ServedStream) -> None:
            assert repr(stream) == f"<ServedStream {stream.peer}>"
            assert stream.extra(SocketAttribute.remote_address)[1] == int(stream.peer.rpartition(":")[2])
            lines = BufferedByteReceiveStream(stream)
            line = await lines.receive_until(b"\n", 100)
            await stream.send(b"[" + line + b"]")
            assert await stream.receive(3) == b"sec"
            assert await stream.receive(3) == b"ond"
            receiving = asyncio.create_task(stream.receive())
            await asyncio.sleep(0)
            with pytest.raises(anyio.BusyResourceError):
                await stream.receive()
            receiving.cancel()
            await asyncio.wait([receiving])
            await stream.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            await stream.aclose()
            assert stream.closed
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"late")
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()
            assert not dict(stream.extra_attributes)

        errors: list[BaseException] = []
        async with serve_tcp(handler, on_error=lambda peer, error: errors.append(error)) as server:
            reader, writer = await connect(server)
            writer.write(b"first\n")
            assert await reader.read(100) == b"[first]"
            writer.write(b"second")
            assert await reader.read() == b""
            await hang_up(writer)
        assert not errors

    run_on(new_loop, main())


def test_a_closed_server_is_garbage_at_once() -> None:
    """Without the help of the collector."""

    async def main() -> int:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with serve_tcp(echo) as server:
                    assert await ask(server, b"x") == b"x"
            del server
            return sum(isinstance(thing, Server) for thing in gc.get_objects())
        finally:
            gc.enable()

    assert asyncio.run(main()) == 0
