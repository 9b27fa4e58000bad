"""Case D: connections that end in every way there is, and the reader that was abandoned.

DiceDB starts a reader and a worker for each connection. The reader told the worker when it ended, the worker told
nobody: the leaky version here is written that way. Our control server is given every treatment, and passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from lifecycle import take_snapshot
from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._commands import CommandSpec
from lifecycle.scheduler.control._table import COMMANDS

LIMITS = Limits(output_timeout=0.1, output=10_000)

PING = b"*1\r\n$4\r\nPING\r\n"

Treatment = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One client's connection, treated badly or well."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, 65536)

    async def rest(self) -> bytes:
        """Everything up to the end, however that comes."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.receive():
                received += data
        return received

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def clean(peer: Peer) -> None:
    await peer.send(PING)
    assert await peer.receive() == b"+PONG\r\n"


async def quits(peer: Peer) -> None:
    await peer.send(PING + b"QUIT\r\n" + PING)
    assert await peer.rest() == b"+PONG\r\n+OK\r\n"


async def reset(peer: Peer) -> None:
    await peer.send(PING * 20)
    peer.reset()


async def half_closed(peer: Peer) -> None:
    await peer.send(PING * 3)
    peer.half_close()
    assert await peer.rest() == b"+PONG\r\n" * 3


async def mid_command(peer: Peer) -> None:
    await peer.send(PING + b"*2\r\n$4\r\nECHO\r\n$100\r\nhalf")


async def protocol_error(peer: Peer) -> None:
    await peer.send(PING + b"*1\r\n$oops\r\n" + PING * 50)
    assert (await peer.rest()).startswith(b"+PONG\r\n-ERR Protocol error")


async def aborts(peer: Peer) -> None:
    await peer.send(PING + b"ABORT\r\n" + PING * 50)
    await peer.rest()


async def worker_crash(peer: Peer) -> None:
    await peer.send(b"CRASH\r\n" + PING * 50)
    await peer.rest()


async def silent(peer: Peer) -> None:
    """Connects and leaves."""


TREATMENTS: list[Treatment] = [
    clean,
    quits,
    reset,
    half_closed,
    mid_command,
    protocol_error,
    aborts,
    worker_crash,
    silent,
]


async def slow_reader(peer: Peer) -> None:
    """Asks for more than it takes; the buffers of the system are large, so this one is rare."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5):
            await peer.send((b"*2\r\n$4\r\nECHO\r\n$100000\r\n" + b"x" * 100_000 + b"\r\n") * 150)


class WorkerCrash(BaseException):
    """What no loop catches."""


async def crash(session: Any, words: list[bytes]) -> bytes:
    raise WorkerCrash


async def treat(port: int, treatment: Treatment) -> None:
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        await treatment(Peer(connection))


async def treat_all(port: int, count: int, dice: random.Random) -> Counter[str]:
    """Treat *count* connections, fifty at a time, in every way."""
    numbers = iter(range(count))
    seen: Counter[str] = Counter()

    async def one_after_the_other() -> None:
        for number in numbers:
            rare = number % 500 == 499
            treatment = slow_reader if rare else dice.choice(TREATMENTS)
            seen[treatment.__name__] += 1  # type: ignore[attr-defined]
            await treat(port, treatment)

    await asyncio.gather(*[one_after_the_other() for _ in range(50)])
    return seen


class State:
    """What lives in this process: tasks, descriptors, and what owners say that they hold."""

    def __init__(self) -> None:
        gc.collect()
        self.tasks = len(asyncio.all_tasks())
        self.descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        self.snapshot = take_snapshot()

    def growth(self, older: State) -> dict[str, Any]:
        """Return what there is more of."""
        changes = self.snapshot.compare_to(older.snapshot)
        growth = {
            "tasks": self.tasks - older.tasks,
            "descriptors": self.descriptors - older.descriptors,
            "owned": str(changes) if changes.grown else "",
        }
        return {what: more for what, more in growth.items() if more}


async def settled(older: State) -> dict[str, Any]:
    """Return what there is more of than before, once it does not change any more or is nothing."""
    for _ in range(100):
        growth = State().growth(older)
        if not growth:
            break
        await asyncio.sleep(0.05)
    return growth


@contextlib.asynccontextmanager
async def our_server() -> AsyncIterator[int]:
    COMMANDS[b"CRASH"] = CommandSpec("CRASH", crash, 0, 0, False, "", waits=True)
    try:
        async with (
            Scheduler() as scheduler,
            ControlServer(scheduler, port=0, limits=LIMITS) as control,
        ):
            yield control.port
    finally:
        del COMMANDS[b"CRASH"]


class OneWayServer:
    """As DiceDB had it: the end of the reader ends the worker, the end of the worker ends nothing."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start both, as goroutines are started: nobody waits for them."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        for loop in (self.read(reader, queue), self.work(writer, queue)):
            task = asyncio.create_task(loop)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[bytes | None]) -> None:
        """Hand on line after line; the channel has room for one."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                await queue.put(line)
        await queue.put(None)

    async def work(self, writer: asyncio.StreamWriter, queue: asyncio.Queue[bytes | None]) -> None:
        """Answer until something goes wrong, and then just return."""
        try:
            while (line := await queue.get()) is not None:
                if line.strip() in (b"QUIT", b"ABORT", b"CRASH", b"$oops"):
                    return
                if line.strip() == b"PING":
                    writer.write(b"+PONG\r\n")
                    await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def end(self) -> None:
        """What only the end of the process did."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def at_rest() -> State:
    """Return the state when nothing has changed for a while."""
    state, since = State(), 0
    while since < 4:
        await asyncio.sleep(0.1)
        now = State()
        state, since = (now, 0) if now.growth(state) else (state, since + 1)
    return state


