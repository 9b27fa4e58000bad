"""Where the things that are gathered come from, and a count of how many are inside at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any


async def fail_late(error: BaseException) -> None:
    """Fail while being cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        raise error


async def square(number: int) -> int:
    """Return the square, the later the smaller the number."""
    await asyncio.sleep(0.001 / (number + 1))
    return number * number


async def each(items: Any, log: list[str] | None = None) -> AsyncIterator[Any]:
    """Yield the items asynchronously; note when it is closed."""
    try:
        for item in items:
            yield item
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        if log is not None:
            log.append("closed")


class Gauge:
    """Counts how many are inside at once, and how many were taken from a source."""

    def __init__(self) -> None:
        self.inside = self.most = self.taken = 0

    async def pass_through(self, item: Any) -> Any:
        """Be inside for a moment."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        return item

    def watched(self, items: Any) -> Iterator[Any]:
        """Yield the items, and check that no more are taken than slots are free."""
        for item in items:
            self.taken += 1
            yield item
