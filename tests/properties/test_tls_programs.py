"""Random programs of peers and one server that speak TLS over real sockets: slow ones, rude ones, such as break off.

Whatever they do, and whenever the server closes: who was told of a clean end has got the whole answer, or nothing where
the server closed before it answered; the account closes, and so does the server.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import ServedStream, serve_tcp
from lifecycle.types import Server

from ..loops import LOOPS, run_on
from ..serve.peers import Peer, contexts
from .at_length import at_length


@dataclass(frozen=True)
class Client:
    """What one peer asks for, and how it behaves.

    Attributes:
        size: bytes that the server is to send.
        manner: reads, is slow, stalls until the server has begun to close, breaks off or leaves after the first bytes,
            says nothing at all, or something that is no TLS.
    """

    size: int
    manner: str


MANNERS = ["reads", "is slow", "stalls", "breaks off", "leaves", "is silent", "is rude"]
clients = st.builds(Client, st.sampled_from([0, 1, 20_000, 3_000_000]), st.sampled_from(MANNERS))
PROGRAMS = st.fixed_dictionaries(
    {
        "clients": st.lists(clients, min_size=1, max_size=4),
        "loop": st.sampled_from(sorted(LOOPS)),
        "limit": st.sampled_from([None, 1]),
        "closes_after": st.sampled_from([0.0, 0.02, 0.1]),
        "drain_timeout": st.sampled_from([0.0, 0.2]),
    }
)


def converse(client: Client, server: Server, closing: threading.Event) -> tuple[int, str]:
    """Be a client, in a thread; return how many bytes came, and how they ended."""
    peer = Peer(server, tls=client.manner not in ("is silent", "is rude"))
    try:
        if client.manner == "is silent":
            peer.connect()
            return peer.read()
        if client.manner == "is rude":
            peer.ask(b"this is no TLS")
            return peer.read()
        peer.ask(b"%d\n" % client.size)
        received, how = 0, "more"
        if client.manner != "reads":
            received, how = peer.read(1)
        if client.manner == "stalls":
            closing.wait(30)
        if client.manner == "breaks off":
            peer.break_off()
            return received, "broke off"
        while how == "more" and client.manner != "leaves":
            if client.manner == "is slow":
                time.sleep(0.001)
            more, how = peer.read(1 if client.manner == "is slow" else None)
            received += more
    except OSError as error:  # the server was closed before
        return 0, type(error).__name__
    finally:
        peer.close()
    return received, how


async def answer(stream: ServedStream) -> None:
    """Send as many bytes as were asked for."""
    asked = b""
    while not asked.endswith(b"\n"):
        asked += await stream.receive()
    await stream.send(bytes(int(asked)))


def run_program(program: dict[str, Any]) -> None:
    """Run one program, and check it."""
    asked: list[Client] = program["clients"]

    async def main() -> None:
        closing = threading.Event()
        server = serve_tcp(
            answer,
            "127.0.0.1",
            ssl=contexts()[0],
            limit=program["limit"],
            drain_timeout=program["drain_timeout"],
            close_timeout=0.2,
            on_error=lambda stream, error: None,
        )
        async with server, asyncio.timeout(60):
            talks = [asyncio.create_task(asyncio.to_thread(converse, each, server, closing)) for each in asked]
            await asyncio.sleep(program["closes_after"])
            server.close()
            closing.set()
            await server.aclose()
            for client, (received, how) in zip(asked, await asyncio.gather(*talks), strict=True):
                assert received <= client.size, (client, received)
                if how == "end" and client.manner not in ("is silent", "is rude"):
                    assert received in (0, client.size), (client, received)
        found = server.statistics()
        kinds = (found.finished, found.departed, found.failed, found.idle, found.handshake_failures, found.cut)
        assert (found.live, found.accepted) == (0, sum(kinds)), found

    run_on(LOOPS[program["loop"]], main())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS)
def test_random_peers(program: dict[str, Any]) -> None:
    """However they end."""
    run_program(program)


@at_length(1_000, PROGRAMS)
def test_random_peers_at_length(program: dict[str, Any]) -> None:
    """The same, for a night."""
    run_program(program)
