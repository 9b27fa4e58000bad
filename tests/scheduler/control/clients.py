"""A control server with a client that speaks its protocol in the plainest way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer


@handler("nap")
async def nap(seconds: float) -> float:
    """Sleep."""
    await asyncio.sleep(seconds)
    return seconds


class Client:
    """Speaks RESP in the plainest way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, *words: str | bytes) -> Any:
        self.say(*words)
        return await self.answer()

    def say(self, *words: str | bytes) -> None:
        data = [word.encode() if isinstance(word, str) else word for word in words]
        self.writer.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in data))

    async def answer(self) -> Any:
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:].decode()
        if kind in (b"+", b"-"):
            return line.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else (await self.reader.readexactly(int(rest) + 2))[:-2].decode()
        if kind == b"%":
            return {await self.answer(): await self.answer() for _ in range(int(rest))}
        if kind in (b"*", b">"):
            return [await self.answer() for _ in range(int(rest))]
        return {b"_": None, b"#": rest == "t", b",": rest}[kind]

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[ControlServer, Scheduler]]:
    async with (
        Scheduler(workers=2, drain_timeout=1) as scheduler,
        ControlServer(scheduler, host="localhost", port=6480, **settings) as control,
    ):
        yield control, scheduler


async def client() -> Client:
    return Client(*await asyncio.open_connection("localhost", 6480))
