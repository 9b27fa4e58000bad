"""What a handler can know of a server that closes: that it does, and that its input was cut and has not ended."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from lifecycle import ServedStream, ServerDraining, serve_tcp
from lifecycle.testing import Bubble

from ..loops import virtual
from .clients import balance, echo, hang_up


@virtual
async def test_an_input_that_the_server_has_cut_is_told_from_one_that_has_ended(bubble: Bubble) -> None:
    """By the stream, and by the error; half an upload need not be taken for a whole one."""
    found: list[tuple[bool, bool]] = []

    async def handler(stream: ServedStream) -> None:
        assert not stream.draining
        async for _ in stream:
            pass
        found.append((stream.cut, stream.draining))
        with pytest.raises(anyio.EndOfStream) as caught:
            await stream.receive()
        assert isinstance(caught.value, ServerDraining) is stream.cut

    async with serve_tcp(handler, "host", 1) as server:
        writers = [(await asyncio.open_connection("host", 1))[1] for _ in range(2)]
        for writer in writers:
            writer.write(b"half")
        await asyncio.sleep(0.1)
        writers[0].write_eof()
        await asyncio.sleep(0.1)
        assert found == [(False, False)]
    assert found == [(False, False), (True, True)]
    assert balance(server) == {"finished": 2}
    for writer in writers:
        await hang_up(writer)


@virtual
async def test_the_end_by_a_drain_is_no_failure_of_a_handler(bubble: Bubble) -> None:
    """Raised out of it, it counts as the end of the stream does."""

    async def handler(stream: ServedStream) -> None:
        while True:
            await stream.receive()

    async with serve_tcp(handler, "host", 1) as server:
        _, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(0.1)
    assert balance(server) == {"departed": 1}
    await hang_up(writer)


@virtual
async def test_handlers_may_be_told_and_go_on_reading(bubble: Bubble) -> None:
    """They finish what the peer is in the middle of; those that do not end are cut after ``drain_timeout``."""

    async def handler(stream: ServedStream) -> None:
        total = 0
        while total < 6:
            total += len(await stream.receive())
        assert stream.draining
        assert not stream.cut
        await stream.send(b"whole")

    async with serve_tcp(handler, "host", 1, drain="tell", drain_timeout=10) as server:
        reader, writer = await asyncio.open_connection("host", 1)
        _, idle = await asyncio.open_connection("host", 1)
        writer.write(b"123")
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(server.aclose())
        await asyncio.sleep(1)
        writer.write(b"456")
        assert await reader.read() == b"whole"
        await closing
    assert balance(server) == {"finished": 1, "cut": 1}
    assert asyncio.get_running_loop().time() == pytest.approx(10.1)
    await hang_up(writer)
    await hang_up(idle)


@virtual
async def test_a_handler_may_wait_for_the_drain(bubble: Bubble) -> None:
    """To say good-bye; a closed server that goes on with its connections does not drain them."""

    async def handler(stream: ServedStream) -> None:
        await stream.wait_draining()
        await stream.wait_draining()
        await stream.send(b"good-bye")

    async with serve_tcp(handler, "host", 1, drain="tell") as server:
        reader, writer = await asyncio.open_connection("host", 1)
        await asyncio.sleep(0.1)
        server.close()
        await asyncio.sleep(1)
        assert server.statistics().live == 1
    assert await reader.read() == b"good-bye"
    assert balance(server) == {"finished": 1}
    await hang_up(writer)


def test_there_are_two_ways_to_drain() -> None:
    """And no third."""
    with pytest.raises(ValueError, match='drain must be "end" or "tell", got \'cut\''):
        serve_tcp(echo, drain="cut")  # type: ignore[arg-type]
