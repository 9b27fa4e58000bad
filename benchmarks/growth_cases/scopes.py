"""Scopes: n of each kind of entry, taken in and released."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from lifecycle import Scope, resource

from ._kinds import (
    CASES,
    Laps,
    case,
    fails,
    fails_later,
    manages,
    manages_at_once,
    nothing,
    returns,
    settle,
    starts,
    suspends,
    waits,
    waits_and_fails,
)


def closing(kind: str, fill: Callable[[Scope, int], Awaitable[None]]) -> None:
    """Make a case of a scope that is filled and closed."""

    async def run(n: int, laps: Laps) -> None:
        scope = Scope()
        with laps("take in", n):
            await fill(scope, n)
        await settle()
        with laps("statistics, each", n):
            scope.statistics()
        with laps("close", n), suppress(Exception, ExceptionGroup):
            await scope.aclose()

    CASES[f"scope: {kind}"] = run


def each(add: Callable[[Scope], object]) -> Callable[[Scope, int], Awaitable[None]]:
    """Fill a scope by a call for each."""

    async def fill(scope: Scope, n: int) -> None:
        for _ in range(n):
            added = add(scope)
            if asyncio.iscoroutine(added):
                await added

    return fill


async def by_turns(scope: Scope, n: int) -> None:
    for _ in range(n // 2):
        scope.callback(nothing)
        scope.push(nothing)


async def nested(scope: Scope, n: int) -> None:
    for _ in range(n):
        scope = scope.child()
        scope.push_async_callback(suspends)


async def tasks_that_end(scope: Scope, n: int) -> None:
    for _ in range(n):
        scope.start_soon(returns)


closing("callbacks", each(lambda scope: scope.callback(nothing)))
closing("failing callbacks", each(lambda scope: scope.callback(fails)))
closing("exits", each(lambda scope: scope.push(nothing)))
closing("failing exits", each(lambda scope: scope.push(fails)))
closing("exits and callbacks by turns", by_turns)
closing("asynchronous callbacks", each(lambda scope: scope.push_async_callback(returns)))
closing("suspending callbacks", each(lambda scope: scope.push_async_callback(suspends)))
closing("failing asynchronous callbacks", each(lambda scope: scope.push_async_callback(fails_later)))
closing("acquired values", each(lambda scope: scope.acquire(returns, release=nothing)))
closing("values made at once", each(lambda scope: scope.acquire(object, release=nothing)))
closing("failing releases", each(lambda scope: scope.acquire(object, release=fails)))
closing("entered", each(lambda scope: scope.enter(manages())))
closing("entered inline", each(lambda scope: scope.enter_async_context(manages())))
closing("entered at once", each(lambda scope: scope.enter_context(manages_at_once())))
closing("empty children", each(lambda scope: scope.child()))
closing("children", each(lambda scope: scope.child().callback(nothing)))
closing("tasks", each(lambda scope: scope.start_soon(waits)))
closing("tasks that have ended", tasks_that_end)
closing("tasks that fail when stopped", each(lambda scope: scope.start_soon(waits_and_fails)))


closing("started tasks", each(lambda scope: scope.start(starts)))
closing("asynchronous exits", each(lambda scope: scope.push_async_exit(returns)))
closing("scopes, nested by children", nested)


@case
async def scope_pop_all(n: int, laps: Laps) -> None:
    scope = Scope()
    for _ in range(n):
        scope.push(nothing)
    with laps("pop_all, each", n):
        heir = scope.pop_all()
    await heir.aclose()
    await scope.aclose()


@case
async def scope_closed_by_its_task(n: int, laps: Laps) -> None:
    scope = Scope()
    for _ in range(n):
        scope.push(nothing)
    with laps("close from inside", n):
        await scope.start_soon(scope.aclose).wait()


@case
async def scope_failing_tasks(n: int, laps: Laps) -> None:
    with laps("tasks that fail", n), suppress(ExceptionGroup):
        async with Scope() as scope:
            for _ in range(n):
                scope.start_soon(fails_later)
            await waits()


@case
async def scope_closers(n: int, laps: Laps) -> None:
    scope = Scope()
    scope.push_async_callback(suspends)
    with laps("close at once", n):
        await asyncio.gather(*[scope.aclose() for _ in range(n)])
    scope = Scope()
    for _ in range(n):
        scope.start_soon(scope.aclose)
    with laps("close from inside, by n tasks", n):
        await scope.wait()


@case
async def scope_released_early(n: int, laps: Laps) -> None:
    async def filled() -> tuple[Scope, list[object]]:
        scope = Scope()
        values = [object() for _ in range(n)]
        for value in values:
            await scope.acquire(lambda value=value: value, release=nothing)
        return scope, values

    scope, values = await filled()
    with laps("release one of n, each", n):
        await scope.release(values[n // 2])
    with laps("release the newer half, the newest first", n // 2):
        for value in reversed(values[n // 2 + 1 :]):
            await scope.release(value)
    await scope.aclose()
    scope, values = await filled()
    with laps("release all, the oldest first", n):
        for value in values:
            await scope.release(value)
    scope, values = await filled()
    on_top = await scope.acquire(object, release=nothing)
    with laps("release all but the newest, the newest first", n):
        for value in reversed(values):
            await scope.release(value)
    await scope.release(on_top)
    with laps("release what comes and goes beside none", n):
        for _ in range(n):
            await scope.release(await scope.acquire(object, release=nothing))
    await scope.aclose()


@case
async def scope_tasks(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("create_task and release", n):
            handles = [scope.create_task(waits()) for _ in range(n)]
            await settle()
            for handle in handles:
                await scope.release(handle)
        handles = [scope.create_task(waits()) for _ in range(n)]
        await settle()
        with laps("cancel from inside the block", n):
            scope.cancel()
            await asyncio.gather(*[handle.wait() for handle in handles], return_exceptions=True)


@case
async def scope_of_resources(n: int, laps: Laps) -> None:
    @resource
    async def held() -> AsyncIterator[int]:
        yield 0

    async with Scope() as scope:
        with laps("enter n", n):
            for _ in range(n):
                await scope.enter(held())
        with laps("close n", n):
            await scope.aclose()


@case
async def scope_waiters(n: int, laps: Laps) -> None:
    scope = Scope()
    with laps("wait for the close", n):
        waiting = [asyncio.create_task(scope.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        await scope.aclose()
        await asyncio.wait(waiting)
    scope = Scope()
    with laps("stop waiting for the close", n):
        waiting = [asyncio.create_task(scope.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        for each in reversed(waiting):
            each.cancel()
        await asyncio.wait(waiting)
    await scope.aclose()


@case
async def scope_callers_that_leave(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("leave what is being acquired", n):
            callers = [asyncio.create_task(scope.acquire(waits)) for _ in range(n)]
            await settle()
            for caller in reversed(callers):
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        with laps("time out what is being acquired", n):
            callers = [asyncio.create_task(scope.acquire(waits, timeout=0.0)) for _ in range(n)]
            await asyncio.gather(*callers, return_exceptions=True)
        callers = [asyncio.create_task(scope.acquire(waits)) for _ in range(n)]
        await settle()
        with laps("close while n are being acquired", n):
            await scope.aclose()
        await asyncio.gather(*callers, return_exceptions=True)


@case
async def scope_children_that_end(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        children = [scope.child() for _ in range(n)]
        for child in children:
            child.push_async_callback(suspends)
        with laps("close n children, the oldest first", n):
            for child in children:
                await child.aclose()
        children = [scope.child() for _ in range(n)]
        with laps("close n children at once", n):
            await asyncio.gather(*[child.aclose() for child in children])
