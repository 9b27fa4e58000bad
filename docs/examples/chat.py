"""A chat over TCP: what one says, all the others get; who reads too slowly is disconnected, and so is who is silent.

    python chat.py 8972
    nc 127.0.0.1 8972

Ctrl-C drains it: everybody is told, what is on its way is sent, and nothing is left.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from anyio import EndOfStream, IncompleteRead
from anyio.streams.buffered import BufferedByteReceiveStream

from lifecycle import Broadcast, Scope, ServedStream, SubscriberTooSlow, fixed_rate, link, run, serve_tcp, take_snapshot
from lifecycle.types import Subscription

log = logging.getLogger("chat")


class Room:
    """Everybody who is connected; each has its own place in the broadcast, and may be 100 lines behind."""

    def __init__(self) -> None:
        self.lines = Broadcast[str]("room", capacity=100, overflow="disconnect")

    async def serve(self, stream: ServedStream) -> None:
        """Run one connection; two loops that end together."""
        incoming = BufferedByteReceiveStream(stream)
        await stream.send(b"your name? ")
        try:
            name = await next_line(incoming)
        except (EndOfStream, IncompleteRead):
            return
        with self.lines.subscribe(name) as lines:
            self.lines.publish_nowait(f"* {name} has joined")
            try:
                outcome = await link(hear=(self.hear, name, incoming), tell=(self.tell, stream, lines))
            finally:
                lines.close()  # not told of itself
                if not self.lines.closed:
                    self.lines.publish_nowait(f"* {name} has left")
        log.info("%s: %s", name, outcome.first)
        if not isinstance(outcome.error_of("tell"), SubscriberTooSlow):
            outcome.raise_errors()

    async def hear(self, name: str, incoming: BufferedByteReceiveStream) -> None:
        """Publish what *name* says, until it hangs up or says goodbye."""
        try:
            while (line := await next_line(incoming)) != "/quit":
                await self.lines.publish(f"<{name}> {line}")
                await asyncio.sleep(0)  # a hundred lines may have come at once: let the others send each of them
        except (EndOfStream, IncompleteRead):
            pass

    async def tell(self, stream: ServedStream, lines: Subscription[str]) -> None:
        """Send what others say; ends with an error where the peer takes it too slowly."""
        async for line in lines:
            await stream.send(line.encode() + b"\n")


async def next_line(incoming: BufferedByteReceiveStream) -> str:
    """Return the next line, without its end."""
    return (await incoming.receive_until(b"\n", 1000)).decode(errors="replace").strip()


async def main(port: int, idle_timeout: float = 60.0) -> None:
    """Serve until somebody ends the process."""
    async with Scope("chat") as scope:
        room = Room()

        async def count() -> None:
            log.info("%d are here", room.lines.subscribers)

        server = await scope.enter(
            serve_tcp(room.serve, port=port, limit=1000, idle_timeout=idle_timeout, drain_timeout=1.0, name="chat")
        )
        scope.callback(room.lines.close)  # first of all: everybody gets what was said, and then the end
        scope.start_soon(fixed_rate(count, 60.0))
        print("listening on", server.port, flush=True)
        await server.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    try:
        run(main, int(sys.argv[1] if sys.argv[1:] else 8972), float(sys.argv[2] if sys.argv[2:] else 60))
    finally:
        print("still owned:", take_snapshot().roots or "nothing", flush=True)
