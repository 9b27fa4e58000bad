"""What a scope costs: callbacks, releases, and one connection with its tasks, beside AsyncExitStack and the idioms.

python -m benchmarks.scope [--rounds N] [--loop asyncio|uvloop|both]
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack, suppress

import anyio

from benchmarks._measure import compare, main, print_rows
from lifecycle import Scope

ENTRIES = 100


def nothing() -> None:
    pass


async def returns_at_once() -> None:
    pass


async def suspends() -> None:
    await asyncio.sleep(0)


def callbacks(push: str, fn):  # type: ignore[no-untyped-def]
    """Push ENTRIES callbacks onto one owner and release them; an operation is one callback."""

    def case(owner):  # type: ignore[no-untyped-def]
        async def run(count: int) -> None:
            for _ in range(count // ENTRIES):
                async with owner() as stack:
                    register = getattr(stack, push)
                    for _ in range(ENTRIES):
                        register(fn)

        return run

    return {"AsyncExitStack": case(AsyncExitStack), "lifecycle.Scope": case(Scope)}


class Connection:
    """A connection as a context manager that suspends once on each side, as a real one does at least."""

    async def __aenter__(self) -> Connection:
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *details: object) -> None:
        await asyncio.sleep(0)


async def loop_of_connection() -> None:
    await asyncio.sleep(3600)


async def native_connection(count: int) -> None:
    """The idiom: what a careful person writes by hand for one connection and its two loops."""
    for _ in range(count):
        async with Connection():
            reader = asyncio.create_task(loop_of_connection())
            writer = asyncio.create_task(loop_of_connection())
            try:
                await asyncio.sleep(0)
            finally:
                for task in (writer, reader):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task


async def anyio_connection(count: int) -> None:
    for _ in range(count):
        async with Connection(), anyio.create_task_group() as tasks:
            tasks.start_soon(loop_of_connection)
            tasks.start_soon(loop_of_connection)
            await asyncio.sleep(0)
            tasks.cancel_scope.cancel()


async def open_connection() -> Connection:
    return await Connection().__aenter__()


async def acquired_connection(count: int) -> None:
    for _ in range(count):
        async with Scope() as scope:
            await scope.acquire(open_connection, release=Connection.__aexit__)
            scope.start_soon(loop_of_connection)
            scope.start_soon(loop_of_connection)
            await asyncio.sleep(0)


async def held_connection(count: int) -> None:
    for _ in range(count):
        async with Scope() as scope:
            await scope.enter(Connection())
            scope.start_soon(loop_of_connection)
            scope.start_soon(loop_of_connection)
            await asyncio.sleep(0)


async def inline_connection(count: int) -> None:
    for _ in range(count):
        async with Scope() as scope:
            await scope.enter_async_context(Connection())
            scope.start_soon(loop_of_connection)
            scope.start_soon(loop_of_connection)
            await asyncio.sleep(0)


async def empty(count: int) -> None:
    for _ in range(count):
        async with Scope():
            pass


async def empty_group(count: int) -> None:
    for _ in range(count):
        async with asyncio.TaskGroup():
            pass


async def benchmark(options: argparse.Namespace) -> None:
    rounds = options.rounds
    rows = await compare(callbacks("callback", nothing), count=20_000, rounds=rounds)
    print_rows("callback: push + release, 100 to an owner", rows, {"lifecycle.Scope": 0.40})
    rows = await compare(callbacks("push_async_callback", returns_at_once), count=20_000, rounds=rounds)
    print_rows("asynchronous callback that does not suspend", rows)
    rows = await compare(callbacks("push_async_callback", suspends), count=20_000, rounds=rounds)
    print_rows("asynchronous callback that suspends once", rows)
    rows = await compare({"asyncio.TaskGroup": empty_group, "lifecycle.Scope": empty}, count=5_000, rounds=rounds)
    print_rows("an empty owner", rows)
    connections = {
        "native idiom": native_connection,
        "lifecycle.Scope, enter_async_context": inline_connection,
        "lifecycle.Scope, acquire": acquired_connection,
        "lifecycle.Scope, enter": held_connection,
        "anyio idiom": anyio_connection,
    }
    rows = await compare(connections, count=1_000, rounds=rounds)
    goal = {name: 1.3 for name in connections if name.startswith("lifecycle")}
    print_rows("one connection: 1 context manager + 2 tasks, open to close", rows, goal)


if __name__ == "__main__":
    main(__doc__, benchmark)
