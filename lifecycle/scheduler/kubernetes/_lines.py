"""Lines out of a stream's pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator


async def lines_of(pieces: AsyncIterator[bytes], *, longest: int | None = None) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, without their ends; the last one also where it has no end.

    Args:
        pieces: of any size.
        longest: bytes of a line that are kept; the rest of it is dropped, and not held either. None for all of it.
    """
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line[:longest]
        rest = rest[:longest]
    if rest:
        yield rest
