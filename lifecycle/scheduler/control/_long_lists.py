"""Long lists: encoded some at a time, so that other clients have their turn, and few of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import anyio.lowlevel

from ._encoder import encode

T = TypeVar("T")

IN_A_TURN: Final = 50
"""Entries that are encoded before others have their turn."""

AT_ONCE: Final = 2
"""Lists longer than `SHORT` that are in memory at once, before they are bytes; each may take tens of megabytes."""

SHORT: Final = 1_000


async def encode_list(entries: Sequence[T], facts_of: Callable[[T], Any], resp: int) -> bytes:
    """Return a list in the given version of the protocol."""
    pieces = [b"*%d\r\n" % len(entries)]
    for number, entry in enumerate(entries, 1):
        pieces.append(encode(facts_of(entry), resp))
        if number % IN_A_TURN == 0:
            await anyio.lowlevel.checkpoint()
    return b"".join(pieces)
