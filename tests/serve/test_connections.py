"""How connections end: errors stay with theirs, peers leave, idle ones are cut, slow ones are waited for."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from lifecycle import OwnerClosed, Scope, ServedStream, TaskHandle, serve_tcp
from lifecycle.testing import Bubble

from ..loops import run_on, virtual
from .clients import ask, balance, connect, echo, hang_up, until


@virtual
async def test_an_error_stays_with_its_connection(bubble: Bubble) -> None:
    """It is told of, with the peer; what had been sent before goes out, and the others are served."""
    errors: list[tuple[str, BaseException]] = []

    async def handler(stream: ServedStream) -> None:
        data = await stream.receive()
        await stream.send(data)
        raise ValueError("broken handler")

    def note(handle: TaskHandle[Any], error: BaseException) -> None:
        errors.append((handle.name, error))

    async with serve_tcp(handler, "host", 1, on_error=note) as server:
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
        server = serve_tcp(handler, drain_timeout=0.05, on_error=lambda _, error: errors.append(error))
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
        raise AssertionError("no handler heard of the end")

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
        async with serve_tcp(handler, "host", 1, on_error=lambda _, error: errors.append(error)) as server:
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
            assert balance(server) == {"cut": 1}
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
