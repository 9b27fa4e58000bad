"""Blocks of every owner that run until they are interrupted, and then close slowly: rows of the guarantees' tables."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    TaskManager,
    connect,
    gather,
    keep_connected,
    link,
    race,
    serve_tcp,
)

FOREVER = 3600.0


@dataclass
class Stage:
    """Where a row stands, and what it does next."""

    fails: bool
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    interrupt: Callable[[], object] = lambda: None
    hit: Callable[[], object] = lambda: None

    async def close(self, *_: object) -> None:
        """Release something, slowly; the first to be asked fails where the row says so."""
        self.closing.set()
        await self.goes_on.wait()
        if self.fails:
            self.fails = False
            raise ValueError("inner")

    async def serve(self, *_: object) -> None:
        """Run until it is cancelled, and end slowly."""
        self.opened.set()
        try:
            await asyncio.sleep(FOREVER)
        finally:
            await self.close()

    async def stay(self) -> None:
        """Be the body of a block, until that is interrupted."""
        self.opened.set()
        await asyncio.sleep(FOREVER)

    async def make(self) -> object:
        """Make a thing."""
        return object()

    @asynccontextmanager
    async def thing(self) -> AsyncIterator[None]:
        """Stand for a thing that is released slowly."""
        try:
            yield
        finally:
            await self.close()


Inner = Callable[[Stage], Awaitable[None]]


async def scope_with_a_callback(stage: Stage) -> None:
    async with Scope() as scope:
        scope.push_async_callback(stage.close)
        await stage.stay()


async def scope_with_a_held_manager(stage: Stage) -> None:
    async with Scope() as scope:
        await scope.enter(stage.thing())
        await stage.stay()


async def scope_with_an_inline_scope(stage: Stage) -> None:
    async with Scope() as scope:
        inner = await scope.enter_async_context(Scope())
        inner.push_async_callback(stage.close)
        await stage.stay()


async def scope_with_a_child(stage: Stage) -> None:
    async with Scope() as scope:
        scope.child().push_async_callback(stage.close)
        await stage.stay()


async def scope_with_a_task(stage: Stage) -> None:
    async with Scope() as scope:
        scope.start_soon(stage.serve)
        await asyncio.sleep(FOREVER)


async def scope_in_a_scope(stage: Stage) -> None:
    async with Scope(), Scope() as scope:
        scope.push_async_callback(stage.close)
        await stage.stay()


async def scope_in_a_stack(stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        scope = await stack.enter_async_context(Scope())
        scope.push_async_callback(stage.close)
        await stage.stay()


async def scope_closed_by_hand(stage: Stage) -> None:
    scope = Scope()
    scope.push_async_callback(stage.close)
    try:
        await stage.stay()
    finally:
        await scope.aclose()


async def making(stage: Stage) -> None:
    async with Scope() as scope:
        await scope.acquire(stage.serve, release=lambda _: None)


async def group(stage: Stage) -> None:
    async with TaskGroup() as tasks:
        tasks.start_soon(stage.serve)
        await asyncio.sleep(FOREVER)


async def group_that_joins(stage: Stage) -> None:
    async with TaskGroup() as tasks:
        tasks.start_soon(stage.serve)


async def manager(stage: Stage) -> None:
    async with TaskManager(drain_timeout=0.0) as tasks:
        tasks.start_soon(stage.serve)
        await asyncio.sleep(FOREVER)


async def pool(stage: Stage) -> None:
    async with Pool(object, stage.close, max_size=1) as values:
        async with values.acquire():
            pass
        await stage.stay()


async def registry(stage: Stage) -> None:
    async with Registry[str, int](finalizer=stage.close) as values:
        values.put("key", 1)
        await stage.stay()


async def creating(stage: Stage) -> None:
    async with Registry[str, int]() as values:
        await values.get_or_create("key", stage.serve)


async def borrowing(stage: Stage) -> None:
    async with Pool(stage.serve, lambda _: None, max_size=1) as values, values.acquire():
        pass


async def entering(stage: Stage) -> None:
    @asynccontextmanager
    async def thing() -> AsyncIterator[None]:
        await stage.serve()
        yield

    async with Scope() as scope:
        await scope.enter(thing())


async def starting(stage: Stage) -> None:
    async def service(*, task_status: Any) -> None:
        await stage.serve()

    async with Scope() as scope:
        await scope.start(service)


async def connected(stage: Stage) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(stage.make, release=stage.close)

    async with connect(connector):
        await stage.stay()


async def connecting(stage: Stage) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(stage.make, release=stage.close)
        await stages.step(stage.stay())

    await connect(connector)


async def keeping(stage: Stage) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(stage.make, release=stage.close)

    async with keep_connected(connector) as kept:
        await kept.get()
        await stage.stay()


async def keeping_until_told(stage: Stage) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(stage.make, release=id)

    async with keep_connected(connector, on_down=stage.close) as kept:
        await kept.get()
        await stage.stay()


async def serving(stage: Stage) -> None:
    async with serve_tcp(stage.serve, drain_timeout=0.0) as server:
        peer = socket.create_connection(("127.0.0.1", server.port))
        try:
            await asyncio.sleep(FOREVER)
        finally:
            peer.close()


async def pair(stage: Stage) -> None:
    async def worker(receive: Any) -> None:
        await stage.serve()

    async def reader(send: Any) -> None:
        await asyncio.sleep(FOREVER)

    async with ReaderWorker(reader, worker, drain_timeout=0.0):
        await asyncio.sleep(FOREVER)


async def linked(stage: Stage) -> None:
    await link(stage.serve)


async def racing(stage: Stage) -> None:
    await race(stage.serve)


async def gathering(stage: Stage) -> None:
    await gather(stage.serve())


INNER: dict[str, Inner] = {
    inner.__name__.replace("_", " "): inner
    for inner in (
        scope_with_a_callback,
        scope_with_a_held_manager,
        scope_with_an_inline_scope,
        scope_with_a_child,
        scope_with_a_task,
        scope_in_a_scope,
        scope_in_a_stack,
        scope_closed_by_hand,
        making,
        group,
        group_that_joins,
        manager,
        pool,
        registry,
        creating,
        borrowing,
        entering,
        starting,
        connected,
        connecting,
        keeping,
        keeping_until_told,
        serving,
        pair,
        linked,
        racing,
        gathering,
    )
}

#: Which of them tell a failure to somebody else than their caller.
TOLD_ELSEWHERE = {"manager", "creating", "keeping until told", "serving"}
