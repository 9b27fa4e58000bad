"""The loops of which pairs in these tests are made, and a wire between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread

Send = Callable[[Any], Awaitable[None]]


Receive = AsyncIterator[Any]


async def forever(*_: object) -> None:
    await asyncio.Event().wait()


async def returns(*_: object) -> None:
    await asyncio.sleep(0.1)


async def fails(*_: object) -> None:
    await asyncio.sleep(0.1)
    raise ValueError("broken")


class Wire:
    """What a reader reads from: a read ends only when the wire is closed."""

    def __init__(self) -> None:
        self.closed = 0
        self._over = asyncio.Event()

    async def read(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._over.wait()
        raise OSError("closed under the read")

    def close(self) -> None:
        self.closed += 1
        self._over.set()


async def returns_at_once(*_: object) -> None:
    await asyncio.sleep(0)
