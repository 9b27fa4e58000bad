"""A small web server on loopback, for blocks and secrets that speak HTTP."""

from __future__ import annotations

import contextlib

import anyio

from lifecycle import ServedStream

SLOW = "/slow"


class Peer:
    """A small web server: what it was asked, and what it says to that."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.connections = 0
        self.answers: dict[str, bytes] = {}
        self.url = ""

    async def serve(self, stream: ServedStream) -> None:
        """Answer one request after the other."""
        self.connections += 1
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            try:
                await self._answer(stream)
            finally:
                self.connections -= 1

    async def _answer(self, stream: ServedStream) -> None:
        text = b""
        while True:
            while b"\r\n\r\n" not in text:
                text += await stream.receive()
            head, _, text = text.partition(b"\r\n\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
            )
            while len(text) < length:
                text += await stream.receive()
            self.asked.append(head + b"\r\n\r\n" + text[:length])
            text = text[length:]
            path = head.split(b" ")[1].decode()
            if path == SLOW:
                await stream.receive()  # says nothing, and sees when it is left
            await stream.send(self.answers.get(path, answer(b"ok")))


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer; in names of headers, an underscore stands for a hyphen."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