async def left_by_ours(count: int, seed: int = 0) -> tuple[dict[str, Any], Counter[str]]:
    async with our_server() as port:
        await treat(port, clean)
        before = await at_rest()
        seen = await treat_all(port, count, random.Random(seed))
        return await settled(before), seen


@pytest.mark.slow
def test_whatever_way_connections_end_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks, descriptors and the snapshot equal those at rest."""
    growth, seen = asyncio.run(left_by_ours(1_000))
    assert growth == {}
    assert set(seen) == {treatment.__name__ for treatment in TREATMENTS} | {"slow_reader"}  # type: ignore[attr-defined]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert set(errors) <= {"handler failed"}


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_connections_leave_nothing() -> None:
    """The same at the size of the casebook."""
    growth, _ = asyncio.run(left_by_ours(100_000))
    assert growth == {}


def test_a_server_that_drains_leaves_nothing() -> None:
    """With connections in every state, some of them in the middle of something."""

    async def main() -> dict[str, Any]:
        before = State()
        async with our_server() as port:
            peers: list[socket.socket] = []
            for data in (b"", PING, b"*2\r\n$4\r\nECHO\r\n$9\r\nha", PING * 100, b"LC.WATCH\r\n"):
                connection = socket.create_connection(("127.0.0.1", port))
                connection.sendall(data)
                peers.append(connection)
            await asyncio.sleep(0.1)
        for connection in peers:
            connection.close()
        return await settled(before)

    assert asyncio.run(main()) == {}


def test_the_one_way_version_is_caught() -> None:
    """Every worker that ends first leaves a reader blocked in a send, and the same look finds them."""

    async def leaks(peer: Peer) -> None:
        await peer.send(b"PING\r\nABORT\r\n" + b"PING\r\n" * 10)
        await peer.rest()

    async def main() -> dict[str, Any]:
        leaky = OneWayServer()
        server = await asyncio.start_server(leaky.connected, "127.0.0.1", 0)
        try:
            before = State()
            for _ in range(20):
                await treat(server.sockets[0].getsockname()[1], leaks)
            await asyncio.sleep(0.1)
            return State().growth(before)
        finally:
            await leaky.end()
            server.close()

    growth = asyncio.run(main())
    assert growth["tasks"] == 20
    assert "by nobody" in growth["owned"]
