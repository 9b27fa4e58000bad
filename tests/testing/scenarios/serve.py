"""serve_tcp: clients that stay, leave, break off and take nothing, over the limit, while the server closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from lifecycle import ReaderWorker, ServedStream, TaskGroup, serve_tcp

from ._table import ignore_error, scenario, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble


def answering(bubble: Bubble) -> Callable[[ServedStream], Coroutine[Any, Any, None]]:
    """Return a handler that holds something while it answers."""

    async def handler(stream: ServedStream) -> None:
        with bubble.ledger.acquire("session", kind="session"):
            async for data in stream:
                await asyncio.sleep(0.01)
                await stream.send(data)

    return handler


async def client(bubble: Bubble, *, arrives: float, stays: float, rude: bool = False) -> None:
    """Ask something, wait for the answer, and leave."""
    await asyncio.sleep(arrives)
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("host", 1)
        try:
            writer.write(b"question")
            if not rude:
                await reader.read(100)
            await asyncio.sleep(stays)
        finally:
            writer.transport.abort()


@scenario
async def server_with_clients(bubble: Bubble) -> None:
    """Two at a time, a third in line, a rude one, and one that is still there when the server closes."""
    server = serve_tcp(answering(bubble), "host", 1, limit=2, on_error=ignore_error, drain_timeout=0.05)
    async with server, TaskGroup() as group:
        group.create_task(client(bubble, arrives=0, stays=0.01))
        group.create_task(client(bubble, arrives=0, stays=0.02, rude=True))
        group.create_task(client(bubble, arrives=0.005, stays=0.01))
        group.create_task(client(bubble, arrives=0.02, stays=1))
        await asyncio.sleep(0.06)
        await server.aclose()
    counts = server.statistics()
    ended = counts.finished + counts.departed + counts.failed + counts.idle + counts.handshake_failures + counts.cut
    assert counts.accepted == ended + counts.live, f"the account does not close: {counts}"


@scenario
async def server_of_pairs(bubble: Bubble) -> None:
    """A reader and a worker per connection; one client leaves in the middle of an answer, and the server closes."""

    async def handler(stream: ServedStream) -> None:
        async def reader(send: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
            async for data in stream:
                await send(data)

        async def worker(receive: AsyncIterator[bytes]) -> None:
            async for data in receive:
                await work(bubble, "answer", 0.01)
                await stream.send(data)

        async with ReaderWorker(reader, worker, close=stream.aclose, drain_timeout=0.05) as pair:
            await pair.wait()

    async with serve_tcp(handler, "host", 1, on_error=ignore_error, drain_timeout=0.1), TaskGroup() as group:
        group.create_task(client(bubble, arrives=0, stays=0.01))
        group.create_task(client(bubble, arrives=0, stays=0, rude=True))
        await asyncio.sleep(0.015)


@scenario
async def server_that_its_handler_closes(bubble: Bubble) -> None:
    """While another handler is at work; the one that closed it goes on, and everybody hears of the end."""

    async def handler(stream: ServedStream) -> None:
        if await stream.receive() == b"close":
            await server.aclose()
            await stream.send(b"closed")
        else:
            await work(bubble, "answer", 0.02)

    async def ask(word: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("host", 1)
            try:
                writer.write(word)
                await reader.read()
            finally:
                writer.transport.abort()

    server = serve_tcp(handler, "host", 1, on_error=ignore_error, drain_timeout=0.05)
    async with server, TaskGroup() as group:
        group.create_task(ask(b"work"))
        group.create_task(ask(b"close"))
        group.create_task(server.wait())
        await asyncio.sleep(0.06)
        await server.aclose()


@scenario
async def server_of_peers_that_take_nothing(bubble: Bubble) -> None:
    """One handler fails with much left to send, one peer is idle, one waits in line; all are cut in time."""

    async def handler(stream: ServedStream) -> None:
        with bubble.ledger.acquire("session", kind="session"):
            stream.send_nowait(bytes(500_000))
            if await stream.receive() == b"question":
                raise OSError("broken")

    settings: dict[str, float] = {"idle_timeout": 0.04, "close_timeout": 0.02, "drain_timeout": 0.02}
    server = serve_tcp(handler, "host", 1, limit=2, on_error=ignore_error, **settings)
    async with server, TaskGroup() as group:
        group.create_task(client(bubble, arrives=0, stays=0.1, rude=True))
        group.create_task(client(bubble, arrives=0.001, stays=0.1, rude=True))
        group.create_task(client(bubble, arrives=0.002, stays=0.1, rude=True))
        await asyncio.sleep(0.06)


@scenario
async def server_that_cannot_listen(bubble: Bubble) -> None:
    """Its address is in use; whoever waits for it goes on, and the other server as well."""
    refused = serve_tcp(answering(bubble), "host", 1, on_error=ignore_error)
    async with serve_tcp(answering(bubble), "host", 1, on_error=ignore_error), TaskGroup() as group:
        group.create_task(refused.wait())
        group.create_task(client(bubble, arrives=0, stays=0.01))
        with contextlib.suppress(OSError):
            async with refused:
                raise AssertionError("two servers on one address")
        refused.close()  # where it was struck before it could try


@scenario
async def server_that_closes_with_a_line(bubble: Bubble) -> None:
    """One at a time; two more are in line when it closes, and are served, unless something strikes them."""
    answered: list[bytes] = []
    lost: list[BaseException] = []
    struck: list[BaseException] = []
    wrong: list[str] = []
    running: list[ServedStream] = []

    async def handler(stream: ServedStream) -> None:
        with bubble.ledger.acquire("session", kind="session"):
            running.append(stream)
            if len(running) > 1:
                wrong.append("two at a time")
            try:
                question = await stream.receive()
                await work(bubble, "answer", 0.01)
                await stream.send(question)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await stream.wait_draining()
                if not stream.draining:
                    wrong.append("not told")
            except BaseException as error:
                struck.append(error)
                raise
            finally:
                running.remove(stream)

    async def ask(word: bytes) -> None:
        try:
            reader, writer = await asyncio.open_connection("host", 1)
            try:
                writer.write(word)
                answered.append(await reader.read(100))
            finally:
                writer.transport.abort()
        except ConnectionError as error:
            if "faults" not in str(error) and "injected" not in str(error):  # the wire was cut, or it says so
                lost.append(error)

    server = serve_tcp(handler, "host", 1, limit=1, on_error=ignore_error, drain="tell", drain_timeout=1)
    async with server, TaskGroup() as group:
        for word in (b"one", b"two", b"three"):
            group.create_task(ask(word))
        await asyncio.sleep(0.005)
        assert server.statistics().live <= 1
        await server.aclose()
    if not struck:  # else one of them has not been answered, and has met the end instead
        cut = server.statistics().cut  # one that was struck before its first step
        assert cut <= 1, server.statistics()
        assert answered.count(b"") <= cut, answered
        assert len(lost) <= cut, lost
    assert not wrong, wrong
