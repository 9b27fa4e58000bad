"""G21 for servers: a handler runs in its server's context, whoever's end has made room for it."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import weakref
from typing import Any

import pytest

from lifecycle import ServedStream, serve_tcp
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual
from .clients import hang_up, until

user: contextvars.ContextVar[Any] = contextvars.ContextVar("user", default=None)


class Session:
    pass


@on_every_loop
def test_after_the_limit_handlers_run_in_the_context_of_the_server(new_loop: Any) -> None:
    """And not in that of the handler whose end has made room, whose variables are freed with it."""
    seen: list[object] = []
    sessions: list[weakref.ref[Session]] = []

    async def handler(stream: ServedStream) -> None:
        seen.append(user.get())
        session = Session()
        sessions.append(weakref.ref(session))
        user.set(session)
        await stream.receive()

    async def main() -> None:
        user.set("server")
        async with serve_tcp(handler, limit=1, idle_timeout=60) as server:
            user.set("afterwards")
            for _ in range(2):
                clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
                for _, writer in clients:
                    writer.write(b"x")
                for reader, writer in clients:
                    await reader.read()
                    await hang_up(writer)
            await until(lambda: not server.statistics().live)
            await asyncio.sleep(0.05)
            gc.collect()
            assert [session() for session in sessions] == [None] * 6

    run_on(new_loop, main())
    assert seen == ["server"] * 6


@virtual
async def test_a_client_in_the_same_loop_lends_its_server_no_variables(bubble: Bubble) -> None:
    """Also in memory, where its step is the one in which the connection is taken; nor does a server that closes."""
    seen: list[object] = []

    async def handler(stream: ServedStream) -> None:
        seen.append(user.get())
        async for _ in stream:
            pass

    user.set("server")
    async with serve_tcp(handler, "host", 1, limit=1) as server:
        user.set("client")
        writers = [(await asyncio.open_connection("host", 1))[1] for _ in range(3)]
        await asyncio.sleep(0.1)
        await server.aclose()
        for writer in writers:
            await hang_up(writer)
    assert seen == ["server"] * 3


@virtual
async def test_after_a_failure_to_take_connections_it_is_the_same(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """The try that follows is the server's, whoever met the failure."""
    seen: list[object] = []

    async def handler(stream: ServedStream) -> None:
        seen.append(user.get())

    user.set("server")
    async with serve_tcp(handler, "host", 1) as server:
        user.set("another")
        server._intake._failed(OSError(errno.EMFILE, "too many"))
        _, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(1)
        await hang_up(writer)
    assert seen == ["server"]
