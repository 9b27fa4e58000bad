"""Programs with scopes, of which nothing may be left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio

from lifecycle import (
    Scope,
)

from ._parts import (
    Value,
    cancel_soon,
    case,
    fail,
    fail_later,
    fail_when_cancelled,
    failing_on_exit,
    fails,
    forever,
    held,
    make,
    owned,
    pause,
    turn,
)

# Scopes


@case
async def scope_body_fails() -> None:
    async with Scope() as scope:
        scope.callback(id, Value())
        fails()


@case
async def scope_callback_fails() -> None:
    async with Scope() as scope:
        scope.callback(fails)


@case
async def scope_callbacks_fail() -> None:
    async with Scope() as scope:
        scope.callback(fails)
        scope.callback(fails)
        fails()


@case
async def scope_async_callback_fails() -> None:
    async with Scope() as scope:
        scope.push_async_callback(fail_later)


@case
async def scope_without_block_fails() -> None:
    scope = Scope()
    scope.push_async_callback(fail)
    scope.callback(fails)
    await scope.aclose()


@case
async def scope_acquires() -> None:
    async with Scope() as scope:
        await scope.acquire(make)
        await scope.acquire(Value)


@case
async def scope_release_fails() -> None:
    async with Scope() as scope:
        await scope.acquire(make, release=fails)
        await scope.acquire(make, release=fail_later)


@case
async def scope_factory_fails() -> None:
    async with Scope() as scope:
        await scope.acquire(fail_later)


@case
async def scope_factory_times_out() -> None:
    async with Scope() as scope:
        scope.callback(id, Value())
        await scope.acquire(forever, timeout=0.001)


@case
async def scope_factory_times_out_and_fails() -> None:
    async with Scope() as scope:
        await scope.acquire(fail_when_cancelled, timeout=0.001)


@case
async def scope_factory_is_cancelled_and_fails() -> None:
    cancel_soon()
    async with Scope() as scope:
        await scope.acquire(fail_when_cancelled)


@case
async def scope_value_comes_late() -> None:
    async def stubborn() -> Value:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        return Value()

    async with Scope() as scope:
        await scope.acquire(stubborn, release=fails, timeout=0.001)


@case
async def scope_enters() -> None:
    async with Scope() as scope:
        await scope.enter(held())
        await scope.enter(owned())
        await scope.enter_async_context(held())
        scope.enter_context(contextlib.closing(Value()))


@case
async def scope_enters_and_body_fails() -> None:
    async with Scope() as scope:
        await scope.enter(held())
        await scope.enter(owned())
        await scope.enter_async_context(held())
        fails()


@case
async def scope_entering_fails() -> None:
    async with Scope() as scope:
        await scope.acquire(make)
        await scope.enter(contextlib.asynccontextmanager(fail_generator)())


async def fail_generator() -> AsyncIterator[None]:
    fails()
    yield


class FailingWhenCancelled:
    __aenter__ = fail_when_cancelled
    __aexit__ = turn


@case
async def scope_entering_is_cancelled_and_fails() -> None:
    cancel_soon()
    async with Scope() as scope:
        await scope.enter(FailingWhenCancelled())


@case
async def scope_leaving_fails() -> None:
    async with Scope() as scope:
        await scope.enter(failing_on_exit())


@case
async def scope_leaving_fails_in_the_host() -> None:
    async with Scope() as scope:
        await scope.enter_async_context(failing_on_exit())
        scope.push(fails)
        fails()


class RaisingAgain:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, kind: object, error: BaseException, traceback: object) -> None:
        try:
            raise error
        finally:
            del error, traceback


@case
async def scope_exit_raises_what_it_was_given() -> None:
    async with Scope() as scope:
        await scope.enter(RaisingAgain())
        await scope.enter_async_context(RaisingAgain())
        fails()


@case
async def scope_task_fails() -> None:
    async with Scope() as scope:
        scope.start_soon(fail)
        await forever()


@case
async def scope_tasks_are_stopped() -> None:
    async with Scope() as scope:
        scope.start_soon(forever, Value())
        await turn()
        scope.start_soon(forever, Value())


@case
async def scope_start_fails() -> None:
    async with Scope() as scope:
        await scope.start(lambda *, task_status: fail())


@case
async def scope_child_fails() -> None:
    async with Scope() as scope:
        scope.child().callback(fails)
        scope.child().start_soon(fail)
        await forever()


@case
async def scope_is_cancelled() -> None:
    async with Scope() as scope:
        scope.callback(id, Value())
        scope.cancel("enough")
        await forever()


@case
async def scope_without_block_is_cancelled() -> None:
    scope = Scope()
    scope.callback(id, Value())
    scope.cancel("enough")
    await scope.aclose()


@case
async def scope_host_is_cancelled() -> None:
    cancel_soon()
    async with Scope() as scope:
        scope.callback(id, Value())
        await forever()


@case
async def scope_host_is_cancelled_while_it_closes() -> None:
    cancel_soon()
    async with Scope() as scope:
        scope.callback(id, Value())
        scope.push_async_callback(pause)
        await scope.enter_async_context(contextlib.asynccontextmanager(pausing)())


async def pausing() -> AsyncIterator[None]:
    yield
    await pause()


@case
async def scope_host_is_cancelled_while_a_task_ends() -> None:
    async def slow() -> None:
        try:
            await forever()
        finally:
            await pause()

    cancel_soon()
    async with Scope() as scope:
        scope.start_soon(slow)
        await turn()


@case
async def scope_under_a_cancelled_anyio_scope() -> None:
    with anyio.CancelScope() as around:
        async with Scope() as scope:
            scope.callback(id, Value())
            scope.push_async_callback(pause)
            around.cancel()
            await forever()


@case
async def scope_release_takes_too_long() -> None:
    async with Scope(close_timeout=0.001) as scope:
        scope.callback(id, Value())
        scope.push_async_callback(forever)


@case
async def scope_is_handed_over() -> None:
    scope = Scope()
    scope.callback(fails)
    heir = scope.pop_all()
    await scope.aclose()
    await heir.aclose()


@case
async def scope_refuses() -> None:
    scope = Scope()
    await scope.aclose()
    scope.start_soon(forever, Value())
