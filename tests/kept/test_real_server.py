"""A real server process that is killed at random, and one that accepts and hangs up."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from anyio import BrokenResourceError, ClosedResourceError

from lifecycle import Retry, Stages, dial_tcp, keep_connected

from ..loops import on_every_loop, run_on
from ..servers import Server, descriptors

BROKER = str(Path(__file__).with_name("broker.py"))


class Client:
    """Sends a line, and waits until the broker has sent it back: it is written down then."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.send = send
        self.sending = asyncio.Lock()
        self.waiting: dict[bytes, asyncio.Future[None]] = {}

    async def read(self, stream: object) -> None:
        """Take in the acknowledgements; returns when the broker has gone."""
        rest = b""
        async for chunk in stream:  # type: ignore[attr-defined]
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                waiter = self.waiting.pop(line, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)

    async def store(self, message: bytes) -> None:
        """Return when it is written down."""
        waiter = self.waiting[message] = asyncio.get_running_loop().create_future()
        try:
            async with self.sending:
                await self.send(message + b"\n")
            await waiter
        finally:
            self.waiting.pop(message, None)

    def fail(self) -> None:
        """Fail what waits: no answer will come."""
        for waiter in self.waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError("lost"))
                waiter.exception()  # whoever is still sending does not come to ask for it


async def connector(stages: Stages, port: int) -> Client:
    """Connect, and read."""
    stream = await dial_tcp(stages, "127.0.0.1", port)
    client = Client(stream.send)
    stages.start_soon(client.read, stream)
    return client


@pytest.mark.slow
@on_every_loop
def test_every_message_that_was_acknowledged_is_there(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    """The server is killed at random while ten clients of one connection store messages: none is lost, none waits."""
    file = tmp_path / "log"
    server = Server(lambda port: [sys.executable, BROKER, str(port), str(file)])
    chance = random.Random(11)
    stored: list[bytes] = []
    run_on(new_loop, asyncio.sleep(0))  # what a first loop of its kind opens once
    before = descriptors()

    async def main() -> None:
        kept = keep_connected(
            connector, server.port, retry=Retry(backoff=(0.01, 0.1)), on_down=lambda down: down.value.fail()
        )

        async def stores(name: int) -> None:
            for number in itertools.count():
                if number >= 60 and kept.statistics().losses >= 3:
                    return
                message = b"%d:%d" % (name, number)
                while True:
                    client = await kept.get(timeout=60.0)
                    try:
                        await client.store(message)
                    except (ConnectionError, BrokenResourceError, ClosedResourceError) as error:
                        kept.report_lost(client, error)
                    else:
                        stored.append(message)
                        break
                await asyncio.sleep(0.002)

        async def kills() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.0, 0.1))
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(chance.uniform(0.0, 0.05))
                await asyncio.to_thread(server.start)
                await asyncio.sleep(0.1)

        async with kept:
            killer = asyncio.create_task(kills())
            await asyncio.gather(*map(stores, range(10)))
            killer.cancel()
            await asyncio.wait([killer])
        assert kept.statistics().waiting == 0

    server.start()
    try:
        run_on(new_loop, main())
    finally:
        server.kill()
    written = set(file.read_bytes().split(b"\n"))
    assert len(stored) == len(set(stored)) >= 600
    assert written.issuperset(stored)
    assert descriptors() <= before + 1  # the queue of a loop's threads may still be there


@pytest.mark.slow
def test_a_server_that_accepts_and_hangs_up_sees_no_storm(tmp_path: Path) -> None:
    """In a fifth of a second as many connects as the pauses allow, where a plain loop makes thousands."""
    file = tmp_path / "log"
    server = Server(lambda port: [sys.executable, BROKER, str(port), str(file), "hangs up"])

    async def main() -> None:
        async with keep_connected(connector, server.port, retry=Retry(backoff=(0.05, 10.0), jitter=0.0)) as kept:
            await asyncio.sleep(0.2)
            assert 1 <= kept.statistics().attempts <= 3  # at 0, 0.05 and 0.15
            assert kept.statistics().ups + kept.statistics().failures >= 1

    server.start()
    try:
        while not (connects := file.read_bytes().count(b"\n")):  # that of the start, which looks whether it listens
            time.sleep(0.01)
        asyncio.run(main())
    finally:
        server.kill()
    assert 1 <= file.read_bytes().count(b"\n") - connects <= 3
