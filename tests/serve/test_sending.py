"""What is sent: a slow peer is waited for, plain and encrypted; a part is never taken for the whole."""

from __future__ import annotations

import asyncio
import struct
from asyncio import to_thread
from typing import Any

import anyio
import pytest

from lifecycle import ServedStream, serve_tcp
from lifecycle._serve import tls as tls_file
from lifecycle._serve import wire
from lifecycle.types import Server

from ..loops import on_every_loop, run_on, some_turns
from .clients import balance, until
from .peers import Peer, contexts

SIZE = 8_000_000

with_and_without_tls = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


def serve(handler: Any, *, tls: bool, **settings: Any) -> Server:
    return serve_tcp(handler, ssl=contexts()[0] if tls else None, **settings)


@on_every_loop
def test_wrong_arguments_lose_nothing_and_the_end_of_the_output_is_one(new_loop: Any) -> None:
    """A number of bytes that cannot be meant is refused before anything is taken; what is sent too late is told so."""
    wrongs: tuple[Any, ...] = (0, -1, 1.5, "3", True, None)

    async def handler(stream: ServedStream) -> None:
        for wrong in wrongs:
            with pytest.raises((TypeError, ValueError), match="max_bytes must be"):
                await stream.receive(wrong)
        assert await stream.receive(3) == b"hel"
        for wrong in wrongs:
            with pytest.raises((TypeError, ValueError), match="max_bytes must be"):
                await stream.receive(wrong)
        assert await stream.receive(100) == b"lo"
        await stream.send_eof()
        with pytest.raises(anyio.ClosedResourceError, match="after send_eof"):
            await stream.send(b"too late")
        with pytest.raises(anyio.ClosedResourceError, match="after send_eof"):
            stream.send_nowait(b"too late")

    async def main() -> None:
        async with serve_tcp(handler) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"hello")
            assert await reader.read() == b""
            writer.close()
        assert server.statistics().failed == 0

    run_on(new_loop, main())


@on_every_loop
@with_and_without_tls
def test_one_large_send_waits_for_a_slow_peer(new_loop: Any, tls: bool) -> None:
    """Also where all of it is given at once; it is counted as sent only then, and the peer gets it whole."""
    sent: list[bool] = []
    streams: list[ServedStream] = []

    async def handler(stream: ServedStream) -> None:
        streams.append(stream)
        await stream.receive()
        await stream.send(bytes(SIZE))
        sent.append(True)

    async def main() -> None:
        async with serve(handler, tls=tls) as server:
            peer = Peer(server, tls=tls)
            await to_thread(peer.ask, b"go")
            await until(lambda: streams and streams[0].unsent > 0)
            for _ in range(20):
                await some_turns()
            assert not sent
            assert streams[0].unsent > SIZE // 4
            assert await to_thread(peer.read) == (SIZE, "end")
            peer.close()
        assert sent
        assert balance(server) == {"finished": 1}

    run_on(new_loop, main())


@on_every_loop
@with_and_without_tls
def test_a_peer_that_does_not_take_all_meets_a_reset(new_loop: Any, tls: bool) -> None:
    """And not the end of the stream, which would make a part look like the whole; it is counted as cut."""

    async def handler(stream: ServedStream) -> None:
        await stream.receive()
        stream.send_nowait(bytes(SIZE))

    async def main() -> None:
        async with serve(handler, tls=tls, close_timeout=0.2) as server:
            peer = Peer(server, tls=tls)
            await to_thread(peer.ask, b"go")
            await until(lambda: server.statistics().accepted and not server.statistics().live)
            received, end = await to_thread(peer.read)
            assert received < SIZE
            assert end in ("ConnectionResetError", "SSLEOFError")  # as which OpenSSL may tell of a reset
            peer.close()
        assert balance(server) == {"cut": 1}

    run_on(new_loop, main())


