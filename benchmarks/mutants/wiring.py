"""Mistakes on the wire: connections, servers, replies, two loops per connection."""

import asyncio
import contextlib

from ._table import mutant


async def echo(reader, writer):
    while data := await reader.read(1024):
        await asyncio.sleep(0.01)
        writer.write(data)


@mutant("connection left open")
async def stream_closed_on_success_only(bubble):
    await bubble.network.peer(echo, "server", 7)
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(b"hello")
    await reader.read(5)
    writer.close()


@mutant("connection left open")
async def stream_closed_unless_it_breaks(bubble):
    await bubble.network.peer(echo, "server", 7)
    reader, writer = await asyncio.open_connection("server", 7)
    worker = None
    try:
        worker = asyncio.create_task(asyncio.sleep(1))
        writer.write(b"hello")
        try:
            await reader.readexactly(5)
        except asyncio.IncompleteReadError:
            return
        worker.cancel()
    except ConnectionError:
        return
    except BaseException:
        worker.cancel()
        raise
    finally:
        writer.close()


@mutant("server left open")
async def server_closed_on_success_only(bubble):
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "server", 7)
    await asyncio.sleep(0.01)
    server.close()


async def next_reply_is_right(bubble):
    if not hasattr(bubble.state, "streams"):
        return
    reader, writer = bubble.state.streams
    writer.write(b"b")
    try:
        assert await reader.readexactly(1) == b"b", "got the reply to another request"
    finally:
        writer.close()


@mutant("returned with an unread reply", then=next_reply_is_right)
async def reply_left_for_the_next_request(bubble):
    await bubble.network.peer(echo, "server", 7)
    try:
        bubble.state.streams = await asyncio.open_connection("server", 7)
    except ConnectionError:
        return
    reader, writer = bubble.state.streams
    writer.write(b"a")
    await reader.readexactly(1)


@mutant("one-way exit notification")
async def worker_does_not_tell_the_reader(bubble):
    await bubble.network.peer(echo, "server", 7)
    reader, writer = await asyncio.open_connection("server", 7)
    queue = asyncio.Queue(1)

    async def read():
        try:
            while data := await reader.read(1):
                await queue.put(data)
        finally:
            await queue.put(b"")

    async def work():
        for _ in range(2):
            await queue.get()
        writer.close()

    writer.write(b"abcd")
    reading = asyncio.create_task(read())
    try:
        await work()
        await reading
    finally:
        writer.close()
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


@mutant("one-way exit notification")
async def reader_waits_for_a_worker_that_has_gone(bubble):
    queue = asyncio.Queue(1)

    async def read():
        for number in range(4):
            await asyncio.sleep(0.01)
            await queue.put(number)

    async def work():
        for _ in range(4):
            await queue.get()
            await asyncio.sleep(0.01)

    reading, working = asyncio.create_task(read()), asyncio.create_task(work())
    try:
        await asyncio.wait([reading, working])
    finally:
        reading.cancel()
        working.cancel()
        await asyncio.gather(reading, working, return_exceptions=True)
