"""A machine for anything that is acquired, used and released."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis.stateful import precondition, rule

from ._base import LoopMachine, pick, picks


class ResourceMachine(LoopMachine):
    """Acquires, uses and releases a resource of yours, cancels each of them, and checks that nothing stays.

    Override :meth:`acquire` and :meth:`release`, and :meth:`use` if there is something to do with it. Enter what you
    open into ``self.bubble.ledger``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Any] = []

    # To override.

    async def acquire(self) -> Any:
        """Make one and return it."""
        raise NotImplementedError

    async def release(self, resource: Any) -> None:
        """Release one."""
        raise NotImplementedError

    async def use(self, resource: Any) -> None:
        """Do something with one."""
        await asyncio.sleep(0.1)

    # Rules.

    @rule()
    def begin_acquire(self) -> None:
        self.start(self._acquire(), "acquire")

    async def _acquire(self) -> None:
        resource = await self.acquire()
        self.held.append(resource)

    @precondition(lambda self: self.held)
    @rule(number=picks)
    def begin_release(self, number: int) -> None:
        self.start(self._release(pick(self.held, number)), "release")

    async def _release(self, resource: Any) -> None:
        # Not before the first step: a release that is cancelled before it has not begun, and could not help it.
        if resource in self.held:
            self.held.remove(resource)
            await self.release(resource)

    @precondition(lambda self: self.held)
    @rule(number=picks)
    def begin_use(self, number: int) -> None:
        self.start(self.use(pick(self.held, number)), "use")

    @precondition(lambda self: self.running())
    @rule(number=picks)
    def cancel_one(self, number: int) -> None:
        pick(self.running(), number).cancel()

    async def shut_down(self) -> None:
        left = self.running()
        if left:
            await asyncio.wait(left)
        while self.held:
            await self.release(self.held.pop())
