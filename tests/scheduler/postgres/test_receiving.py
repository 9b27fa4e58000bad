"""A connection receives into a buffer of its own: asyncio's way to receive lets a worker grow."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from lifecycle.scheduler._store.postgres.address import Address
from lifecycle.scheduler._store.postgres.connections import close_connection, open_connection
from lifecycle.scheduler._store.postgres.receiving import BUFFER, Receiver, receive_in_a_buffer

from ...serve.peers import contexts

pytestmark = pytest.mark.asyncio

MUCH = b"x" * 1_000_000


class Noting(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.told: list[str] = []
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received.append(data)

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost {exc}")
        self.over.set()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_everything_arrives_in_pieces_of_their_own_size(encrypted: bool) -> None:
    """Also what is longer than the buffer; what was received stays as it was when the next comes."""
    serving, trusting = contexts() if encrypted else (None, None)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await reader.readexactly(2)
        writer.write(MUCH)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving) as server, asyncio.timeout(30):
        name = "localhost" if encrypted else None
        transport, noting = await asyncio.get_running_loop().create_connection(
            Noting, *server.sockets[0].getsockname(), ssl=trusting, server_hostname=name
        )
        receive_in_a_buffer(SimpleNamespace(_transport=transport))
        transport.write(b"echo")
        while not noting.received:
            await asyncio.sleep(0.001)
        transport.write(b"go")
        await noting.over.wait()
    assert noting.received[0] == b"echo"
    assert b"".join(noting.received[1:]) == MUCH
    assert max(map(len, noting.received)) <= BUFFER
    assert noting.told[-1] == "lost None"


async def test_the_protocol_is_told_everything() -> None:
    """What the transport says, and nothing else."""
    noting = Noting()
    receiver = Receiver(noting)
    receiver.get_buffer(-1)[:3] = b"abc"
    receiver.buffer_updated(2)
    receiver.eof_received()
    receiver.pause_writing()
    receiver.resume_writing()
    receiver.connection_lost(None)
    assert (noting.received, noting.told) == ([b"ab"], ["eof", "pause", "resume", "lost None"])


@pytest.mark.parametrize("connection", [SimpleNamespace(), SimpleNamespace(_transport=object())])
async def test_a_connection_without_a_transport_is_left_alone(connection: Any) -> None:
    """Such as one of another version of the driver."""
    receive_in_a_buffer(connection)


@pytest.mark.slow
async def test_the_connections_of_a_store_receive_so(database: str) -> None:
    """The driver keeps what tells it so, and comes to terms with it: long answers, errors, timeouts, the end."""
    connection = await open_connection(Address.parse(database), "a test")
    try:
        assert isinstance(connection._transport.get_protocol(), Receiver)
        assert await connection.fetchval("SELECT repeat('x', 1000000)") == MUCH.decode()
        assert await connection.fetchval("SELECT length($1)", MUCH.decode()) == len(MUCH)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / 0")
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)
        assert len(await connection.fetch("SELECT repeat('y', 100) FROM generate_series(1, 20000)")) == 20_000
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
        assert connection.is_closed()
    finally:
        await close_connection(connection)
