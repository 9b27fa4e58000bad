"""Servers: n connections, and n items of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from lifecycle import ServedStream, serve_tcp
from lifecycle.types import Server

from ._kinds import Laps, case, few, settle

Handler = Callable[[ServedStream], Awaitable[None]]


async def receives(stream: ServedStream) -> None:
    with suppress(Exception):
        await stream.receive()


@case
async def server(n: int, laps: Laps) -> None:
    n = few(n)
    async with serve_tcp(receives, port=0) as server:
        with laps("take n connections", n):
            streams = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(n)]
            while server.statistics().live < n:
                await asyncio.sleep(0)
        with laps("close with n connections", n):
            await server.aclose()
        for stream in streams:
            stream.close()


@case
async def server_ends(n: int, laps: Laps) -> None:
    n = few(n)

    async def with_connections(end: Callable[[Server, list[Any]], Awaitable[object]]) -> None:
        async with serve_tcp(receives, port=0) as server:
            writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(n)]
            while server.statistics().live < n:
                await asyncio.sleep(0)
            await end(server, writers)
            for writer in writers:
                writer.close()

    async def cancel(server: Server, _: list[Any]) -> None:
        with laps("cancel with n connections", n):
            server.cancel()
            await server.drain()

    async def drain(server: Server, writers: list[Any]) -> None:
        with laps("drain of n connections", n):
            server.close()
            for writer in writers:
                writer.close()
            await server.drain()

    async def leave(server: Server, _: list[Any]) -> None:
        with laps("n waiters for the end", n):
            waiting = [asyncio.create_task(server.wait()) for _ in range(n)]
            await settle()
            await server.__aexit__(None, None, None)
            await asyncio.wait(waiting)

    async def told(stream: ServedStream) -> None:
        with suppress(Exception):
            await stream.wait_draining()

    with laps("tell n connections of the drain", n):
        async with serve_tcp(told, port=0) as server:
            writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(n)]
            while server.statistics().live < n:
                await asyncio.sleep(0)
        for writer in writers:
            writer.close()
    with laps("listen", 1):
        async with serve_tcp(receives, port=0):
            pass
    await with_connections(cancel)
    await with_connections(drain)
    await with_connections(leave)


@case
async def served_stream(n: int, laps: Laps) -> None:
    async def with_client(handle: Handler) -> None:
        async with serve_tcp(handle, port=0) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(bytes(n))
            writer.write_eof()
            with suppress(ConnectionError):
                await reader.read()
            writer.close()

    async def sends(stream: ServedStream) -> None:
        with laps("receive n times", n):
            for _ in range(n):
                await stream.receive(1)
        with laps("send n times", n):
            for _ in range(n):
                await stream.send(b"x")
        with laps("send_eof", 1):
            await stream.send_eof()

    async def sends_at_once(stream: ServedStream) -> None:
        with laps("iterate", 1):
            async for _ in stream:
                pass
        with laps("send_nowait n times", n):
            for _ in range(n):
                stream.send_nowait(b"x")
        with laps("abort", 1):
            stream.abort()
            await stream.aclose()

    await with_client(sends)
    await with_client(sends_at_once)
