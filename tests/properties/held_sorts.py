"""The sorts of context managers that random programs hold, the ways to hold them, and what keeps a body waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

from lifecycle import Pool, Registry, Scope, Stages, TaskGroup, TaskManager, connect, gather, race, resource

from ..exits import Grouping, Plain, Reraising, Suppressing, client

TICK = 0.001

CM = AbstractAsyncContextManager[Any]


class Planned(Exception):
    """An error that a program plans; its number says which."""


class Played:
    """What a program that is being played knows of itself.

    Attributes:
        strike: have the event of the program happen, if its turn has come.
        log: what was entered (``+``) and left (``-``), by number, and when it had been (``.``).
    """

    def __init__(self, strike: Callable[[], None]) -> None:
        self.strike = strike
        self.log: list[tuple[str, int]] = []


class Told(Plain):
    """One that knows its program, and its owner."""

    def __init__(self, number: int, played: Played, owner: Any) -> None:
        super().__init__(number)
        self.played = played
        self.owner = owner


# The sorts


class Cancelled(Told):
    async def __aexit__(self, *details: object) -> None:
        raise asyncio.CancelledError("its own")


class Failing(Told):
    async def __aexit__(self, *details: object) -> None:
        raise Planned(self.number)


class FailingLate(Told):
    async def __aexit__(self, *details: object) -> None:
        await asyncio.sleep(TICK)
        raise Planned(self.number)


class Slow(Told):
    async def __aexit__(self, *details: object) -> None:
        self.played.strike()
        for _ in range(30):  # not seconds, which may have passed before others have had their turn
            await asyncio.sleep(0)


class ClosingItsOwner(Told):
    async def __aexit__(self, *details: object) -> None:
        if isinstance(self.owner, Scope):
            self.owner.cancel()
            await self.owner.aclose()


@asynccontextmanager
async def self_cancelling(number: int, *_: object) -> AsyncIterator[None]:
    with anyio.CancelScope() as scope:
        try:
            yield
        finally:
            scope.cancel()


@asynccontextmanager
async def generator(number: int, *_: object) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await asyncio.sleep(0)


@resource
async def a_resource(number: int, *_: object) -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)


@asynccontextmanager
async def failing_group(make: Callable[[], Any], number: int) -> AsyncIterator[None]:
    """Hold a group whose task fails while it is being left."""
    leaving = asyncio.Event()

    async def fail_then() -> None:
        try:
            await leaving.wait()
        finally:
            raise Planned(number)

    async with make() as group:
        start = group.create_task if isinstance(group, asyncio.TaskGroup) else lambda coro: group.start_soon(_of, coro)
        start(fail_then())
        try:
            yield
        finally:
            leaving.set()


async def _of(coro: Awaitable[Any]) -> None:
    await coro


@asynccontextmanager
async def joining_group(number: int, *_: object) -> AsyncIterator[None]:
    async with TaskGroup() as group:
        yield
        group.start_soon(asyncio.sleep, TICK)


@asynccontextmanager
async def busy_manager(number: int, *_: object) -> AsyncIterator[None]:
    async with TaskManager(drain_timeout=0) as manager:
        manager.start_soon(asyncio.sleep, 60)
        yield


@asynccontextmanager
async def creating_registry(number: int, *_: object) -> AsyncIterator[None]:
    """Hold a registry that is making a value for somebody when it is left."""
    async with Registry[str, None]() as registry:
        caller = asyncio.create_task(registry.get_or_create("key", lambda: asyncio.sleep(60)))
        caller.add_done_callback(asyncio.Task.exception)  # that it is closed
        await asyncio.sleep(0)
        yield


@asynccontextmanager
async def failing_registry(number: int, *_: object) -> AsyncIterator[None]:
    async def fail(value: int) -> None:
        await asyncio.sleep(0)
        raise Planned(value)

    async with Registry[str, int](finalizer=fail) as registry:
        registry.put("key", number)
        yield


@asynccontextmanager
async def failing_pool(number: int, *_: object) -> AsyncIterator[None]:
    async def fail(value: int) -> None:
        await asyncio.sleep(0)
        raise Planned(value)

    async with Pool(lambda: number, fail, max_size=1) as pool:
        async with pool.acquire():
            pass
        yield


@asynccontextmanager
async def connected(number: int, *_: object) -> AsyncIterator[None]:
    async def connector(stages: Stages) -> None:
        await stages.enter(generator(number))
        stages.start_soon(asyncio.sleep, 60)

    async with connect(connector):
        yield


def untold(cm: Callable[..., Any]) -> Callable[..., CM]:
    return lambda number, *_: cm(number)


SORTS: dict[str, Callable[[int, Played, Any], Any]] = {
    "plain": untold(Plain),
    "re-raising": untold(Reraising),
    "grouping": untold(Grouping),
    "suppressing": untold(Suppressing),
    "cancelled": Cancelled,
    "failing": Failing,
    "failing late": FailingLate,
    "slow": Slow,
    "closing its owner": ClosingItsOwner,
    "generator": generator,
    "resource": a_resource,
    "anyio client": untold(client),
    "self-cancelling": self_cancelling,
    "asyncio group": lambda *_: asyncio.TaskGroup(),
    "failing asyncio group": lambda number, *_: failing_group(asyncio.TaskGroup, number),
    "failing anyio group": lambda number, *_: failing_group(anyio.create_task_group, number),
    "failing group": lambda number, *_: failing_group(TaskGroup, number),
    "joining group": joining_group,
    "scope": lambda number, *_: Scope(f"held {number}"),
    "manager": busy_manager,
    "registry": creating_registry,
    "failing registry": failing_registry,
    "failing pool": failing_pool,
    "connection": connected,
}

#: These end with an error of their own, whatever they are given.
FAILING = {sort for sort in SORTS if sort.startswith("failing")}

#: These suspend when they are left inline, and meet there what anyio repeats.
SUSPENDING = {"slow", "generator", "resource", "joining group"}


# The ways to hold one


class Watched:
    """Keeps the log of one context manager."""

    def __init__(self, cm: Any, number: int, played: Played) -> None:
        self.cm = cm
        self.number = number
        self.log = played.log

    async def __aenter__(self) -> Any:
        value = await self.cm.__aenter__()
        self.log.append(("+", self.number))
        return value

    async def __aexit__(self, *details: Any) -> Any:
        self.log.append(("-", self.number))
        try:
            return await self.cm.__aexit__(*details)
        finally:
            self.log.append((".", self.number))

    async def leave(self, *_: object) -> None:
        await self.__aexit__(None, None, None)


@resource
async def as_resource(cm: Any) -> AsyncIterator[None]:
    async with cm:
        yield


@asynccontextmanager
async def as_generator(cm: Any) -> AsyncIterator[None]:
    async with cm:
        yield


async def as_value(owner: Any, cm: Watched) -> None:
    await owner.acquire(cm.__aenter__, release=cm.leave)


async def by_callback(scope: Scope, cm: Watched) -> None:
    await cm.__aenter__()
    scope.push_async_callback(cm.leave)


async def in_pool(owner: Any, cm: Watched) -> None:
    pool = await owner.enter(Pool(cm.__aenter__, cm.leave, max_size=1))
    async with pool.acquire():
        pass


async def in_registry(owner: Any, cm: Watched) -> None:
    registry = await owner.enter(Registry[str, Any](finalizer=cm.leave))
    await registry.get_or_create("key", cm.__aenter__)


Hold = Callable[[Any, Watched], Awaitable[Any]]

#: Held in a task, which tells the context manager of what is in flight.
TELLING: dict[str, Hold] = {
    "enter": lambda owner, cm: owner.enter(cm),
    "@resource": lambda owner, cm: owner.enter(as_resource(cm)),
    "@asynccontextmanager": lambda owner, cm: owner.enter(as_generator(cm)),
}

#: Ended as values are, without an error in flight.
ENDING: dict[str, Hold] = {"acquire": as_value, "pool": in_pool, "registry": in_registry}

WAYS: dict[str, Hold] = {
    **TELLING,
    **ENDING,
    "callback": by_callback,
    "inline": lambda scope, cm: scope.enter_async_context(cm),
}


# What keeps a body waiting: for ever, unless it is interrupted


async def forever(*_: object, **__: object) -> None:
    await asyncio.sleep(60)


class Never(Plain):
    """One that is never entered."""

    async def __aenter__(self) -> None:
        await forever()


def nothing(*_: object) -> None:
    pass


async def borrow(scope: Scope) -> None:
    pool = await scope.enter(Pool(lambda: 1, nothing, max_size=1))
    async with pool.acquire(), pool.acquire(timeout=3600):  # without one, it would be told that it waits for itself
        pass


async def create(scope: Scope) -> None:
    registry = await scope.enter(Registry[str, None]())
    await registry.get_or_create("key", forever)


async def spawn(scope: Scope) -> None:
    manager = await scope.enter(TaskManager(limit=1, drain_timeout=0))
    manager.start_soon(forever)
    await manager.spawn(forever)


async def join(scope: Scope) -> None:
    async with TaskGroup() as group:
        group.start_soon(forever)


async def work_under_a_shield(scope: Scope) -> None:
    with anyio.CancelScope(shield=True):
        await asyncio.sleep(2 * TICK)
    await forever()


async def close_another(scope: Scope) -> None:
    other = Scope()
    other.push_async_callback(asyncio.sleep, 2 * TICK)
    await other.aclose()
    await forever()


async def wait_for(scope: Scope) -> None:
    await scope.start_soon(forever)


WAITS: dict[str, Callable[[Scope], Awaitable[Any]]] = {
    "sleeping": forever,
    "entering": lambda scope: scope.enter(Never()),
    "acquiring": lambda scope: scope.acquire(forever, release=forever),
    "starting": lambda scope: scope.start(forever),
    "borrowing": borrow,
    "creating": create,
    "spawning": spawn,
    "joining": join,
    "gathering": lambda scope: gather(forever()),
    "racing": lambda scope: race(forever, forever),
    "connecting": lambda scope: _connect(),
    "shielded": work_under_a_shield,
    "closing": close_another,
    "waiting": wait_for,
}


async def _connect() -> None:
    async with connect(forever):
        pass


# Blocks that a program can be in

BLOCKS: dict[str, Callable[[int], Any]] = {
    "manager": busy_manager,
    "registry": creating_registry,
    "failing registry": failing_registry,
    "failing pool": failing_pool,
    "group": lambda number: TaskGroup(),
    "asyncio group": lambda number: asyncio.TaskGroup(),
    "connection": connected,
    "asyncio.timeout": lambda number: asyncio.timeout(60),
    "anyio scope": lambda number: _in_anyio_scope(),
}


@asynccontextmanager
async def _in_anyio_scope() -> AsyncIterator[None]:
    with anyio.move_on_after(60):
        yield
