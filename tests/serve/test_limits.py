"""Limits: how many connections are served at once, and what happens without descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from typing import Any

import pytest

from lifecycle import ServedStream, serve_tcp
from lifecycle._serve import intake
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual
from .clients import ask, echo, hang_up, until


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

    "host".encode("idna")  # whose module could not be read later

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


@virtual
async def test_failures_to_take_connections_are_told_once_a_spell(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """Although each connection that ends lets one more be taken; at the end of the spell it is told how many."""
    async with serve_tcp(echo, "host", 1) as server:
        take = server._intake
        for _ in range(20):
            take._failed(OSError(errno.EMFILE, "too many"))
            _, writer = await asyncio.open_connection("host", 1)
            await asyncio.sleep(1)
            assert not take.paused
            await hang_up(writer)
        await asyncio.sleep(intake.CALM + 1)
        _, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(0.1)
        take._failed(OSError(errno.EMFILE, "too many"))
        await hang_up(writer)
        assert server.statistics().exhausted == 21
    assert [record.getMessage() for record in caplog.records] == [
        "cannot take connections",
        "connections could not be taken",
        "cannot take connections",
    ]
    assert vars(caplog.records[1])["failures"] == 20


def test_without_descriptors_the_end_of_a_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is taken then, however long the pause would be."""
    monkeypatch.setattr(intake, "BACK_OFF", (60.0, 60.0))

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
