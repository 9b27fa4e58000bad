"""Programs of hosts that are cancelled once more, while what the first cancellation has ended comes to its end."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import Registry, Scope

from ._parts import Error, Value, case, fail_later, forever, pause


def strike_twice(outer: Scope) -> None:
    """Have *outer* end its block, and cancel the calling task a while later, with something that must not be kept."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.call_later(0.001, outer.cancel)
    loop.call_later(0.003, task.cancel, Value())


async def end_slowly(*_: object) -> None:
    held = Value()
    try:
        await forever()
    finally:
        await pause()
        del held


@case
async def scope_closes_slowly_and_the_host_is_cancelled() -> None:
    async with Scope() as outer, Scope() as scope:
        strike_twice(outer)
        scope.callback(id, Value())
        scope.push_async_callback(pause)
        await forever()


@case
async def scope_closes_with_an_error_and_the_host_is_cancelled() -> None:
    try:
        async with Scope() as outer, Scope() as scope:
            strike_twice(outer)
            scope.push_async_callback(fail_later)
            scope.push_async_callback(pause)
            await forever()
    except Error:
        await pause()


@case
async def scope_factory_is_left_and_the_host_is_cancelled() -> None:
    async with Scope() as outer, Scope() as scope:
        strike_twice(outer)
        await scope.acquire(end_slowly)


@case
async def registry_creation_is_left_and_the_host_is_cancelled() -> None:
    async with Scope() as outer, Registry[str, Any]() as registry:
        strike_twice(outer)
        await registry.get_or_create("key", end_slowly)
