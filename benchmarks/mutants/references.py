"""Correct programs, one for each family that can be done right by hand: the kit must be silent on them."""

import asyncio
import contextlib

import anyio

from lifecycle import Scope

from ._table import Connection, reference
from .sharing import Slots, lock_is_free, slot_is_free, three_users
from .wiring import echo


@reference()
async def closed_in_a_finally(bubble):
    connection = await Connection.open(bubble)
    try:
        await connection.use()
    finally:
        connection.close()


@reference()
async def goodbye_by_the_owner(bubble):
    async with Scope() as scope:
        connection = await Connection.open(bubble)
        scope.push_async_callback(connection.aclose)
        await connection.use()


@reference()
async def two_closed_by_a_stack(bubble):
    with contextlib.ExitStack() as stack:
        for name in ("first", "second"):
            connection = await Connection.open(bubble, name)
            stack.callback(connection.close)
        await connection.use()


@reference()
async def children_in_a_group(bubble):
    async def child(name):
        with contextlib.closing(await Connection.open(bubble, name)) as connection:
            await connection.use()

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(child(name))


@reference()
async def children_in_an_anyio_group(bubble):
    async def child(name):
        with contextlib.closing(await Connection.open(bubble, name)) as connection:
            await connection.use()

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(child, name)


@reference()
async def child_cancelled_and_joined(bubble):
    child = asyncio.create_task(asyncio.sleep(1))
    try:
        await asyncio.sleep(0.01)
    finally:
        child.cancel()
        await asyncio.gather(child, return_exceptions=True)


@reference(then=lock_is_free)
async def lock_in_a_with(bubble):
    bubble.state.lock = lock = asyncio.Lock()
    async with lock:
        await asyncio.sleep(0.01)


@reference(then=slot_is_free)
async def slots_handed_over_with_care(bubble):
    await three_users(bubble, Slots(careful_handing=True, gives_back=True))


@reference()
async def generator_closed(bubble):
    async def rows():
        with contextlib.closing(await Connection.open(bubble)) as connection:
            for number in range(3):
                await connection.use()
                yield number

    async with contextlib.aclosing(rows()) as numbers:
        async for number in numbers:
            if number == 1:
                break


@reference()
async def timer_cancelled_in_a_finally(bubble):
    handle = asyncio.get_running_loop().call_later(30, print)
    try:
        await asyncio.sleep(0.01)
    finally:
        handle.cancel()


@reference()
async def timeout_that_fires(bubble):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            with contextlib.closing(await Connection.open(bubble)):
                await asyncio.sleep(1)


@reference()
async def queue_between_two_tasks(bubble):
    queue = asyncio.Queue(1)

    async def produce():
        for number in range(3):
            await queue.put(number)

    async def consume():
        for _ in range(3):
            await queue.get()

    tasks = [asyncio.create_task(produce()), asyncio.create_task(consume())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@reference()
async def stream_closed_in_a_finally(bubble):
    await bubble.network.peer(echo, "server", 7)
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("server", 7)
        try:
            writer.write(b"hello")
            await reader.read(5)
        finally:
            writer.close()


@reference()
async def anyio_stream_in_an_async_with(bubble):
    await bubble.network.peer(echo, "server", 7)
    with contextlib.suppress(OSError, anyio.BrokenResourceError):
        async with await anyio.connect_tcp("server", 7) as stream:
            await stream.send(b"hello")
            await stream.receive()


@reference()
async def server_in_an_async_with(bubble):
    def answer(reader, writer):
        writer.close()

    with contextlib.suppress(ConnectionError):
        async with await asyncio.start_server(answer, "server", 7):
            reader, writer = await asyncio.open_connection("server", 7)
            try:
                await reader.read()
            finally:
                writer.close()
