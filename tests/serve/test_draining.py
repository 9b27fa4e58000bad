"""Draining and closing a server: handlers may finish, the rest is cut and named."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from lifecycle import ReleaseTimeout, ServedStream, serve_tcp
from lifecycle.testing import Bubble

from ..guarantees.things import Stubborn
from ..loops import on_every_loop, run_on, some_turns, virtual
from .clients import balance, echo, hang_up, until


async def forever(stream: ServedStream) -> None:
    await asyncio.Event().wait()


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
    """It is not waited for, and a task that waits for the server goes on."""

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


# What has come in before the server closes


@on_every_loop
def test_who_is_in_the_systems_line_is_served(new_loop: Any) -> None:
    """They have been connected, and have asked; those over the limit too, and no more of them at once."""
    most = 0

    async def handler(stream: ServedStream) -> None:
        nonlocal most
        running.append(stream)
        most = max(most, len(running))
        question = await stream.receive()
        await some_turns()
        await stream.send(b"got " + question)
        running.remove(stream)

    running: list[ServedStream] = []

    async def main() -> None:
        async with serve_tcp(handler, limit=2) as server:
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            await server.aclose()
        assert balance(server) == {"finished": 6}
        for number, client in enumerate(clients):
            assert client.recv(100) == b"got %d" % number
            assert client.recv(100) == b""
            client.close()

    run_on(new_loop, main())
    assert most == 2


@on_every_loop
def test_what_the_system_has_of_a_question_is_read(new_loop: Any) -> None:
    """Also where it takes several turns, because it is long."""
    size = 600_000

    async def handler(stream: ServedStream) -> None:
        await stream.receive(1)
        total = 1
        async for data in stream:
            total += len(data)
        await stream.send(b"%d" % total)

    async def main() -> None:
        async with serve_tcp(handler) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size)
                client.connect(("127.0.0.1", server.port))
                client.sendall(b"x")
                await until(lambda: server.statistics().live)
                await some_turns()
                client.setblocking(False)
                sent = client.send(bytes(size - 1)) + 1
                await server.aclose()
                assert client.recv(100) == b"%d" % sent

    run_on(new_loop, main())


@virtual
async def test_those_in_line_that_get_no_turn_are_cut(bubble: Bubble) -> None:
    """With the others, after ``drain_timeout``; cancelling the server takes none of them."""
    for cancels in (False, True):
        async with serve_tcp(forever, "host", 1, limit=1, drain_timeout=3) as server:
            writers = [(await asyncio.open_connection("host", 1))[1] for _ in range(3)]
            await asyncio.sleep(0.1)
            if cancels:
                server.cancel()
        assert balance(server) == {"cut": 1 if cancels else 3}
        for writer in writers:
            await hang_up(writer)


# Waiting for the end


@virtual
async def test_a_closed_server_without_connections_is_at_its_end(bubble: Bubble) -> None:
    """In whichever order one closes and waits, and also where the last connection ends later; the block goes on."""
    for waits_first in (False, True):
        for connected in (False, True):
            async with serve_tcp(echo, "host", 1) as server, asyncio.timeout(60):
                if connected:
                    _, writer = await asyncio.open_connection("host", 1)
                    await asyncio.sleep(0.1)
                waiting = asyncio.create_task(server.wait()) if waits_first else None
                await asyncio.sleep(0)
                server.close()
                assert server.closed is not connected
                if connected:
                    await hang_up(writer)
                await (waiting or server.wait())
                assert server.closed
                assert server.statistics().state == "closed"
