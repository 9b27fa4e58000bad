"""What a mailbox costs beside the queues that people use: one item from one task to another.

    python -m benchmarks.mailbox [--rounds N] [--loop asyncio|uvloop|both]

Alone: one task puts an item in and takes it out, over and over. One to one: a task that only sends and one that only
receives, with room for 64 items, for 8 and for 1, so that each waits for the other all the time. One to four and four
to four: several that share one queue. Broadcast: one publisher, ten subscribers that read. In processor time of the
thread; the candidates take turns, and a ratio is the median over the rounds. Only the asynchronous sides of janus and
culsans are asked, which are made to be used by threads as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from benchmarks._measure import main
from benchmarks._peers import NotInstalled, peer
from benchmarks._sizes import sized
from lifecycle import Broadcast, Mailbox

janus, aiochannel, culsans = peer("janus"), peer("aiochannel"), peer("culsans")

ITEMS = sized(40_000, 40)
SUBSCRIBERS = 10

Put = Callable[[int], Awaitable[object]]
Get = Callable[[], Awaitable[object]]
Ends = tuple[Put, Get]


def ours(room: int) -> Ends:
    mailbox: Mailbox[int] = Mailbox(capacity=room)
    return mailbox.send, mailbox.receive


def queue(room: int) -> Ends:
    queue: asyncio.Queue[int] = asyncio.Queue(room)
    return queue.put, queue.get


def anyio_stream(room: int) -> Ends:
    send, receive = anyio.create_memory_object_stream[int](room)
    return send.send, receive.receive


def janus_queue(room: int) -> Ends:
    queue: Any = janus.Queue(room)
    return queue.async_q.put, queue.async_q.get


def culsans_queue(room: int) -> Ends:
    queue: Any = culsans.Queue(room)
    return queue.async_q.put, queue.async_q.get


def channel(room: int) -> Ends:
    channel: Any = aiochannel.Channel(room)
    return channel.put, channel.get


PEERS: dict[str, Callable[[int], Ends]] = {
    "asyncio.Queue": queue,
    "lifecycle.Mailbox": ours,
    "anyio memory stream": anyio_stream,
    "janus, async side": janus_queue,
    "culsans, async side": culsans_queue,
    "aiochannel.Channel": channel,
}


async def alone(ends: Ends, items: int) -> None:
    put, get = ends
    for item in range(items):
        await put(item)
        await get()


async def shared(ends: Ends, items: int, senders: int, receivers: int) -> None:
    put, get = ends

    async def send() -> None:
        for item in range(items // senders):
            await put(item)

    async def receive() -> None:
        for _ in range(items // receivers):
            await get()

    await asyncio.gather(*(send() for _ in range(senders)), *(receive() for _ in range(receivers)))


async def one_to_one(ends: Ends, items: int) -> None:
    await shared(ends, items, 1, 1)


async def one_to_four(ends: Ends, items: int) -> None:
    await shared(ends, items, 1, 4)


async def four_to_four(ends: Ends, items: int) -> None:
    await shared(ends, items, 4, 4)


Work = Callable[[Ends, int], Awaitable[None]]

#: For each row: the work, how much room there is, and the speed to reach, as a multiple of asyncio.Queue's.
ROWS: dict[str, tuple[Work, int, float | None]] = {
    "alone": (alone, 64, 1.5),
    "one to one, room for 64": (one_to_one, 64, 1.5),
    "one to one, room for 8": (one_to_one, 8, None),
    "one to one, room for 1": (one_to_one, 1, None),
    "one to four, room for 64": (one_to_four, 64, None),
    "four to four, room for 64": (four_to_four, 64, None),
}


async def timed(work: Awaitable[None], items: int) -> float:
    """Return nanoseconds of processor per item."""
    gc.collect()
    begun = time.thread_time()
    await work
    return (time.thread_time() - begun) / items * 1e9


async def measure(work: Work, room: int, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    left_out: set[str] = set()
    for number in range(rounds + 1):
        for name, make in PEERS.items():
            if name in left_out:
                continue
            try:
                ends = make(room)
            except NotInstalled as error:
                left_out.add(name)
                print(f"  left out: {error}")
                continue
            items = ITEMS if number else max(4, ITEMS // 10)  # the first is a warm-up
            seconds = await timed(work(ends, items), items)
            if number:
                taken.setdefault(name, []).append(seconds)
    return taken


async def benchmark(options: argparse.Namespace) -> None:
    for title, (work, room, goal) in ROWS.items():
        print(f"\n{title}")
        taken = await measure(work, room, options.rounds)
        for name, times in taken.items():
            speed = statistics.median(a / b for a, b in zip(taken["asyncio.Queue"], times, strict=True))
            verdict = ""
            if goal is not None and name == "lifecycle.Mailbox":
                verdict = f"   goal {goal}x: {'reached' if speed >= goal else 'missed'}"
            print(f"  {name:24} {statistics.median(times):>8,.0f} ns an item {speed:>6.2f}x{verdict}")
    await broadcasts(options.rounds)


# One to many


async def by_broadcast(items: int) -> None:
    async with asyncio.TaskGroup() as group, Broadcast[int](overflow="wait") as broadcast:

        async def follow(subscription: Any) -> None:
            async for _ in subscription:
                pass

        for _ in range(SUBSCRIBERS):
            group.create_task(follow(broadcast.subscribe()))
        for item in range(items):
            await broadcast.publish(item)


async def by_queues(items: int) -> None:
    """The idiom: a queue for each reader, and a loop over them."""
    queues: list[asyncio.Queue[int | None]] = [asyncio.Queue(64) for _ in range(SUBSCRIBERS)]

    async def follow(queue: asyncio.Queue[int | None]) -> None:
        while await queue.get() is not None:
            pass

    async with asyncio.TaskGroup() as group:
        for queue in queues:
            group.create_task(follow(queue))
        for item in range(items):
            for queue in queues:
                await queue.put(item)
        for queue in queues:
            await queue.put(None)


async def broadcasts(rounds: int) -> None:
    print(f"\none to {SUBSCRIBERS}, each of which gets everything")
    items = max(10, ITEMS // 10)
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, case in {"a queue for each": by_queues, "lifecycle.Broadcast": by_broadcast}.items():
            taken.setdefault(name, []).append(await timed(case(items), items))
    for name, times in taken.items():
        speed = statistics.median(a / b for a, b in zip(taken["a queue for each"], times, strict=True))
        print(f"  {name:24} {statistics.median(times):>8,.0f} ns an item {speed:>6.2f}x")


if __name__ == "__main__":
    main(__doc__, benchmark, rounds=7)
