"""What containers have written, kept in memory, and how a kubelet hands it out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

#: A line that is longer is handed out in pieces, each with a time of its own in the log, as container runtimes do it.
LONGEST = 16 * 1024


def rfc3339(nanoseconds: int) -> str:
    """Return a time as logs have it: always nine digits after the second."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def nanoseconds_of(text: str) -> int:
    """Return the time that a text says, to the nanosecond."""
    if (found := re.fullmatch(r"([^.]+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text.strip())) is None:
        raise ValueError(f"this is no time with a zone: {text}")
    whole, digits, zone = found.groups(default="")
    return int(datetime.fromisoformat(whole + zone).timestamp()) * 1_000_000_000 + int(digits.ljust(9, "0")[:9])


class Log:
    """What one container has written, the newest of it: at most so many bytes.

    Args:
        most: how many bytes are kept.
    """

    def __init__(self, most: int = 10 * 1024 * 1024) -> None:
        self._most, self._size = most, 0
        self._entries: list[tuple[int, bytes]] = []
        self._first = 0  # the number of the oldest entry that is kept
        self._piece = b""
        self._changed: set[asyncio.Future[None]] = set()
        self.ended = False

    def write(self, data: bytes) -> None:
        """Take what was written, in lines; what is no whole line yet waits for the rest, up to `LONGEST`."""
        *lines, self._piece = (self._piece + data).split(b"\n")
        for line in lines:
            self._enter(line + b"\n")
        while len(self._piece) >= LONGEST:
            self._enter(self._piece[:LONGEST])
            self._piece = self._piece[LONGEST:]
        self._tell()

    def end(self) -> None:
        """Take the last piece, without an end of the line; nothing comes any more."""
        if self._piece:
            self._enter(self._piece)
            self._piece = b""
        self.ended = True
        self._tell()

    def tail(self, most_lines: int, most_bytes: int) -> str:
        """Return the end of it."""
        text = b"".join(data for _, data in list(self._entries)[-most_lines:])
        return text[-most_bytes:].decode(errors="replace")

    async def entries(self, last: int | None, follow: bool) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield the last lines, all for None; then, where that is asked for, those that come, until the end."""
        number = self._first
        if last is not None:
            number += max(0, len(self._entries) - last)
        while True:
            while number < self._first + len(self._entries):
                number = max(number, self._first)  # what was not read before it was dropped is lost
                yield self._entries[number - self._first]
                number += 1
            if self.ended or not follow:
                return
            # Between the last look and here nobody else has run.
            changed = asyncio.get_running_loop().create_future()
            self._changed.add(changed)
            try:
                await changed
            finally:
                self._changed.discard(changed)

    def _enter(self, data: bytes) -> None:
        self._entries.append((time.time_ns(), data))
        self._size += len(data)
        if self._size > self._most:  # a quarter at once, as a file is rotated: to shift a list costs its length
            gone = max(1, len(self._entries) // 4)
            self._size -= sum(len(line) for _, line in self._entries[:gone])
            del self._entries[:gone]
            self._first += gone

    def _tell(self) -> None:
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)


@dataclass(frozen=True)
class Question:
    """What somebody wants to have of a log."""

    follow: bool = False
    timestamps: bool = False
    previous: bool = False
    since: int = 0
    last: int | None = None
    most: int | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Question:
        """Read it from the parameters of a request.

        Raises:
            ValueError: one of them makes no sense.
        """
        since = nanoseconds_of(query["sinceTime"]) if query.get("sinceTime") else 0
        if query.get("sinceSeconds"):
            since = time.time_ns() - int(query["sinceSeconds"]) * 1_000_000_000
        return cls(
            follow=query.get("follow") in ("true", "1"),
            timestamps=query.get("timestamps") in ("true", "1"),
            previous=query.get("previous") in ("true", "1"),
            since=since,
            last=int(query["tailLines"]) if query.get("tailLines") else None,
            most=int(query["limitBytes"]) if query.get("limitBytes") else None,
        )

    async def answer(self, log: Log) -> AsyncGenerator[bytes, None]:
        """Yield what is wanted, a line or a piece of a long one at a time."""
        left, new = self.most, True
        async for when, data in log.entries(self.last, self.follow):
            if when < self.since:
                continue
            text = f"{rfc3339(when)} ".encode() + data if self.timestamps and new else data
            new = data.endswith(b"\n")
            if left is not None:
                text = text[:left]
                left -= len(text)
            yield text
            if left == 0:
                return
