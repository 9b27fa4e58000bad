"""A client that stays connected: listens to a channel of Redis, through restarts, hang-ups and silence of the server.

    python listener.py 6379 news

It subscribes again on every new connection before anything else is done with it, asks for a sign of life every second,
waits longer after each failure, and says where there may be a gap. Ctrl-C closes it.
"""

from __future__ import annotations

import asyncio
import sys

from anyio import EndOfStream, IncompleteRead
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from lifecycle import Mailbox, Retry, Scope, Stages, dial_tcp, keep_connected, run, take_snapshot
from lifecycle.types import ConnectionDown, ConnectionUp


class Session:
    """One connection, which says by itself when it is over: its reader returns, or its heartbeat fails."""

    def __init__(self, stream: ByteStream, messages: Mailbox[str]) -> None:
        self.stream = stream
        self.incoming = BufferedByteReceiveStream(stream)
        self.messages = messages
        self.answered = asyncio.Event()
        self.subscribed = asyncio.Event()
        self.sending = asyncio.Lock()  # a stream takes one sender at a time

    async def say(self, command: str) -> None:
        """Send an inline command of the protocol."""
        async with self.sending:
            await self.stream.send(command.encode() + b"\r\n")

    async def read(self) -> None:
        """Take in what comes, until the server hangs up."""
        try:
            while True:
                match await self.answer():
                    case ["message", _, text]:
                        await self.messages.send(text)
                    case ["subscribe", *_]:
                        self.subscribed.set()
                    case ["pong", *_] | ["+PONG"]:
                        self.answered.set()
                    case other:
                        raise ConnectionError(f"the server says {other}")
        except (EndOfStream, IncompleteRead):
            return

    async def answer(self) -> list[str]:
        """Return the next answer: an array of strings and numbers, or one line."""
        head = await self.line()
        if not head.startswith("*"):
            return [head]
        return [await self.item() for _ in range(int(head[1:]))]

    async def item(self) -> str:
        head = await self.line()
        if not head.startswith("$"):
            return head[1:]
        text = await self.incoming.receive_exactly(int(head[1:]) + 2)
        return text[:-2].decode()

    async def line(self) -> str:
        return (await self.incoming.receive_until(b"\r\n", 65536)).decode()

    async def beat(self, seconds: float = 1.0) -> None:
        """Ask for a sign of life: a server whose machine has vanished does not hang up."""
        while True:
            await asyncio.sleep(seconds)
            self.answered.clear()
            async with asyncio.timeout(seconds):
                await self.say("PING")
                await self.answered.wait()


async def connector(stages: Stages, port: int, messages: Mailbox[str]) -> Session:
    """Connect, and start the two tasks without which a loss would not be noticed."""
    session = Session(await dial_tcp(stages, "127.0.0.1", port), messages)
    stages.start_soon(session.read)
    stages.start_soon(session.beat)
    return session


async def main(port: int, channel: str) -> None:
    """Print what comes over the channel, until somebody ends the process."""

    async def subscribe(session: Session) -> None:
        await session.say(f"SUBSCRIBE {channel}")
        await session.subscribed.wait()

    def say_up(up: ConnectionUp[Session]) -> None:
        gap = "" if up.generation == 1 else "; what was published meanwhile is lost"
        print(f"connected, {up.generation}{gap}", flush=True)

    def say_down(down: ConnectionDown[Session]) -> None:
        print("down:", down.reason, flush=True)

    async with Mailbox[str]("messages", capacity=1000) as messages, Scope("listener") as scope:
        kept = keep_connected(
            connector, port, messages, replay=subscribe, on_up=say_up, on_down=say_down,
            retry=Retry(backoff=(0.05, 5.0)), timeout=5.0, name="redis",
        )  # fmt: skip
        await scope.enter(kept)
        async for text in messages:
            print("message:", text, flush=True)


if __name__ == "__main__":
    try:
        run(main, int(sys.argv[1]), sys.argv[2])
    finally:
        print("still owned:", take_snapshot().roots or "nothing", flush=True)
