"""A task that is cancelled inside an anyio shield, and ends in it, leaves no timer behind."""

import asyncio

import anyio
import pytest

from lifecycle import Scope, TaskGroup, TaskManager
from lifecycle.testing import Bubble, run_virtual


@pytest.mark.parametrize("owner_class", [TaskManager, Scope, TaskGroup])
def test_no_timer_is_left(owner_class: type[TaskManager | Scope | TaskGroup]) -> None:
    """After an owner's exit nothing of it is left, timers included."""

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.001)

    async def scenario(bubble: Bubble) -> None:
        async with owner_class() as owner:
            handle = owner.start_soon(shielded)
            await asyncio.sleep(0)
            handle.cancel()
            await handle.wait()

    run_virtual(scenario)
