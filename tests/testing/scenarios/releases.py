"""Releases of every kind: a resource without try and finally, a callback that returns a task, a token of a context."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lifecycle import ReaderWorker, Scope, TaskCancelled, TaskGroup, TaskManager, fixed_rate, resource

from ._table import connect, disconnect, ignore_error, scenario, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lifecycle import TaskHandle
    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token

span: ContextVar[str] = ContextVar("span", default="outside")


@resource
async def plain_connection(bubble: Bubble) -> AsyncIterator[Token]:
    """The form that people write first."""
    token = await connect(bubble, "plain")
    yield token
    token.release()
    await asyncio.sleep(0.01)


@scenario
async def released_after_a_bare_yield(bubble: Bubble) -> None:
    """Held by a scope, and in a block of its own."""
    async with Scope() as scope:
        await scope.enter(plain_connection(bubble))
        await asyncio.sleep(0.01)
    async with plain_connection(bubble):
        await asyncio.sleep(0.01)


@scenario
async def released_by_a_task(bubble: Bubble) -> None:
    """What lies below is needed until that task has ended."""
    async with Scope() as scope:
        lower = await connect(bubble, "lower")
        scope.callback(lower.release)

        async def say_goodbye() -> None:
            assert lower.releases == 0
            await asyncio.sleep(0.01)
            assert lower.releases == 0

        scope.push_async_callback(lambda: asyncio.ensure_future(say_goodbye()))
        await asyncio.sleep(0.01)


@scenario
async def released_in_the_context_of_the_host(bubble: Bubble) -> None:
    """Whatever lies above, in a child as well: a token is good in its own context only."""

    def enter_span(scope: Scope) -> None:
        scope.callback(span.reset, span.set("inside"))

    span.set("outside")
    try:
        async with Scope() as scope:
            enter_span(scope)
            await scope.acquire(connect, bubble, "above", release=disconnect)
            child = scope.child()
            enter_span(child)
            await child.acquire(connect, bubble, "above in the child", release=disconnect)
            await asyncio.sleep(0.01)
    finally:
        assert span.get() == "outside"


@scenario
async def released_slots_of_rude_hooks(bubble: Bubble) -> None:
    """Hooks that raise a cancellation that nobody has asked for: every task has its turn."""

    class Rude:
        def _raise(self, *args: Any) -> None:
            raise asyncio.CancelledError("of a hook")

        queued = before = after = _raise

    async with TaskManager("rude", limit=1, hooks=[Rude()]) as manager:
        handles = [manager.start_soon(work, bubble, f"work {number}", 0.01) for number in range(3)]
        await manager.drain()
        assert all(handle.done() for handle in handles)


class Unkind:
    """Comes whether it is wanted or not, and raises a cancellation of its own when it goes."""

    def __init__(self, bubble: Bubble, name: str) -> None:
        self.bubble = bubble
        self.name = name

    async def come(self, *_: object) -> Unkind:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        return self.begin()

    def begin(self) -> Unkind:
        self.token = self.bubble.ledger.acquire(self.name)
        return self

    async def go(self, *_: object) -> None:
        self.token.release()
        raise asyncio.CancelledError("its own")

    __aenter__, __aexit__ = come, go


@scenario
async def released_by_a_cancellation_of_its_own(bubble: Bubble) -> None:
    """What came too late for its caller, and the close of a pair: they fail, and cancel nobody."""
    host: Any = asyncio.current_task()

    async def forever(*_: object) -> None:
        await asyncio.sleep(60)

    async def acquire_late() -> None:
        async with Scope() as scope:
            with suppress(TimeoutError):
                await scope.acquire(Unkind(bubble, "acquired").come, release=Unkind.go, timeout=0.01)

    async def enter_late() -> None:
        async with Scope() as scope:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await scope.enter(Unkind(bubble, "entered"))

    async def close_a_pair() -> None:
        async with ReaderWorker(forever, forever, close=Unkind(bubble, "paired").begin().go):
            await asyncio.sleep(0.01)

    for use in (acquire_late, enter_late, close_a_pair):
        try:
            await use()
        except (TaskCancelled, BaseExceptionGroup):
            pass
        except asyncio.CancelledError:
            assert host.cancelling() > 0
            raise
        await asyncio.sleep(0)  # what has come beside an error is met


@scenario
async def released_slots_of_a_rude_on_error(bubble: Bubble) -> None:
    """A handler of errors that raises one itself, or a cancellation that nobody has asked for, keeps no slot."""

    async def fail() -> None:
        await work(bubble, "failing", 0.01)
        raise KeyError("planned")

    def rude(handle: TaskHandle[Any], error: BaseException) -> None:
        raise asyncio.CancelledError("of a handler")

    async with TaskManager("rude", limit=1, on_error=rude) as manager:
        handles = [manager.start_soon(fail) for _ in range(3)]
        await manager.drain()
        assert all(handle.done() for handle in handles)


@scenario
async def released_before_their_turn(bubble: Bubble) -> None:
    """A task, and a context manager that is being entered: what each leaves is over when its release returns."""

    async def forever() -> None:
        with bubble.ledger.acquire("task", kind="work"):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)

    async def enter() -> None:
        with suppress(TaskCancelled):
            await scope.enter(coming)

    coming = plain_connection(bubble)
    async with Scope() as scope, TaskGroup() as group:
        handle = scope.start_soon(forever)
        group.start_soon(enter)
        await asyncio.sleep(0)
        with suppress(LookupError):  # if entering it was interrupted, or has not begun
            await scope.release(coming)
        await scope.release(handle)
        assert handle.cancelled()


class Rudeness(BaseException):
    """No kind of error that a program should expect."""


@scenario
async def released_runs_of_rude_hooks(bubble: Bubble) -> None:
    """Of a timer: what they raise, the timer does not."""

    class Rude:
        def _raise(self, *args: Any) -> None:
            raise Rudeness

        missed = after = _raise

    timer = fixed_rate(lambda: work(bubble, "run", 0.025), 0.02, max_runs=3, hooks=[Rude()], name="rude")
    async with TaskManager("timers", drain_timeout=1, on_error=ignore_error) as manager:
        handle = manager.start_soon(timer)
        await handle.wait()
        assert handle.cancelled() or not isinstance(handle.exception(), Rudeness)
