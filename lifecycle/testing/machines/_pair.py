"""A machine for two loops that must end together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from ._base import LoopMachine

Loop = Callable[[], Awaitable[None]]
ends = st.sampled_from(["returns", "raises"])


class Half:
    """One of the two loops: waits until it is told how to end."""

    def __init__(self, machine: LoopMachine, name: str) -> None:
        self._machine = machine
        self._name = name
        self._order: asyncio.Future[str] | None = None
        self.running: bool = False

    async def loop(self, *args: Any) -> None:
        """Run until told to end, or until stopped."""
        with self._machine.bubble.ledger.acquire(self._name, kind="loop"):
            self.running = True
            self._order = asyncio.get_running_loop().create_future()
            try:
                how = await self._order
            finally:
                self.running = False
                await asyncio.sleep(0)
        if how == "raises":
            raise ConnectionError(f"{self._name} broke")

    def end(self, how: str) -> None:
        if self._order is not None and not self._order.done():
            self._order.set_result(how)


class PairMachine(LoopMachine):
    """Ends either loop in any way at any time, or cancels the whole, and checks that both are gone soon after.

    Override :meth:`run_pair`: run both loops linked, and return or raise when both have ended.

    Attributes:
        patience: seconds within which the other loop must be gone.
    """

    patience: float = 30.0

    def __init__(self) -> None:
        super().__init__()
        self.reader: Half = Half(self, "reader")
        self.worker: Half = Half(self, "worker")
        self._whole: asyncio.Task[Any] | None = None

    # To override.

    async def run_pair(self, reader: Loop, worker: Loop) -> None:
        """Run both loops, linked both ways."""
        raise NotImplementedError

    # Rules.

    @initialize()
    def open_pair(self) -> None:
        whole = self.run_pair(self.reader.loop, self.worker.loop)
        self._whole = self.bubble.loop.create_task(whole, name="pair")

    @precondition(lambda self: self.reader.running)
    @rule(how=ends)
    def reader_ends(self, how: str) -> None:
        self.reader.end(how)

    @precondition(lambda self: self.worker.running)
    @rule(how=ends)
    def worker_ends(self, how: str) -> None:
        self.worker.end(how)

    @precondition(lambda self: self._whole is not None and self.bubble.loop.steps)
    @rule()
    def cancel_the_whole(self) -> None:
        assert self._whole is not None
        self._whole.cancel()

    async def shut_down(self) -> None:
        assert self._whole is not None
        for _ in range(5):
            await asyncio.sleep(0)
        self.reader.end("returns")
        await asyncio.wait([self._whole], timeout=self.patience)
        assert self._whole.done(), "one loop has ended, and the pair still runs"
        assert not self.reader.running, "the reader outlived the pair"
        assert not self.worker.running, "the worker outlived the pair"
        if not self._whole.cancelled():
            self._whole.exception()
