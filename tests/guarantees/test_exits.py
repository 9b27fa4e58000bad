"""Guarantee 14 at the end of the process: `sys.exit` in a task ends it, and asyncio has nothing to say about that."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import pytest

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    TaskManager,
    connect,
    fixed_rate,
    gather,
    keep_connected,
    link,
    race,
    run,
    serve_tcp,
)

Owner = Callable[[], Coroutine[Any, Any, object]]

OWNERS: dict[str, Owner] = {}


def owner(main: Owner) -> Owner:
    """Enter a program in which something that belongs to an owner ends the process."""
    OWNERS[main.__name__] = main
    return main


async def leave(*_: object) -> NoReturn:
    await asyncio.sleep(0.01)
    sys.exit(3)


async def forever(*_: object) -> None:
    await asyncio.Event().wait()


@owner
async def scope() -> None:
    async with Scope() as scope:
        scope.start_soon(leave)
        await forever()


@owner
async def scope_without_a_block() -> None:
    scope = Scope()
    scope.start_soon(leave)
    await forever()


@owner
async def release() -> None:
    async with Scope() as scope:
        scope.push_async_callback(leave)


class Leaving:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None:
        await leave()


@owner
async def held_context_manager() -> None:
    async with Scope() as scope:
        await scope.enter(Leaving())


@owner
async def factory() -> None:
    async with Scope() as scope:
        await scope.acquire(leave, release=print)


@owner
async def manager() -> None:
    async with TaskManager() as manager:
        manager.start_soon(leave)


@owner
async def group() -> None:
    async with TaskGroup() as group:
        group.start_soon(leave)
        group.create_task(forever())


@owner
async def native_task_of_a_group() -> None:
    async with TaskGroup() as group:
        group.create_task(leave())
        group.start_soon(forever)


@owner
async def gathered() -> None:
    await gather(leave(), forever())


@owner
async def raced() -> None:
    await race(leave, forever)


@owner
async def creation() -> None:
    async with Registry[str, object]() as registry:
        await registry.get_or_create("key", leave)


@owner
async def finalizer() -> None:
    async with Registry[str, object](finalizer=leave) as registry:
        registry.put("key", object())


@owner
async def pool() -> None:
    async with Pool[object](leave, leave, max_size=1) as pool, pool.acquire():
        pass


@owner
async def end_of_a_value() -> None:
    async with Pool(object, leave, max_size=1) as pool, pool.acquire():
        pass


@owner
async def pair() -> None:
    async with ReaderWorker(leave, forever) as pair:
        await pair.wait()


@owner
async def close_of_a_pair() -> None:
    async with ReaderWorker(forever, forever, close=leave):
        await asyncio.sleep(0.01)


def leave_at_once(*_: object) -> NoReturn:
    sys.exit(3)


async def leave_in_the_first_step(*_: object) -> NoReturn:
    sys.exit(3)


@owner
async def synchronous_close_of_a_pair() -> None:
    async with ReaderWorker(forever, forever, close=leave_at_once) as pair:
        pair.cancel()
        await forever()


@owner
async def close_of_a_pair_that_is_waited_for() -> None:
    async with ReaderWorker(forever, forever, close=leave) as pair:
        pair.cancel()
        await pair.wait()
        await forever()


@owner
async def first_step_of_a_reader() -> None:
    async with ReaderWorker(leave_in_the_first_step, forever, close_timeout=30) as pair:
        await pair.wait()


@owner
async def linked() -> None:
    await link(leave, forever)


@owner
async def close_of_linked_loops() -> None:
    await link(leave_nothing, forever, close=leave_at_once)
    await forever()


async def leave_nothing() -> None:
    pass


@owner
async def first_step_of_a_linked_loop() -> None:
    await link(leave_in_the_first_step, forever, close_timeout=30)


@owner
async def connecting() -> None:
    await connect(leave)


@owner
async def kept_connector() -> None:
    async with keep_connected(leave) as kept:
        await kept.get()


async def connector(stages: Stages) -> None:
    await stages.acquire(leave_nothing, release=lambda _: None)


@owner
async def kept_reader() -> None:
    async def reading(stages: Stages) -> None:
        stages.start_soon(leave)

    async with keep_connected(reading):
        await forever()


@owner
async def kept_release() -> None:
    async def clumsy(stages: Stages) -> None:
        await stages.acquire(leave_nothing, release=leave)

    async with keep_connected(clumsy) as kept:
        await kept.get()
        kept.reconnect()
        await forever()


@owner
async def kept_replay() -> None:
    async with keep_connected(connector, replay=leave):
        await forever()


@owner
async def kept_on_up() -> None:
    async with keep_connected(connector, on_up=leave_at_once):
        await forever()


@owner
async def kept_on_down() -> None:
    async with keep_connected(connector, on_down=leave) as kept:
        await kept.get()


@owner
async def handler() -> None:
    async with serve_tcp(leave, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await forever()
        finally:
            writer.close()


@owner
async def timer() -> None:
    async with Scope() as scope:
        scope.start_soon(fixed_rate(leave, 1.0))
        await forever()


@pytest.mark.parametrize("main", OWNERS.values(), ids=OWNERS)
def test_an_exit_ends_the_process_and_makes_no_noise(main: Owner, caplog: pytest.LogCaptureFixture) -> None:
    """With its code. (After ``asyncio.run`` asyncio complains of its own main task, which no one can help.)"""
    began = time.monotonic()
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as caught:
        run(main)
    assert time.monotonic() - began < 20  # nothing was waited for that could not come
    assert caught.value.code == 3
    del caught
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
