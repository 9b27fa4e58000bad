"""A listening address of a memory network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..._ground.frames import Frames
from .._sites import format_site, raw_frames
from ._socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._transport import MemoryTransport


class MemoryServer(asyncio.AbstractServer):
    """What ``loop.create_server`` returns; waits for its connections when it is closed, as asyncio does."""

    def __init__(self, loop: Any, key: Any, factory: Callable[[], Any], forget: Callable[[Any], None]) -> None:
        self.key = key
        self.factory = factory
        self.site: Frames = raw_frames(3, 2)
        self.outside = False
        self.transports: set[MemoryTransport] = set()
        self._loop = loop
        self._forget = forget
        self._serving = True
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sockets(self) -> tuple[MemorySocket, ...]:
        return (MemorySocket(self.key, None),) if self._serving else ()

    def get_loop(self) -> Any:
        return self._loop

    def is_serving(self) -> bool:
        return self._serving

    async def start_serving(self) -> None:
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        try:
            await self._loop.create_future()
        finally:
            self.close()

    def close(self) -> None:
        if self._serving:
            self._serving = False
            self._forget(self)
            self._wake()

    def close_clients(self) -> None:
        for transport in list(self.transports):
            transport.close()

    def abort_clients(self) -> None:
        for transport in list(self.transports):
            transport.abort()

    async def wait_closed(self) -> None:
        if self._serving or self.transports:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def lost(self, transport: MemoryTransport) -> None:
        """One of its connections is gone."""
        self.transports.discard(transport)
        self._wake()

    def _wake(self) -> None:
        if not self._serving and not self.transports:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def __aenter__(self) -> MemoryServer:
        return self

    async def __aexit__(self, *details: object) -> None:
        self.close()
        await self.wait_closed()

    def describe(self) -> str:
        """One line for a report."""
        return f"server still listening at {self.key}, made at {format_site(self.site)}"
