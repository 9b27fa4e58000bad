"""The handlers and the clients of these tests, and the account of a server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from lifecycle import ServedStream
from lifecycle.types import Server


async def echo(stream: ServedStream) -> None:
    async for data in stream:
        await stream.send(data)


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
