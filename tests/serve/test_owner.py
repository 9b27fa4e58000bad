"""What a server has in common with other owners: checked arguments, cancelling and draining it, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle import OwnerClosed, ServedStream, serve_tcp, serve_unix
from lifecycle.testing import Bubble

from ..loops import virtual


async def forever(stream: ServedStream) -> None:
    await asyncio.sleep(1_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: serve_tcp(3), "handler must be a function, got 3"),  # type: ignore[arg-type]
        (lambda: serve_unix(3, Path("x")), "handler must be a function, got 3"),  # type: ignore[arg-type]
        (lambda: serve_tcp(forever, on_error=3), "on_error must be a function, got 3"),  # type: ignore[arg-type]
        (lambda: serve_tcp(forever, name=3), "name must be a string or None, got 3"),  # type: ignore[arg-type]
        (lambda: serve_tcp(forever, port="80"), "port must be a whole number, got '80'"),  # type: ignore[arg-type]
        (lambda: serve_tcp(forever, backlog=1.5), "backlog must be a whole number, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked_when_they_are_given(make: Callable[[], object], message: str) -> None:
    """Before anything listens."""
    with pytest.raises(TypeError, match=message):
        make()


@virtual
async def test_cancel_ends_the_handlers_without_waiting(bubble: Bubble) -> None:
    """The reason reaches them; the block sees their end."""
    reasons: list[object] = []

    async def handler(stream: ServedStream) -> None:
        try:
            await forever(stream)
        except asyncio.CancelledError as error:
            reasons.extend(error.args)
            raise

    async with serve_tcp(handler, "host", 1) as server:
        _, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(1)
        server.cancel("no longer wanted")
        assert not server.closed
        assert server.statistics().live == 1
        writer.close()
    assert server.closed
    assert (reasons, server.statistics().cut, bubble.clock.now) == (["no longer wanted"], 1, 1)


@virtual
async def test_drain_waits_for_the_connections_and_says_which_are_left(bubble: Bubble) -> None:
    """The server goes on listening meanwhile."""

    async def handler(stream: ServedStream) -> None:
        await asyncio.sleep(10)

    async with serve_tcp(handler, "host", 1) as server:
        _, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(1)
        report = await server.drain(timeout=2)
        assert len(report.running) == 1
        assert report.running[0].startswith("10.0.0.1:")
        assert server.statistics().state == "open"
        server.close()
        report = await server.drain()
        assert (report.finished, report.running, bubble.clock.now) == (1, (), 10)
        writer.close()


@virtual
async def test_the_state_is_in_the_message_of_a_server_that_cannot_be_entered(bubble: Bubble) -> None:
    """Entered twice, and after its end."""
    server = serve_tcp(forever, "host", 1)
    async with server:
        with pytest.raises(OwnerClosed, match="it is open"):
            await server.__aenter__()
    with pytest.raises(OwnerClosed, match="it is closed"):
        await server.__aenter__()
