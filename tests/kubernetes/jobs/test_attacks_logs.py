"""Attacks by logs: lines without an end, of ten megabytes each, of bytes that are no text."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lifecycle.scheduler.kubernetes import _log
from lifecycle.scheduler.kubernetes._log import BYTES, LINE, ContainerLog

pytestmark = pytest.mark.asyncio

PIECE = 64 * 1024
TIME = b"2026-12-01T00:00:00.000000001Z "


class Endless:
    """A client whose streams give one piece after the other; it counts what was taken of them."""

    def __init__(self, piece: Callable[[int], bytes], most: int) -> None:
        self.read = 0
        self.streams = 0
        self._piece = piece
        self._most = most

    @contextlib.asynccontextmanager
    async def stream(self, _path: str, _query: Any, *, silence: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give a stream."""
        assert silence
        self.streams += 1
        yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        for number in range(self._most):
            piece = self._piece(number)
            self.read += len(piece)
            yield piece


def _of_ten_megabytes(number: int) -> bytes:
    return (TIME if number % 160 == 0 else b"") + b"x" * (PIECE - 1) + (b"\n" if number % 160 == 159 else b"x")


def _rubbish(number: int) -> bytes:
    return TIME + bytes(range(number % 256, 256)) * 16 + b"\x00\xff\xfe\n"


SHAPES = {
    "one line without an end": lambda number: (TIME if number == 0 else b"") + b"x" * PIECE,
    "lines of ten megabytes": _of_ten_megabytes,
    "no text": _rubbish,
}


@pytest.mark.parametrize("piece", SHAPES.values(), ids=SHAPES)
async def test_of_a_log_that_is_too_long_no_more_is_read_than_its_bound(
    piece: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is followed, and of its end: what is dropped of long lines was read as well."""
    monkeypatch.setattr(_log, "BYTES", bound := BYTES // 8)
    client, lines, seen = Endless(piece, 1000), list[str](), list[int]()

    def over() -> bool:
        seen.append(client.read)
        return client.streams > 0

    log = ContainerLog("n", "pod", "main", lines.append)
    await log.follow(client, over)  # type: ignore[arg-type]
    assert log.complete
    assert client.streams == 2
    assert seen[-1] <= 4 * bound + 2 * PIECE
    assert client.read <= 8 * bound + 4 * PIECE
    assert max(map(len, lines)) <= LINE
