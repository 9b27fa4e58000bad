"""Eager first steps: what is started in the step of who will wait for it closes and drains without waiting for itself.

On a loop that starts tasks eagerly, and in what is eager by itself, whoever starts a task waits for it only after the
first step of that, in which it may have closed already what the starter belongs to.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle import ConnectError, Pool, ReaderWorker, Registry, Scope, Stages, TaskManager, connect, serve_tcp
from lifecycle._ground.starts import is_in_step_of_starter, spawn_eagerly

from ..loops import on_every_loop, run_on, some_turns

Inner = Callable[[], Awaitable[object]]
Start = Callable[[Inner], Awaitable[None]]

#: Seconds that nothing in here takes; what waits for itself waits for ever.
ENOUGH = 10.0


async def as_coroutine(inner: Inner) -> None:
    await inner()


# How it is started, by whom waits for it


async def awaited(inner: Inner) -> None:
    await asyncio.create_task(as_coroutine(inner))


async def gathered(inner: Inner) -> None:
    await asyncio.gather(inner(), inner(), inner())


async def gathered_in_a_gathered(inner: Inner) -> None:
    await asyncio.gather(gathered(inner), asyncio.sleep(0), gathered(inner))


async def in_a_group(inner: Inner) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(as_coroutine(inner))
        group.create_task(as_coroutine(inner))


async def in_a_group_of_anyio(inner: Inner) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(inner)


async def in_an_eager_manager(inner: Inner) -> None:
    async with TaskManager(eager=True) as manager:
        await manager.start_soon(as_coroutine, inner)


async def in_a_release(inner: Inner) -> None:
    async def released() -> None:
        async with Scope(close_timeout=None) as scope:
            scope.push_async_callback(inner)

    await asyncio.gather(released())


STARTS: dict[str, Start] = {
    start.__name__.replace("_", " "): start
    for start in (
        awaited,
        gathered,
        gathered_in_a_gathered,
        in_a_group,
        in_a_group_of_anyio,
        in_an_eager_manager,
        in_a_release,
    )
}


# What it does


async def task_closes_its_manager(start: Start) -> None:
    async with TaskManager(drain_timeout=None, cancel_timeout=None) as manager:
        manager.start_soon(start, manager.aclose)


async def task_drains_its_manager(start: Start) -> None:
    async with TaskManager(drain_timeout=None) as manager:
        manager.start_soon(start, manager.drain)


async def task_leaves_the_block_of_its_manager(start: Start) -> None:
    manager = TaskManager(drain_timeout=None, cancel_timeout=None)
    manager.start_soon(start, functools.partial(manager.__aexit__, None, None, None))
    await manager.wait()
    await some_turns()


async def task_closes_its_scope(start: Start) -> None:
    scope = Scope(close_timeout=None)
    await scope.start_soon(start, scope.aclose).wait()


async def task_leaves_the_block_of_its_scope(start: Start) -> None:
    scope = Scope(close_timeout=None)
    await scope.start_soon(start, functools.partial(as_block, scope)).wait()


async def as_block(scope: Scope) -> None:
    try:
        async with scope:
            pass
    except anyio.ClosedResourceError:  # one of several has entered it before
        pass


async def release_closes_its_scope(start: Start) -> None:
    async with Scope(close_timeout=None) as scope:
        scope.push_async_callback(start, scope.aclose)


async def body_of_a_child_closes_its_scope(start: Start) -> None:
    scope = Scope(close_timeout=None)

    async def host() -> None:
        async with scope.child():
            await start(scope.aclose)

    await asyncio.create_task(host())
    await scope.aclose()


async def release_releases_itself(start: Start) -> None:
    async with Scope(close_timeout=None) as scope:
        value = await scope.acquire(object, release=lambda value: start(lambda: scope.release(value)))
        await scope.release(value)


async def finalizer_closes_its_registry(start: Start) -> None:
    registry = Registry[int, int](close_timeout=None, finalizer=lambda _: start(registry.aclose))
    async with registry:
        registry.put(1, 1)


async def finalizer_clears_its_registry(start: Start) -> None:
    registry = Registry[int, int](close_timeout=None, finalizer=lambda _: start(registry.clear))
    async with registry:
        registry.put(1, 1)
        await registry.clear()


async def destroyer_closes_its_pool(start: Start) -> None:
    pool = Pool[int](lambda: 1, lambda _: start(pool.aclose), max_size=1, close_timeout=None)
    async with pool, pool.acquire():
        pass


async def borrower_drains_its_pool(start: Start) -> None:
    async with Pool[int](lambda: 1, lambda _: None, max_size=1) as pool, pool.acquire():
        await start(pool.drain)


async def loop_closes_its_pair(start: Start) -> None:
    async def reader(send: Any) -> None:
        await asyncio.Event().wait()

    async def worker(receive: Any) -> None:
        await start(pair.aclose)

    pair = ReaderWorker[int](reader, worker, close_timeout=None)
    async with pair:
        await pair.wait()


async def closing_of_a_pair_closes_it(start: Start) -> None:
    async def reader(send: Any) -> None:
        pass

    async def worker(receive: Any) -> None:
        await asyncio.Event().wait()

    pair = ReaderWorker[int](reader, worker, close=lambda: start(pair.aclose), drain_timeout=0.0, close_timeout=None)
    async with pair:
        await pair.wait()


async def handler_closes_its_server(start: Start) -> None:
    async def handler(stream: Any) -> None:
        await start(server.aclose)

    async with serve_tcp(handler, "127.0.0.1", 0, drain_timeout=None) as server:
        await connect_to(server)


async def handler_drains_its_server(start: Start) -> None:
    async def handler(stream: Any) -> None:
        await start(server.drain)

    async with serve_tcp(handler, "127.0.0.1", 0, drain_timeout=None) as server:
        await connect_to(server)


async def connect_to(server: Any) -> None:
    """Be served to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def stage_closes_its_connect(start: Start) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(make, release=lambda _: None)

    async def make() -> None:
        await some_turns()
        await start(attempt.aclose)

    attempt = connect(connector)
    with pytest.raises(ConnectError):
        await attempt


