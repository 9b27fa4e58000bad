"""Scope: unwinding, children, closers, failing tasks, timeouts around it, handshakes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio

from lifecycle import OwnerClosed, Scope
from lifecycle._group.gather import gather
from lifecycle._group.group import TaskGroup
from lifecycle._scope.unwind import BREATH_EVERY

from ._table import connect, disconnect, scenario, session, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token


@scenario
async def scope_unwinds_in_order(bubble: Bubble) -> None:
    """Resources, tasks and context managers in one ledger: each task ends before what is older goes."""
    async with Scope("session") as scope:
        first = await scope.acquire(connect, bubble, "first", release=disconnect)
        scope.start_soon(_uses, bubble, first)
        second = await scope.enter(session(bubble, "second"))
        scope.start_soon(_uses, bubble, second)
        scope.callback(_check_released, second)
        await asyncio.sleep(0.03)


async def _uses(bubble: Bubble, token: Token) -> None:
    try:
        await work(bubble, f"user of {token.name}", 1)
    finally:
        assert not token.releases, f"{token.name} was released under its user"


def _check_released(token: Token) -> None:
    assert not token.releases


@scenario
async def scope_of_a_thousand(bubble: Bubble) -> None:
    """So many releases that do not suspend that the close gives the loop a turn, in which it can be cancelled."""
    called = 0

    def call() -> None:
        nonlocal called
        called += 1

    scope = Scope("long")
    bottom = bubble.ledger.acquire("bottom", kind="resource")
    scope.push_async_callback(disconnect, bottom)
    for _ in range(BREATH_EVERY + 1):
        scope.callback(call)
    try:
        with anyio.CancelScope() as around:
            asyncio.get_running_loop().call_soon(around.cancel)
            await scope.aclose()
    finally:
        assert scope.closed
        assert called == BREATH_EVERY + 1
        assert bottom.releases == 1


@scenario
async def scope_children(bubble: Bubble) -> None:
    """A tree of scopes, one closed early, the others by their owner."""
    async with Scope("root") as root:
        left, right = root.child("left"), root.child("right")
        await left.acquire(connect, bubble, "in left", release=disconnect)
        right.start_soon(work, bubble, "in right", 1)
        await right.acquire(connect, bubble, "deep", release=disconnect)
        await left.aclose()
        await asyncio.sleep(0.01)


@scenario
async def scope_closed_by_another_task(bubble: Bubble) -> None:
    """Two closers, a task that acquires while they close, and one that comes too late."""
    scope = Scope("shared")
    try:
        await scope.acquire(connect, bubble, "held", release=disconnect)

        async def acquires() -> None:
            with contextlib.suppress(OwnerClosed):
                await scope.acquire(connect, bubble, "late", release=disconnect)

        async with TaskGroup() as group:
            group.create_task(acquires())
            group.create_task(scope.aclose())
            group.create_task(scope.aclose())
            await asyncio.sleep(0.01)
            group.create_task(acquires())
    finally:
        await scope.aclose()


@scenario
async def scope_with_a_failing_task(bubble: Bubble) -> None:
    """A task that fails interrupts the body; everything is unwound and the error raised."""

    async def fails() -> None:
        await asyncio.sleep(0.02)
        raise KeyError("planned")

    with contextlib.suppress(KeyError):
        async with Scope("failing") as scope:
            await scope.acquire(connect, bubble, "held", release=disconnect)
            scope.start_soon(fails)
            scope.start_soon(work, bubble, "bystander", 1)
            await asyncio.sleep(5)
    await asyncio.sleep(0)  # a cancellation that came together with the error is delivered at the next wait


@scenario
async def scope_inside_timeouts_and_groups(bubble: Bubble) -> None:
    """A scope inside asyncio.timeout, inside an anyio task group, with a timeout that fires."""
    async with anyio.create_task_group() as group:
        group.start_soon(work, bubble, "neighbour", 0.05)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.03), Scope("inner") as scope:
                await scope.acquire(connect, bubble, "held", release=disconnect)
                scope.start_soon(work, bubble, "worker", 1)
                await asyncio.sleep(5)


@scenario
async def scope_start_handshake(bubble: Bubble) -> None:
    """A task that reports when it is ready, one that is slow to, and a body that waits for both."""

    async def serves(delay: float, *, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        with bubble.ledger.acquire(f"server {delay}"):
            await asyncio.sleep(delay)
            task_status.started("ready")
            await asyncio.sleep(1)

    async with Scope("servers") as scope:
        assert await scope.start(serves, 0.01) == "ready"
        assert await scope.start(serves, 0.02) == "ready"
        await asyncio.sleep(0.01)


@scenario
async def scope_late_values(bubble: Bubble) -> None:
    """Three tasks acquire from one scope; what one of them did not get is gone before the scope is closed."""
    got: list[Token] = []
    async with Scope("shared") as scope:

        async def acquires(name: str) -> None:
            got.append(await scope.acquire(connect, bubble, name, release=disconnect))

        await gather(*[acquires(name) for name in "abc"], return_exceptions=True)
        await asyncio.sleep(0.05)
        alive = [token for token in bubble.ledger.live if token.kind == "connection"]
        assert len(alive) == len(got), f"{len(alive)} connections are alive, {len(got)} were handed out"


@scenario
async def scope_factory_that_cannot_be_cancelled(bubble: Bubble) -> None:
    """A value that arrives after its caller's timeout, one after its caller's cancel, and one in time."""

    async def shielded(name: str) -> Token:
        with anyio.CancelScope(shield=True):
            return await connect(bubble, name)

    async with Scope("shared") as scope:
        await scope.acquire(shielded, "in time", release=disconnect)
        with contextlib.suppress(TimeoutError):
            await scope.acquire(shielded, "too late", release=disconnect, timeout=0.005)
        leaver = asyncio.create_task(scope.acquire(shielded, "left alone", release=disconnect))
        try:
            await asyncio.sleep(0.005)
        finally:
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)


@scenario
async def scope_handed_over(bubble: Bubble) -> None:
    """What was made is handed to an heir while tasks of it run; the heir is closed by two, one of them late."""
    async with Scope("maker") as maker:
        await maker.acquire(connect, bubble, "held", release=disconnect)
        maker.start_soon(work, bubble, "worker", 1)
        maker.start_soon(work, bubble, "quick worker", 0.01)
        await asyncio.sleep(0.005)
        maker.start_soon(work, bubble, "new worker", 0.01)
        heir = maker.pop_all()
    try:
        await asyncio.sleep(0.02)
        assert heir.statistics().tasks < 2, "the heir keeps a task that has ended"
        async with TaskGroup() as group:
            group.create_task(heir.aclose())
            await asyncio.sleep(0.005)
            group.create_task(heir.aclose())
    finally:
        await heir.aclose()


@scenario
async def scope_handed_over_on_arrival(bubble: Bubble) -> None:
    """A value is handed to an heir after it has come and before its caller goes on, or leaves and has it undone."""
    heirs: list[Scope] = []

    async def make(maker: Scope) -> Token:
        token = await connect(bubble, "held")
        asyncio.get_running_loop().call_soon(lambda: heirs.append(maker.pop_all()))
        return token

    try:
        async with Scope("maker") as maker:
            await maker.acquire(make, maker, release=disconnect)
    except BaseException:
        assert not any(heir.statistics().live for heir in heirs), "the heir keeps what nobody has got"
        raise
    finally:
        for heir in heirs:
            await heir.aclose()


@scenario
async def scope_callbacks(bubble: Bubble) -> None:
    """Calls of both kinds between resources, and one that comes while they are made."""
    made = bubble.ledger.acquire("buffer")

    async def late() -> None:
        await asyncio.sleep(0.01)
        with contextlib.suppress(OwnerClosed):
            scope.push_async_callback(asyncio.sleep, 0.01)

    async with TaskGroup() as group, Scope("calls") as scope:
        scope.callback(made.release)
        for _ in range(2):
            scope.push_async_callback(asyncio.sleep, 0.01)
        held = await scope.acquire(connect, bubble, "held", release=disconnect)
        scope.callback(_check_held, held)
        scope.push_async_callback(asyncio.sleep, 0.01)
        group.create_task(late())


def _check_held(token: Token) -> None:
    assert not token.releases, f"{token.name} was released before what came after it"
