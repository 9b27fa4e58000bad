"""The memory network: ordinary clients and servers run over it, and faults arrive as in reality."""

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle.testing import Bubble, LeakError, MemoryNetwork, NetworkFaults, explore_cancellation, run_virtual
from lifecycle.testing.faults import CANCEL, KILL_TRANSPORT

PERFECT = NetworkFaults()
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
        await writer.drain()
    writer.close()


def with_client(client: Client, faults: NetworkFaults = PERFECT) -> Any:
    """Run a client against an echo peer on a network with faults, in virtual time."""

    async def scenario(bubble: Bubble) -> Any:
        bubble.network.set_faults("server", 7, faults)
        await bubble.network.peer(echo, "server", 7)
        async with asyncio.timeout(100):
            reader, writer = await asyncio.open_connection("server", 7)
            try:
                return await client(reader, writer), bubble.clock.time()
            finally:
                writer.close()
                with pytest.raises(ConnectionError) if faults.reset_at is not None else _nothing():
                    await writer.wait_closed()

    return run_virtual(scenario)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *details: object) -> None: ...


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    return await reader.readexactly(5)


def test_streams_talk() -> None:
    """asyncio.open_connection reaches a peer, at once."""
    assert with_client(ask) == (b"hello", 0)


def test_latency_counts_in_both_directions_and_for_the_connect() -> None:
    """One second to connect, one there, one back."""
    assert with_client(ask, NetworkFaults(latency=1)) == (b"hello", 3)


def test_a_late_answer_is_late_on_the_way_back_only() -> None:
    """The request is fast, the answer is not."""
    assert with_client(ask, NetworkFaults(late_answer=4)) == (b"hello", 4)


def test_short_writes_arrive_in_pieces() -> None:
    """A reader that takes what comes sees one byte at a time."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[bytes]:
        sizes = []

        class Probe(asyncio.StreamReaderProtocol):
            def data_received(self, data: bytes) -> None:
                sizes.append(data)
                super().data_received(data)

        writer.transport.get_protocol().__class__ = Probe
        writer.write(b"abc")
        await reader.readexactly(3)
        return sizes

    assert with_client(client, NetworkFaults(short_write=1))[0] == [b"a", b"b", b"c"]


def test_a_reset_comes_at_its_byte_at_both_ends() -> None:
    """Three bytes arrive at the peer, then both see a reset."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(5)

    with_client(client, NetworkFaults(reset_at=3))


