"""Lines out of a stream's pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable


def _ignore(_count: int) -> None:
    """Nobody counts it."""


async def lines_of(
    pieces: AsyncIterator[bytes],
    *,
    longest: int | None = None,
    ends: bool = False,
    dropped: Callable[[int], object] = _ignore,
) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; the last one also where it has no end.

    Args:
        pieces: of any size.
        longest: bytes of a line that are kept; the rest of it is dropped, and not held either. None for all of it.
        ends: whether to yield them with the line breaks that end them.
        dropped: called with how many bytes were dropped, whenever some were.
    """
    rest, end = b"", b"\n" if ends else b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if longest is not None and len(line) > longest:
                dropped(len(line) - longest)
            yield line[:longest] + end
        if longest is not None and len(rest) > longest:
            dropped(len(rest) - longest)
            rest = rest[:longest]
    if rest:
        yield rest
