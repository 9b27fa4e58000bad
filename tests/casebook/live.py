"""Counting what is alive, the same for the leaky miniatures and for ours."""

from __future__ import annotations

import asyncio
import gc


class Thing:
    """Something that a job is given, or holds; it must be gone afterwards."""

    __slots__ = ("__weakref__", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text


def alive(*kinds: type) -> int:
    """Return how many objects of these kinds are alive."""
    gc.collect()
    return sum(type(thing) in kinds for thing in gc.get_objects())


async def settle() -> None:
    """Let everything that is about to end come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)
