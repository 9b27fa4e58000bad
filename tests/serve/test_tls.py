"""TLS: handshakes in time and too late, and a server that closes meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import serve_tcp

from ..loops import on_every_loop, run_on
from .clients import balance, connect, echo, hang_up, until
from .peers import contexts


@on_every_loop
def test_tls(new_loop: Any) -> None:
    """Encrypted connections are served; handshakes that fail, or take too long, are counted and harm no other."""
    context, trusting = contexts()

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


def test_a_closed_server_goes_on_with_a_handshake_that_has_begun() -> None:
    """The connection is there, and those that are there go on."""
    context, trusting = contexts()

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


@on_every_loop
def test_a_server_that_closes_does_not_wait_for_a_peer_that_says_nothing(new_loop: Any) -> None:
    """It owes a handshake and has not begun; one that has begun, or is in the system's line with it, is served."""
    context, trusting = contexts()

    async def main() -> None:
        async with serve_tcp(echo, ssl=context, limit=2, drain_timeout=60) as server, asyncio.timeout(30):
            silent = await connect(server)
            await until(lambda: server.statistics().live)
            first = asyncio.create_task(
                asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname="localhost")
            )
            late = await connect(server)
            await until(lambda: server.statistics().live == 2)
            closing = asyncio.create_task(server.aclose())
            reader, writer = await first
            writer.write(b"secret")
            assert await reader.read() in (b"secret", b"")
            await hang_up(writer)
            await closing
            for _, other in (silent, late):
                await hang_up(other)
            found = balance(server)
            assert found.pop("handshake_failures") >= 1
            assert sum(found.values()) >= 1

    run_on(new_loop, main())
