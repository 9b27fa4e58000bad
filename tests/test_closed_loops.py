"""A loop that is closed bare leaves tasks behind: they end when they are collected, and nothing is complained about."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import Scope, TaskGroup, TaskManager

from .loops import on_every_loop, some_turns


async def forever() -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


async def hold_on() -> None:
    """Run through every cancellation."""
    while True:
        try:
            await forever()
        except asyncio.CancelledError:
            continue


def ignore(*_: object) -> None:
    """Take note of nothing."""


def leave_manager() -> list[Any]:
    """Leave tasks, those who wait for one of them, and those who wait for the manager."""
    manager = TaskManager()
    handle = manager.start_soon(forever)
    handle.add_done_callback(ignore)

    async def wait() -> None:
        await handle

    return [asyncio.create_task(waiting) for waiting in (wait(), manager.drain(), manager.aclose(), manager.wait())]


def leave_scope() -> list[Any]:
    """Leave a scope in the middle of its close, and those who wait for that."""
    scope = Scope()
    scope.start_soon(hold_on)
    return [asyncio.create_task(waiting) for waiting in (scope.aclose(), scope.aclose(), scope.wait())]


def leave_group() -> list[Any]:
    """Leave a block whose tasks run, and stand in line."""

    async def block() -> None:
        async with TaskGroup(limit=1) as group:
            group.start_soon(forever)
            group.create_task(forever())

    return [asyncio.create_task(block())]


@on_every_loop
@pytest.mark.parametrize("leave", [leave_manager, leave_scope, leave_group])
def test_what_a_closed_loop_leaves_behind_is_collected_in_silence(
    new_loop: Any, leave: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody in that loop can be woken any more, so nobody is."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.append(told.exc_value))
    loop = new_loop()
    loop.set_exception_handler(ignore)  # asyncio says of each task that it was still running

    async def main() -> list[Any]:
        left = leave()
        await some_turns()
        return left

    left = loop.run_until_complete(main())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of a scope that is dropped with things in it
        loop.close()
        del loop, left
        gc.collect()
    assert not [error for error in raised if not isinstance(error, Warning)]
