"""Lines: what the system has taken for a server that closes is handed on a part at a time, and none of it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lifecycle import ServedStream, serve_tcp
from lifecycle.types import Server

from ..loops import on_every_loop, run_on
from .clients import balance

LONG = 100


async def answer(stream: ServedStream) -> None:
    """Answer each question."""
    async for question in stream:
        await stream.send(b"got " + question)


@contextlib.asynccontextmanager
async def with_a_line(handler: Any = answer, **options: Any) -> AsyncIterator[tuple[Server, list[socket.socket]]]:
    """Serve one client, with a hundred more in the system's line that have asked already."""
    clients: list[socket.socket] = []
    try:
        async with serve_tcp(handler, limit=1, name="busy", **options) as server:
            for number in range(LONG + 1):
                clients.append(socket.create_connection(("127.0.0.1", server.port)))
                clients[-1].sendall(b"%d" % number)
            while not server.statistics().paused:
                await asyncio.sleep(0)
            yield server, clients
    finally:
        for client in clients:
            client.close()


def check_answers(clients: list[socket.socket]) -> None:
    """Check that each has got its answer, and the end after it."""
    for number, client in enumerate(clients):
        client.settimeout(30)
        assert client.recv(100) == b"got %d" % number
        assert client.recv(100) == b""


@on_every_loop
def test_a_long_line_does_not_hold_the_loop(new_loop: Any) -> None:
    """Some in each turn; the server is at its end when all of them are, and a drain waits for that."""

    async def main() -> None:
        async with with_a_line(drain="tell") as (server, clients):
            server.close()
            draining = asyncio.ensure_future(server.drain(30))
            steps = [server.statistics().accepted]
            while steps[-1] < LONG + 1:
                assert not server.closed
                await asyncio.sleep(0)
                steps.append(server.statistics().accepted)
            assert all(later - before <= 16 for before, later in zip([1, *steps], steps, strict=False))
            for client in clients:
                client.shutdown(socket.SHUT_WR)
            assert (await draining).clean
            await server.wait()
            check_answers(clients)
            assert balance(server) == {"finished": LONG + 1}

    run_on(new_loop, main())


@on_every_loop
def test_a_close_that_waits_ends_the_input_of_all(new_loop: Any) -> None:
    """Also of those that it takes in the turns after; whoever else closes waits as well."""

    async def main() -> None:
        async with with_a_line() as (server, clients):
            reports = await asyncio.gather(server.aclose(), server.aclose())
            assert server.closed
            assert reports[0].cancelled == reports[1].cancelled == ()
            check_answers(clients)
            assert balance(server) == {"finished": LONG + 1}

    run_on(new_loop, main())


@on_every_loop
@pytest.mark.parametrize("turns", [1, 2, 4])
def test_a_cancellation_ends_the_taking(new_loop: Any, turns: int) -> None:
    """It is raised, once, when all that was taken has ended; what was not taken is reset."""

    async def forever(stream: ServedStream) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with with_a_line(forever, drain_timeout=30.0) as (server, clients):
            closing = asyncio.create_task(server.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            assert closing.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await closing
            assert server.closed
            statistics = server.statistics()
            assert statistics.accepted == statistics.cut + statistics.finished
            for client in clients:
                client.settimeout(30)
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(100) == b""

    run_on(new_loop, main())


@on_every_loop
def test_cancelling_the_server_takes_no_more_of_it(new_loop: Any) -> None:
    """Before the taking, and in the middle of it."""

    async def main() -> None:
        for closes in (False, True):
            async with with_a_line() as (server, _):
                if closes:
                    server.close()
                taken = server.statistics().accepted
                server.cancel()
                await server.wait()
                assert server.statistics().accepted == taken <= 17

    run_on(new_loop, main())
