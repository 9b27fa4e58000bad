"""Draining and closing a server: handlers may finish, the rest is cut and named."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import ReleaseTimeout, ServedStream, serve_tcp
from lifecycle.testing import Bubble

from ..guarantees.things import Stubborn
from ..loops import virtual
from .clients import balance, hang_up


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
