"""Owners in each other, n deep: what each of them does is done once for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lifecycle import Scope, TaskGroup, TaskManager

from ._kinds import CASES, Laps, case, nothing, suspends


def nesting(kind: str, nest: Callable[[Scope, Scope], Awaitable[None]]) -> None:
    """Make a case of a scope with a scope with a scope, each put into the one above it in that way."""

    async def run(n: int, laps: Laps) -> None:
        outermost = above = Scope()
        with laps("nest", n):
            for _ in range(n):
                below = Scope()
                await nest(above, below)
                below.push_async_callback(suspends)
                above = below
        with laps("close", n):
            await outermost.aclose()

    CASES[f"nested: {kind}"] = run


async def by_a_callback(above: Scope, below: Scope) -> None:
    above.push_async_callback(below.aclose)


async def by_a_release(above: Scope, below: Scope) -> None:
    await above.acquire(lambda: below)


async def by_a_held_block(above: Scope, below: Scope) -> None:
    await above.enter(below)


async def by_a_task(above: Scope, below: Scope) -> None:
    async def own() -> None:
        async with below:
            await asyncio.Event().wait()

    above.start_soon(own)
    await asyncio.sleep(0)


async def by_a_held_block_and_a_task(above: Scope, below: Scope) -> None:
    await above.enter(below)
    below.start_soon(asyncio.Event().wait)


nesting("closes in callbacks", by_a_callback)
nesting("closes in releases", by_a_release)
nesting("held blocks", by_a_held_block)
nesting("tasks", by_a_task)
nesting("held blocks and tasks", by_a_held_block_and_a_task)


@case
async def nested_task_scopes(n: int, laps: Laps) -> None:
    async def own(depth: int) -> None:
        async with Scope() as scope:
            scope.callback(nothing)
            if depth:
                scope.start_soon(own, depth - 1)
            else:
                full.set()
            await asyncio.Event().wait()

    full = asyncio.Event()
    scope = Scope()
    with laps("tasks that each own a scope", n):
        scope.start_soon(own, n)
        await full.wait()
    with laps("close", n):
        await scope.aclose()


@case
async def nested_closes_from_inside(n: int, laps: Laps) -> None:
    async def own(depth: int, above: Scope) -> None:
        async with Scope() as scope:
            if depth:
                scope.start_soon(own, depth - 1, scope)
                await asyncio.Event().wait()
            else:
                await full.wait()
                await outermost.aclose()

    full = asyncio.Event()
    outermost = Scope()
    outermost.start_soon(own, n, outermost)
    for _ in range(n + 2):
        await asyncio.sleep(0)
    with laps("close by the innermost task", n):
        full.set()
        await outermost.wait()


@case
async def nested_managers(n: int, laps: Laps) -> None:
    async def own(depth: int) -> None:
        async with TaskManager(drain_timeout=0) as manager:
            if depth:
                manager.start_soon(own, depth - 1)
            else:
                full.set()
            await asyncio.Event().wait()

    full = asyncio.Event()
    manager = TaskManager(drain_timeout=0)
    with laps("tasks that each own a manager", n):
        manager.start_soon(own, n)
        await full.wait()
    with laps("close", n):
        await manager.aclose()


@case
async def nested_groups(n: int, laps: Laps) -> None:
    async def own(depth: int) -> None:
        async with TaskGroup() as group:
            if depth:
                group.start_soon(own, depth - 1)
            else:
                full.set()
            await asyncio.Event().wait()

    for end in ("cancel", "cancel natively"):
        full = asyncio.Event()
        with laps(f"tasks that each own a group, {end}", n):
            task = asyncio.create_task(own(n))
            await full.wait()
            task.cancel()
            await asyncio.wait([task])
