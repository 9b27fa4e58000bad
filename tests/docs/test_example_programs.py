"""The complete programs of docs/examples, each started as a user would start it, against real parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ..servers import Server

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals, and 127.0.0.2"),
]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_a_program_is_read_in_one_go(path: Path) -> None:
    """An example that needs scrolling is none."""
    assert len(path.read_text().splitlines()) < 120 or path.stem == "archive_handlers"


@asynccontextmanager
async def started(program: str, *args: str) -> AsyncIterator[Process]:
    """Start a program of the examples; it is killed at the end, if it has not ended by then."""
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parents[1]), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / f"{program}.py"), *args, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def port_of(process: Process) -> int:
    """Return the port that it has printed."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if b"listening on" in line:
            return int(line.split()[-1])
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode())


async def ended(process: Process, number: signal.Signals) -> tuple[str, int]:
    """End it by a signal; return what it printed since, and its exit code."""
    process.send_signal(number)
    printed, told = await process.communicate()
    assert "Traceback" not in told.decode(), told.decode()
    assert process.returncode is not None
    return printed.decode(), process.returncode


class Guest:
    """A client of the chat, as netcat is one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def come(cls, port: int, name: str) -> Guest:
        guest = cls(*await asyncio.open_connection("127.0.0.1", port))
        await guest.reader.readuntil(b"? ")
        await guest.say(name)
        await guest.hears(f"* {name} has joined")
        return guest

    async def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\n")
        await self.writer.drain()

    async def leave(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def hears(self, line: str) -> None:
        while (heard := await self.reader.readline()) != line.encode() + b"\n":
            assert heard, f"the connection was closed before {line!r}"


@pytest.mark.asyncio
async def test_chat() -> None:
    """Lines go to everybody, who is slow is disconnected, and the end is told."""
    async with started("chat", "0", "5") as process:  # ann says something more often, also on a busy machine
        port = await port_of(process)
        ann, ben = await Guest.come(port, "ann"), await Guest.come(port, "ben")
        await ann.hears("* ben has joined")
        await ann.say("hello")
        await ben.hears("<ann> hello")
        await ben.say("/quit")
        await ann.hears("* ben has left")
        await ben.reader.read()  # until the end

        with socket.socket() as slow:  # takes a little, and reads nothing
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", port))
            await asyncio.get_running_loop().sock_sendall(slow, b"cid\n")
            await ann.hears("* cid has joined")
            flood = asyncio.create_task(say_for_ever(ann, "x" * 900))
            await ann.hears("* cid has left")
            flood.cancel()
        await ann.say("enough")
        await ann.hears("<ann> enough")

        eve = await Guest.come(port, "eve")
        printed, code = await ended(process, signal.SIGTERM)
        assert await eve.reader.read() == b""
        assert (printed, code) == ("still owned: nothing\n", 128 + signal.SIGTERM)
        for guest in (ann, ben, eve):
            await guest.leave()


@pytest.mark.asyncio
async def test_chat_with_a_silent_guest() -> None:
    """It is disconnected."""
    async with started("chat", "0", "2") as process:
        dan = await Guest.come(await port_of(process), "dan")
        await dan.reader.read()  # until the end, which comes because nobody says anything
        await dan.leave()


async def say_for_ever(guest: Guest, line: str) -> None:
    while True:
        await guest.say(line)


class Site:
    """Web servers on three addresses: the first is slow, the second and third busy; how many each serves is counted."""

    def __init__(self) -> None:
        self.served = Counter[str]()
        self.present = Counter[str]()
        self.most = Counter[str]()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.present[host] += 1
                self.most[host] = max(self.most[host], self.present[host])
                await asyncio.sleep(0.2 if host == "127.0.0.1" else 0.01)
                self.served[host] += 1
                wait = {"127.0.0.2": "1", "127.0.0.3": "Wed, 21 Oct 2015 07:28:00 GMT"}.get(host)  # seconds, or a date
                busy = wait is not None and self.served[host] == 1
                status = f"429 Too Many Requests\r\nRetry-After: {wait}" if busy else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello".encode())
                self.present[host] -= 1
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def __aenter__(self) -> Site:
        self._servers = [await asyncio.start_server(self.serve, "127.0.0.1", 0)]
        self.port = self._servers[0].sockets[0].getsockname()[1]
        self._servers += [
            await asyncio.start_server(self.serve, host, self.port) for host in ("127.0.0.2", "127.0.0.3")
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def urls(self, count: int) -> list[str]:
        return [f"http://127.0.0.{1 + n % 3}:{self.port}/{n}" for n in range(count)]


@pytest.mark.asyncio
async def test_crawler() -> None:
    """All pages come, four at once from one host, and what was busy for a moment as well; others cost nobody theirs."""
    bad = ("http://127.0.0.4:1/", "http://[::1")
    async with Site() as site, started("crawler", *site.urls(45), *bad) as process:
        printed, _ = await process.communicate()
        lines = printed.decode().splitlines()
        assert lines[0] == "45 pages of 47, 225 bytes, 2 errors"
        assert {line.partition(": ")[0] for line in lines[1:3]} == {f"  {url}" for url in bad}
        assert lines[3] == "still owned: nothing"
        assert process.returncode == 0
        assert max(site.most.values()) == 4


@pytest.mark.asyncio
async def test_an_interrupted_crawler_says_what_it_has() -> None:
    """Ctrl-C ends it at once, with the pages of the hosts that answer quickly."""
    async with Site() as site, started("crawler", *site.urls(300)) as process:
        while site.served["127.0.0.3"] < 10:
            await asyncio.sleep(0.01)
        printed, code = await ended(process, signal.SIGINT)
        lines = printed.splitlines()
        assert 5 < int(lines[0].split()[0]) < 300
        assert lines[-1] == "still owned: nothing"
        assert code == -signal.SIGINT


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
@pytest.mark.asyncio
async def test_listener(tmp_path: Path) -> None:
    """It is connected again to a server that was killed, and hears what is published from then on."""
    server = Server(lambda port: ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""])
    server.start()
    try:
        async with started("listener", str(server.port), "news") as process:
            await printed(process, "connected, 1")
            await publish(server.port, "one")
            await printed(process, "message: one")
            server.kill()
            await printed(process, "down: ")
            server.start()
            await printed(process, "connected, 2; what was published meanwhile is lost")
            await publish(server.port, "two")
            await printed(process, "message: two")
            server.pause()  # the machine has vanished: nothing is hung up, and nothing comes
            await printed(process, "down: ")
            server.resume()
            await printed(process, "connected, ")
            rest, code = await ended(process, signal.SIGINT)
            assert rest.splitlines()[-1] == "still owned: nothing"
            assert code == -signal.SIGINT
    finally:
        server.resume()
        server.kill()


async def printed(process: Process, beginning: str) -> None:
    """Wait until it prints a line that begins so."""
    assert process.stdout is not None
    while not (line := (await process.stdout.readline()).decode()).startswith(beginning):
        assert line, f"it has ended without {beginning!r}"


async def publish(port: int, text: str) -> None:
    """Publish on the channel, as redis-cli does, until somebody has heard it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"PUBLISH news {text}\r\n".encode())
    assert await reader.readline() == b":1\r\n"
    writer.close()


