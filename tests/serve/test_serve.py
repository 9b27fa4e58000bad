"""serve_tcp: connections side by side, the stream that handlers get, and what is refused."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from lifecycle import OwnerClosed, ServedStream, serve_tcp, take_snapshot
from lifecycle.testing import Bubble
from lifecycle.types import Server

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual
from .clients import ask, balance, connect, echo, hang_up, until


@pytest.mark.usefixtures("no_strangers")
@on_every_loop
def test_connections_are_served_at_the_same_time(new_loop: Any) -> None:
    """On every kind of loop, and nothing is left of them."""

    async def main() -> None:
        before = take_snapshot()
        async with serve_tcp(echo, name="echo") as server:
            answers = await asyncio.gather(*[ask(server, b"%d" % number * 1000) for number in range(20)])
            assert answers == [b"%d" % number * 1000 for number in range(20)]
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 20}
        assert not take_snapshot().compare_to(before)

    run_on(new_loop, main())


@virtual
async def test_in_a_bubble_a_server_listens_on_the_memory_network(bubble: Bubble) -> None:
    """So that what is built on it can be explored."""
    async with serve_tcp(echo, "example.org", 80) as server:
        assert server.port == 80
        reader, writer = await asyncio.open_connection("example.org", 80)
        writer.write(b"hello")
        assert await reader.read(100) == b"hello"
        assert "server 'example.org:80', open" in str(take_snapshot())
        await hang_up(writer)
        await asyncio.sleep(0.1)
        assert balance(server) == {"finished": 1}


@virtual
async def test_a_server_is_entered_once(bubble: Bubble) -> None:
    """And not at all when it was closed before."""
    server = serve_tcp(echo, "host", 1)
    async with server:
        with pytest.raises(OwnerClosed, match="entered before"):
            await server.__aenter__()
    closed = serve_tcp(echo, "host", 1)
    await closed.aclose()
    with pytest.raises(OwnerClosed):
        await closed.__aenter__()


@virtual
async def test_a_server_can_be_waited_for_before_it_opens(bubble: Bubble) -> None:
    """Until it is closed, or cannot be opened, or is closed without having been."""
    async with serve_tcp(echo, "host", 1) as server:
        refused, unopened, opened = (serve_tcp(echo, "host", port) for port in (1, 2, 3))
        waiting = [asyncio.create_task(one.wait()) for one in (refused, unopened, opened)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        with pytest.raises(OSError, match="in use"):
            await refused.__aenter__()
        unopened.close()
        async with opened:
            await asyncio.sleep(0.1)
            assert [task.done() for task in waiting] == [True, True, False]
        async with asyncio.timeout(1):
            await asyncio.gather(*waiting, refused.wait())
        assert {one.statistics().state for one in (refused, unopened, opened)} == {"closed"}
        assert server.statistics().state == "open"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"idle_timeout": 0}, ValueError),
        ({"drain_timeout": "1"}, TypeError),
        ({"port": 70_000}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": "80"}, TypeError),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, error: type[Exception]) -> None:
    """Before anything begins."""
    with pytest.raises(error):
        serve_tcp(echo, **arguments)


@on_every_loop
def test_the_stream_is_one_of_anyio(new_loop: Any) -> None:
    """It takes anyio's wrappers, attributes and rules."""

    async def main() -> None:
        async def handler(stream: ServedStream) -> None:
            assert repr(stream) == f"<ServedStream {stream.peer}>"
            assert stream.extra(SocketAttribute.remote_address)[1] == int(stream.peer.rpartition(":")[2])
            assert stream.extra(SocketAttribute.remote_port) == int(stream.peer.rpartition(":")[2])
            assert stream.extra(SocketAttribute.local_port) == server.port
            assert stream.extra(SocketAttribute.family) is socket.AF_INET
            lines = BufferedByteReceiveStream(stream)
            line = await lines.receive_until(b"\n", 100)
            await stream.send(b"[" + line + b"]")
            assert await stream.receive(3) == b"sec"
            assert await stream.receive(3) == b"ond"
            receiving = asyncio.create_task(stream.receive())
            await asyncio.sleep(0)
            with pytest.raises(anyio.BusyResourceError):
                await stream.receive()
            receiving.cancel()
            await asyncio.wait([receiving])
            await stream.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            await stream.aclose()
            assert stream.closed
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"late")
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()
            assert not dict(stream.extra_attributes)

        errors: list[BaseException] = []
        async with serve_tcp(handler, on_error=lambda _, error: errors.append(error)) as server:
            reader, writer = await connect(server)
            writer.write(b"first\n")
            assert await reader.read(100) == b"[first]"
            writer.write(b"second")
            assert await reader.read() == b""
            await hang_up(writer)
        assert not errors

    run_on(new_loop, main())


def test_a_closed_server_is_garbage_at_once() -> None:
    """Without the help of the collector."""

    async def main() -> int:
        with without_collection():
            for _ in range(3):
                async with serve_tcp(echo) as server:
                    assert await ask(server, b"x") == b"x"
            del server
            return sum(isinstance(thing, Server) for thing in gc.get_objects())

    assert asyncio.run(main()) == 0
