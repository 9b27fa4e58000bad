"""Crossings: what goes from one task to another: interruptions, shields, and the cancellation that an exit is given."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio

from lifecycle import Scope, TaskGroup, TaskManager

from ._table import scenario

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lifecycle.testing import Bubble


async def shielded_nearly_always(bubble: Bubble) -> None:
    """Work as a loop over worker threads does: a shield, a bare yield, a shield."""
    with bubble.ledger.acquire("loop", kind="work"):
        while True:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0)


@scenario
async def crossing_shielded_loops_are_stopped(bubble: Bubble) -> None:
    """By a scope, a group and a manager, at the end of the section at hand."""
    began = bubble.clock.time()
    async with Scope("loops", close_timeout=5) as scope:
        scope.start_soon(shielded_nearly_always, bubble)
        manager = await scope.enter(TaskManager("loops", drain_timeout=0, cancel_timeout=5))
        manager.start_soon(shielded_nearly_always, bubble)
        async with TaskGroup() as group:
            group.start_soon(shielded_nearly_always, bubble)
            await asyncio.sleep(0.03)
            group.cancel()
    assert bubble.clock.time() - began < 1


async def wait_to_be_ended(owner: Scope | TaskGroup) -> None:
    timer = asyncio.get_running_loop().call_later(0.01, owner.cancel)
    try:
        await asyncio.sleep(60)
    finally:
        timer.cancel()


@scenario
async def crossing_blocks_inside_a_shield(bubble: Bubble) -> None:
    """A block that is asked to end ends, whatever shield is around it."""
    began = bubble.clock.time()
    with anyio.CancelScope(shield=True):
        async with Scope("inside") as scope:
            await wait_to_be_ended(scope)
        async with TaskGroup() as group:
            await wait_to_be_ended(group)
    assert bubble.clock.time() - began < 1


@scenario
async def crossing_requests_while_a_block_is_left(bubble: Bubble) -> None:
    """The owner is asked twice, the second time while its body is being left; nothing of it is met behind the block."""
    for owner in (Scope(), TaskGroup()):
        async with owner:
            asyncio.get_running_loop().call_soon(owner.cancel)
            owner.cancel()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def swallowing(bubble: Bubble, name: str) -> AsyncIterator[None]:
    """Swallow whatever comes, after a wait."""
    with bubble.ledger.acquire(name, kind="session"):
        with suppress(BaseException):
            yield
        await asyncio.sleep(0.01)


@scenario
async def crossing_a_held_exit_swallows(bubble: Bubble) -> None:
    """The deadline around it is met nevertheless, and no cancellation is left over."""
    with anyio.move_on_after(0.05) as deadline:
        async with Scope("deadline") as scope:
            await scope.enter(swallowing(bubble, "first"))
            await scope.enter(swallowing(bubble, "second"))
            await asyncio.sleep(60)
    assert deadline.cancelled_caught
    await asyncio.sleep(0.01)


async def fail() -> None:
    raise ValueError("while leaving")


@scenario
async def crossing_requests_beside_an_error(bubble: Bubble) -> None:
    """The request comes after the error of the block: to the exits around it, and to a block that begins meanwhile."""
    met: list[type[BaseException] | None] = []
    reached: list[str] = []

    async def suppress_failure(kind: type[BaseException] | None, *_: object) -> bool:
        met.append(kind)
        return kind is ValueError

    async def in_a_block() -> None:
        try:
            async with Scope("around") as around:
                for _ in range(2):
                    around.push_async_exit(suppress_failure)
                async with Scope("inside") as inside:
                    inside.push_async_callback(fail)
                    await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            if error.args == ("mine",) and met[0] is ValueError:
                assert met[1] is asyncio.CancelledError
            raise

    async def before_a_block() -> None:
        with suppress(ValueError):
            async with Scope("first") as first:
                first.push_async_callback(fail)
                await asyncio.sleep(60)
        async with Scope("second") as second:
            second.cancel()
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        reached.append("the end")

    async with Scope("hosts") as scope:
        hosts = [scope.start_soon(in_a_block), scope.start_soon(before_a_block)]
        await asyncio.sleep(0.01)
        for host in hosts:
            host.cancel("mine")
            await host.wait()
    assert not reached