@pytest.mark.asyncio
async def test_service(tmp_path: Path) -> None:
    """Orders are kept and told; a receiver that is busy is told again, also at the end."""
    told: list[str] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        [length] = [line.split(": ")[1] for line in head.lower().splitlines() if line.startswith("content-length: ")]
        tenant = head.lower().partition("x-tenant: ")[2].splitlines()[0]
        told.append(f"{tenant} {json.loads(await reader.readexactly(int(length)))['ordered']}")
        status = "503 Busy" if len(told) == 1 else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as hook:
        port = free_port()
        tell = f"http://127.0.0.1:{hook.sockets[0].getsockname()[1]}/hook"
        async with started("service", str(port), str(tmp_path / "orders")) as process, httpx.AsyncClient() as client:
            orders = f"http://127.0.0.1:{port}/orders/acme"
            while True:
                try:
                    assert (await client.get(orders)).json() == []
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            for what in ("tea", "milk"):
                answer = await client.post(orders, params={"what": what, "tell": tell})
                assert answer.status_code == 202
            assert (await client.get(orders)).json() == ["tea", "milk"]
            printed, code = await ended(process, signal.SIGINT)
            assert printed.splitlines()[-1] == "still owned: nothing"
            assert code in (0, -signal.SIGINT)
    assert sorted(told) in (["acme milk", "acme milk", "acme tea"], ["acme milk", "acme tea", "acme tea"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
