"""The two virtual loops: one without any file descriptor, one with real input and output."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .._checks import check_limits, checked_kind
from .._network._listener import MemoryListener
from .clock import VirtualClock
from .turns import VirtualMixin

if TYPE_CHECKING:
    from collections.abc import Callable


class VirtualLoop(VirtualMixin):
    """A virtual loop without any file descriptor; connections go through its memory network."""

    def __init__(self, *, clock: VirtualClock | None = None, max_steps: int = 200_000, patience: float = 5.0) -> None:
        check_settings(clock, max_steps, patience)
        super().__init__()
        self._set_up(clock, max_steps, patience)
        self.network: Any = None
        self.make_network: Callable[[], Any] | None = None

    def _write_to_self(self) -> None:
        self.outside.wake()

    def _process_events(self, event_list: Any) -> None:
        """There are no events: nothing is ever selected."""

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:
        return await self._memory_network().create_connection(protocol_factory, host, port, **how)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:
        return await self._memory_network().create_server(protocol_factory, host, port, **how)

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **how: Any) -> Any:
        return await self._memory_network().create_connection(protocol_factory, None, path, **how)

    async def create_unix_server(self, protocol_factory: Any, path: Any = None, **how: Any) -> Any:
        return await self._memory_network().create_server(protocol_factory, None, path, **how)

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        return self._memory_network().getaddrinfo(host, port, **how)

    async def open_listeners(self, host: Any, port: Any) -> list[MemoryListener]:
        """Listen without a socket: what `serve_tcp` and `serve_unix` ask a loop of this kind for."""
        return [await MemoryListener.open(self._memory_network(), host, port)]

    def _memory_network(self) -> Any:
        if self.network is None:
            if self.make_network is None:
                raise RuntimeError("this virtual loop has no network: run it in a bubble, or pass io=True")
            self.network = self.make_network()
        return self.network

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        raise RuntimeError(f"this virtual loop has no file descriptors, asked to read {fd!r}: pass io=True")

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        raise RuntimeError(f"this virtual loop has no file descriptors, asked to write {fd!r}: pass io=True")


class VirtualIOLoop(VirtualMixin, asyncio.SelectorEventLoop):
    """A virtual loop with real sockets, pipes and subprocesses: the clock jumps only when they are silent."""

    def __init__(self, *, clock: VirtualClock | None = None, max_steps: int = 200_000, patience: float = 5.0) -> None:
        check_settings(clock, max_steps, patience)
        self.clock: VirtualClock = VirtualClock() if clock is None else clock
        super().__init__()
        self._set_up(clock, max_steps, patience, self._selector)  # type: ignore[attr-defined]

    async def _make_subprocess_transport(self, *args: Any, **how: Any) -> Any:
        transport = await super()._make_subprocess_transport(*args, **how)  # type: ignore[misc]
        self.outside.expect_process(transport)
        return transport


def check_settings(clock: VirtualClock | None, max_steps: int, patience: float) -> None:
    """Check what a loop is made with, before it has opened anything.

    Raises:
        TypeError, ValueError: one of them is of the wrong type, or out of range.
    """
    if clock is not None:
        checked_kind(clock, VirtualClock, "clock", "a VirtualClock")
    check_limits(max_steps, patience)
