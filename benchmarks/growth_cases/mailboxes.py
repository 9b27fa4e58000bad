"""Mailboxes."""

from __future__ import annotations

import asyncio

from lifecycle import Mailbox

from ._kinds import Laps, case, nothing


@case
async def mailbox(n: int, laps: Laps) -> None:
    async with Mailbox[int](capacity=None) as box:
        with laps("n items, send and receive", n):
            for item in range(n):
                await box.send(item)
            for _ in range(n):
                await box.receive()
                box.task_done()
        with laps("n items, without waiting", n):
            for item in range(n):
                box.send_nowait(item)
            for _ in range(n):
                box.receive_nowait()
        for item in range(n):
            box.send_nowait(item)
        with laps("statistics, n items", 1):
            box.statistics()
        with laps("n items taken out", n):
            box.discard()
        for item in range(n):
            box.send_nowait(item)
        box.close()
        with laps("n items iterated", n):
            async for _ in box:
                box.task_done()
            await box.wait()
    with laps("n mailboxes, enter and leave", n):
        for _ in range(n):
            async with Mailbox[int]():
                pass


@case
async def mailbox_crowd(n: int, laps: Laps) -> None:
    box: Mailbox[int] = Mailbox(capacity=1)
    box.send_nowait(0)
    with laps("n senders that wait", n):
        senders = [asyncio.create_task(box.send(item)) for item in range(n)]
        await asyncio.sleep(0)
    with laps("n senders that leave", n):
        for sender in reversed(senders):
            sender.cancel()
        await asyncio.wait(senders)
    senders = [asyncio.create_task(box.send(item)) for item in range(n)]
    await asyncio.sleep(0)
    with laps("room for n senders", n):
        box.capacity = None
        await asyncio.wait(senders)
    with laps("n joins", n):
        joins = [asyncio.create_task(box.join()) for _ in range(n)]
        await asyncio.sleep(0)
        for _ in range(n + 1):
            await box.receive()
            box.task_done()
        await asyncio.wait(joins)
    receivers = [asyncio.create_task(box.receive()) for _ in range(n)]
    await asyncio.sleep(0)
    with laps("n receivers closed upon", n):
        box.close()
        await asyncio.wait(receivers)
    for receiver in receivers:
        receiver.exception()


@case
async def mailbox_that_drops(n: int, laps: Laps) -> None:
    async with Mailbox[int](capacity=max(1, n // 2), overflow="drop_oldest", on_drop=nothing) as box:
        with laps("n items, half of them dropped", n):
            for item in range(n):
                box.send_nowait(item)