def test_a_half_close_ends_reading_only() -> None:
    """The client sees the end of the stream after two bytes and may still write."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"hello")
        received = await reader.read()
        assert reader.at_eof()
        writer.write(b"more")
        await writer.drain()
        return received

    assert with_client(client, NetworkFaults(half_close_at=2))[0] == b"he"


def test_a_black_hole_swallows_data_and_connects() -> None:
    """Nothing arrives after the limit; a connect into it never ends."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(9):
                await reader.readexactly(5)
        return await reader.read(2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(9):
                await reader.read(1)

    assert with_client(silent, NetworkFaults(black_hole_at=5)) == (None, 9)
    assert with_client(silent, NetworkFaults(black_hole_at=0)) == (None, 9)

    async def connects(bubble: Bubble) -> None:
        bubble.network.set_faults("server", 7, NetworkFaults(black_hole=True))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(9):
                await asyncio.open_connection("server", 7)

    run_virtual(connects)


def test_refusals_are_counted() -> None:
    """The first two connects are refused, the third succeeds; an address without a server is refused too."""

    async def scenario(bubble: Bubble) -> None:
        bubble.network.set_faults("server", 7, NetworkFaults(refuse=2))
        await bubble.network.peer(echo, "server", 7)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("server", 7)
        _, writer = await asyncio.open_connection("server", 7)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("server", 8)

    run_virtual(scenario)


def test_a_slow_close_takes_its_time() -> None:
    """wait_closed() lasts as long as the faults say."""

    async def scenario(bubble: Bubble) -> float:
        bubble.network.set_faults("server", 7, NetworkFaults(slow_close=3))
        await bubble.network.peer(echo, "server", 7)
        _, writer = await asyncio.open_connection("server", 7)
        writer.close()
        await writer.wait_closed()
        return bubble.clock.time()

    assert run_virtual(scenario) == 3


def test_a_writer_waits_for_a_slow_reader() -> None:
    """Flow control: drain() blocks while the other end does not read."""

    async def scenario(bubble: Bubble) -> int:
        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(50)
            bubble.state.received = len(await reader.read(-1))

        await bubble.network.peer(slow, "server", 7)
        _, writer = await asyncio.open_connection("server", 7)
        for _ in range(10):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert bubble.clock.time() == 50
        writer.close()
        await writer.wait_closed()
        await bubble.wait_all_blocked()
        return int(bubble.state.received)

    assert run_virtual(scenario) == 1_000_000


def test_a_server_of_the_scenario_counts_its_connections() -> None:
    """wait_closed() of a server waits for the last connection; a name resolves to one address."""

    async def scenario(bubble: Bubble) -> None:
        server = await asyncio.start_server(echo, "server", 7)
        async with server:
            reader, writer = await asyncio.open_connection("server", 7)
            assert await ask(reader, writer) == b"hello"
            writer.close()
            await writer.wait_closed()
        assert not server.is_serving()

    run_virtual(scenario)


def test_anyio_and_unix_clients_run_unmodified() -> None:
    """anyio.connect_tcp, with its name resolution, and a unix path."""

    async def scenario(bubble: Bubble) -> None:
        await bubble.network.peer(echo, "server", 7)
        async with await anyio.connect_tcp("server", 7) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        server = await asyncio.start_unix_server(echo, "/run/echo.sock")
        async with server:
            reader, writer = await asyncio.open_unix_connection("/run/echo.sock")
            assert await ask(reader, writer) == b"hello"
            writer.close()
            await writer.wait_closed()

    run_virtual(scenario)


def test_the_socket_can_be_polled() -> None:
    """An idle client that polls the descriptor sees data, and the end, as on a real socket."""

    async def scenario(bubble: Bubble) -> None:
        ends: list[Any] = []
        server = await asyncio.start_server(lambda reader, writer: ends.append(writer), "server", 7)
        async with server:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "server", 7)
            transport.pause_reading()
            descriptor = transport.get_extra_info("socket").fileno()

            def readable() -> bool:
                return bool(select.select([descriptor], [], [], 0)[0])

            await bubble.wait_all_blocked()
            assert not readable()
            ends[0].write(b"x")
            await bubble.wait_all_blocked()
            assert readable()
            transport.close()
            ends[0].close()

    run_virtual(scenario)


def test_what_stays_open_is_named() -> None:
    """A connection and a server that were not closed are residue, with the line that opened them."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.server = await asyncio.start_server(echo, "server", 7)
        bubble.state.ends = await asyncio.open_connection("server", 7)

    with pytest.raises(LeakError) as caught:
        run_virtual(scenario)
    assert "open connection, client side" in str(caught.value)
    assert "server still listening" in str(caught.value)
    assert "test_memory_network.py" in str(caught.value)


async def careful(bubble: Bubble) -> None:
    await bubble.network.peer(echo, "server", 7)
    try:
        reader, writer = await asyncio.open_connection("server", 7)
    except ConnectionError:
        return
    try:
        writer.write(b"hello")
        await reader.read(5)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def careless(bubble: Bubble) -> None:
    await bubble.network.peer(echo, "server", 7)
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(b"hello")
    await reader.read(5)
    writer.close()


def test_explorations_reach_connections() -> None:
    """A cancel that leaves a connection open is found; killed transports strike only while one is open."""
    clean = explore_cancellation(careful)
    clean.assert_clean()
    assert clean.by_fault["transport killed"][0] > 3
    report = explore_cancellation(careless, faults=[CANCEL, KILL_TRANSPORT])
    assert report.by_fault["cancel"][1] > 0
    assert any("open connection, client side" in item for failure in report.failures for item in failure.residue)


@pytest.mark.asyncio
async def test_an_ordinary_loop_can_use_it() -> None:
    """Installed into a running loop, and gone afterwards."""
    network = MemoryNetwork()
    loop = asyncio.get_running_loop()
    with network.installed(loop):
        await network.peer(echo, "server", 7)
        reader, writer = await asyncio.open_connection("server", 7)
        assert await ask(reader, writer) == b"hello"
        writer.close()
        await writer.wait_closed()
    assert "create_connection" not in vars(loop)


def test_faults_are_checked() -> None:
    """Impossible faults are refused before anything runs."""
    with pytest.raises(ValueError, match="latency"):
        NetworkFaults(latency=-1)
    with pytest.raises(ValueError, match="short_write"):
        NetworkFaults(short_write=0)