async def stage_awaits_its_connect(start: Start) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(make, release=lambda _: None)

    async def make() -> None:
        await some_turns()
        await start(ask)

    async def ask() -> None:
        with pytest.raises(RuntimeError, match="its own connector"):
            await attempt

    attempt = connect(connector)
    await attempt


OPERATIONS: dict[str, Callable[[Start], Awaitable[None]]] = {
    operation.__name__.replace("_", " "): operation
    for operation in (
        task_closes_its_manager,
        task_drains_its_manager,
        task_leaves_the_block_of_its_manager,
        task_closes_its_scope,
        task_leaves_the_block_of_its_scope,
        release_closes_its_scope,
        body_of_a_child_closes_its_scope,
        release_releases_itself,
        finalizer_closes_its_registry,
        finalizer_clears_its_registry,
        destroyer_closes_its_pool,
        borrower_drains_its_pool,
        loop_closes_its_pair,
        closing_of_a_pair_closes_it,
        handler_closes_its_server,
        handler_drains_its_server,
        stage_closes_its_connect,
        stage_awaits_its_connect,
    )
}


@on_every_loop
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_first_step_waits_for_its_starter(new_loop: Any, operation: str) -> None:
    """Each operation, started in each way, in the first step of what its owner waits for."""

    async def main() -> None:
        for how, start in STARTS.items():
            try:
                async with asyncio.timeout(ENOUGH):
                    await OPERATIONS[operation](start)
            except BaseException as error:
                error.add_note(how)
                raise

    run_on(new_loop, main())


@on_every_loop
def test_only_a_first_step_inside_another_is_one(new_loop: Any) -> None:
    """Neither one that a callback has begun, nor any later step."""
    found: dict[str, list[bool]] = {}

    async def look(name: str) -> None:
        task: Any = asyncio.current_task()
        found[name] = [is_in_step_of_starter(task)]
        await asyncio.sleep(0)
        found[name].append(is_in_step_of_starter(task))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        started: list[asyncio.Task[None]] = []
        await look("main")
        await spawn_eagerly(look("ours"))
        await asyncio.create_task(look("a task"))
        loop.call_soon(lambda: started.append(spawn_eagerly(look("of a callback"))))
        await some_turns()
        await started[0]

    run_on(new_loop, main())
    eager = sys.version_info >= (3, 12)
    assert found == {
        "main": [False, False],
        "ours": [eager, False],
        "a task": [new_loop.__name__ == "eager_loop", False],
        "of a callback": [False, False],
    }