@on_every_loop
@with_and_without_tls
def test_a_peer_that_breaks_off_makes_no_noise(new_loop: Any, tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio warns of what is still written then, once for each piece."""

    async def handler(stream: ServedStream) -> None:
        await stream.receive()
        await stream.send(bytes(SIZE))

    async def main() -> None:
        async with serve(handler, tls=tls, on_error=lambda stream, error: None) as server:
            peer = Peer(server, tls=tls)
            await to_thread(peer.ask, b"go")
            await to_thread(peer.read, 1)
            peer.break_off()
            await until(lambda: not server.statistics().live)

    run_on(new_loop, main())
    assert not caplog.messages


@on_every_loop
@with_and_without_tls
def test_items_of_several_senders_stay_whole_and_in_order(new_loop: Any, tls: bool) -> None:
    """However large, and also that of one who has stopped waiting."""

    async def handler(stream: ServedStream) -> None:
        async def say(number: int) -> None:
            body = bytes([number]) * (300_000 + number)
            await stream.send(struct.pack("!BI", number, len(body)) + body)

        await stream.receive()
        senders = [asyncio.create_task(say(number)) for number in range(8)]
        await some_turns()
        senders[5].cancel()
        await asyncio.wait(senders)
        assert senders[5].cancelled()

    def check(peer: Peer) -> list[int]:
        peer.ask(b"go")
        found = []
        with peer.socket.makefile("rb") as stream:
            while head := stream.read(5):
                number, length = struct.unpack("!BI", head)
                assert stream.read(length) == bytes([number]) * (300_000 + number)
                found.append(number)
        return found

    async def main() -> None:
        async with serve(handler, tls=tls) as server:
            peer = Peer(server, tls=tls)
            assert await to_thread(check, peer) == list(range(8))
            peer.close()

    run_on(new_loop, main())


@on_every_loop
@with_and_without_tls
@pytest.mark.parametrize("size", [1, 100_000])
def test_who_sends_for_ever_hears_that_the_peer_has_gone(new_loop: Any, tls: bool, size: int) -> None:
    """Although no send has to wait: the loop gets a turn now and then, in which the loss is told."""
    turns = 0

    async def handler(stream: ServedStream) -> None:
        await stream.receive()
        while True:
            await stream.send(bytes(size))

    async def main() -> None:
        nonlocal turns
        async with serve(handler, tls=tls) as server, asyncio.timeout(30):
            peer = Peer(server, tls=tls)
            await to_thread(peer.ask, b"go")
            await to_thread(peer.read, 10_000)
            turns += 1
            await to_thread(peer.break_off)
            await until(lambda: not server.statistics().live)
        assert balance(server) == {"departed": 1}

    run_on(new_loop, main())
    assert turns


@on_every_loop
def test_a_peer_that_does_not_answer_the_end_of_tls_was_served(new_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not, and does not keep its place for long; nor does it where the server closes meanwhile."""
    monkeypatch.setattr(tls_file.TlsWire, "_patience", 0.1)

    async def handler(stream: ServedStream) -> None:
        await stream.send(await stream.receive())

    async def main() -> None:
        for patience in (0.1, 60.0):
            monkeypatch.setattr(tls_file.TlsWire, "_patience", patience)
            async with serve(handler, tls=True, close_timeout=60, drain_timeout=0.2) as server, asyncio.timeout(30):
                peer = Peer(server, tls=True)
                await to_thread(peer.ask, b"hello")
                assert await to_thread(peer.read, 5) == (5, "more")
                if patience < 1:
                    await until(lambda server=server: not server.statistics().live)
            assert balance(server) == {"finished": 1}
            peer.close()

    run_on(new_loop, main())


# A peer that still sends when it has been answered


@on_every_loop
@with_and_without_tls
def test_who_is_answered_early_gets_the_answer(new_loop: Any, tls: bool) -> None:
    """What it still sends is read and thrown away: a close with unread input would reset the connection."""

    async def handler(stream: ServedStream) -> None:
        await stream.receive(1)
        await stream.send(b"no thanks")

    def upload(peer: Peer) -> tuple[int, str]:
        peer.connect()
        for _ in range(50):
            peer.socket.sendall(bytes(40_000))
        return peer.read()

    async def main() -> None:
        async with serve(handler, tls=tls) as server:
            peer = Peer(server, tls=tls)
            assert await to_thread(upload, peer) == (9, "end")
            peer.close()
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 1}

    run_on(new_loop, main())


@on_every_loop
def test_who_never_stops_sending_is_cut(new_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time; it has been answered all the same."""
    monkeypatch.setattr(wire, "LINGER", 0.1)

    async def handler(stream: ServedStream) -> None:
        await stream.receive(1)
        await stream.send(b"no thanks")

    def upload(peer: Peer) -> None:
        peer.connect()
        with pytest.raises(OSError, match=r"reset|pipe"):
            while True:
                peer.socket.sendall(bytes(40_000))

    async def main() -> None:
        async with serve(handler, tls=False) as server, asyncio.timeout(30):
            peer = Peer(server, tls=False)
            await to_thread(upload, peer)
            peer.close()
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 1}

    run_on(new_loop, main())


def test_a_handler_that_aborts_its_stream_has_finished() -> None:
    """What has not gone out is lost, as it wanted; the peer meets a reset, unless the system had taken all of it."""

    async def handler(stream: ServedStream) -> None:
        await stream.receive()
        stream.send_nowait(bytes(SIZE))
        stream.abort()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")

    async def main() -> None:
        async with serve(handler, tls=False) as server:
            peer = Peer(server, tls=False)
            await to_thread(peer.ask, b"go")
            received, end = await to_thread(peer.read)
            assert end == "ConnectionResetError" or (end, received) == ("end", SIZE)
            peer.close()
        assert balance(server) == {"finished": 1}

    run_on(asyncio.new_event_loop, main())
