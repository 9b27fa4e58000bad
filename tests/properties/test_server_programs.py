"""Random programs of clients and one server: who comes, leaves, breaks off or takes nothing, and when it closes.

Its account closes, there are never more handlers at once than its limit, what a client gets is a part of what it has
sent, closing takes no longer than its timeouts, and who waits for the end hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import ServedStream, serve_tcp
from lifecycle.testing import Bubble, run_virtual

from .at_length import at_length

DRAIN, CLOSE, LINGER = 3.0, 1.0, 2.0


@dataclass(frozen=True)
class Client:
    """What one client does.

    Attributes:
        arrives: in tenths of a second.
        size: how many bytes it sends.
        pieces: in how many parts.
        pause: tenths of a second between two parts.
        ends: whether it ends what it sends, and reads on.
        reads: whether it takes what comes.
        breaks: after how many tenths of a second it breaks off; None: it does not.
    """

    arrives: int
    size: int
    pieces: int
    pause: int
    ends: bool
    reads: bool
    breaks: int | None


CLIENTS = st.builds(
    Client,
    arrives=st.integers(0, 10),
    size=st.sampled_from([1, 1_000, 300_000]),
    pieces=st.integers(1, 3),
    pause=st.integers(0, 3),
    ends=st.booleans(),
    reads=st.booleans(),
    breaks=st.none() | st.integers(0, 10),
)

PROGRAMS = st.fixed_dictionaries(
    {
        "clients": st.lists(CLIENTS, min_size=1, max_size=5),
        "limit": st.sampled_from([1, 2, None]),
        "drain": st.sampled_from(["end", "tell"]),
        "closes_at": st.integers(0, 15),
        "closes_first": st.booleans(),
        "handler": st.sampled_from(["echo", "early", "fails"]),
    }
)


async def converse(client: Client, got: list[bytes]) -> None:
    """Be a client."""
    await asyncio.sleep(client.arrives / 10)
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("host", 1)
        if not client.reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def say() -> None:
            for _ in range(client.pieces):
                writer.write(bytes(client.size))
                await asyncio.sleep(client.pause / 10)
            if client.ends:
                writer.write_eof()

        saying = asyncio.create_task(say())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if client.breaks is None else client.breaks / 10):
                    while data := await reader.read(65_536):
                        got.append(data)
        finally:
            writer.transport.abort()
            saying.cancel()
            await asyncio.wait([saying])


def run_program(program: dict[str, Any]) -> None:
    """Run one program, and check it."""
    clients: list[Client] = program["clients"]
    limit: int | None = program["limit"]
    most = 0

    async def handler(stream: ServedStream) -> None:
        nonlocal most
        running.add(stream)
        most = max(most, len(running))
        try:
            if program["handler"] == "early":
                await stream.receive(1)
                await stream.send(b"no")
            else:
                async for data in stream:
                    await stream.send(data)
                    if program["handler"] == "fails":
                        raise ValueError("of the handler")
        finally:
            running.discard(stream)

    running: set[ServedStream] = set()

    async def scenario(_: Bubble) -> None:
        got: list[list[bytes]] = [[] for _ in clients]
        loop = asyncio.get_running_loop()
        server = serve_tcp(
            handler,
            "host",
            1,
            limit=limit,
            drain=program["drain"],
            drain_timeout=DRAIN,
            close_timeout=CLOSE,
            on_error=lambda _, error: None,
        )
        async with server:
            talks = [asyncio.create_task(converse(client, each)) for client, each in zip(clients, got, strict=True)]
            waiting = asyncio.create_task(server.wait())
            await asyncio.sleep(program["closes_at"] / 10)
            if program["closes_first"]:
                server.close()
                await asyncio.sleep(0.1)
            began = loop.time()
            await server.aclose()
            took = loop.time() - began
        await waiting
        for talk in talks:
            talk.cancel()
        await asyncio.wait(talks)
        assert took <= DRAIN + CLOSE + LINGER + 0.01, took
        found = server.statistics()
        kinds = (found.finished, found.departed, found.failed, found.idle, found.handshake_failures, found.cut)
        assert (found.live, found.accepted) == (0, sum(kinds)), found
        assert limit is None or most <= limit, most
        for client, each in zip(clients, got, strict=True):
            answer = b"".join(each)
            if program["handler"] == "early":
                assert answer in (b"", b"no")
            else:
                assert len(answer) <= client.size * client.pieces
                assert not answer.strip(b"\0")

    run_virtual(scenario)


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS)
def test_random_clients(program: dict[str, Any]) -> None:
    """Whatever they do, and whenever the server closes."""
    run_program(program)


@at_length(20_000, PROGRAMS)
def test_random_clients_at_length(program: dict[str, Any]) -> None:
    """The same, for a night."""
    run_program(program)
