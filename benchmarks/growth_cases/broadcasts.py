"""Broadcasts."""

from __future__ import annotations

import asyncio

from lifecycle import Broadcast

from ._kinds import Laps, case


@case
async def broadcast(n: int, laps: Laps) -> None:
    with laps("n broadcasts, enter and leave", n):
        for _ in range(n):
            async with Broadcast[int]():
                pass
    crowd: Broadcast[int] = Broadcast()
    with laps("n subscribers", n):
        subscriptions = [crowd.subscribe() for _ in range(n)]
    with laps("an item for n that do not wait", n):
        crowd.publish_nowait(1)
    for subscription in subscriptions:
        subscription.receive_nowait()
    readers = [asyncio.create_task(subscription.receive()) for subscription in subscriptions]
    await asyncio.sleep(0)
    with laps("an item for n that wait", n):
        await crowd.publish(1)
        await asyncio.wait(readers)
    with laps("statistics, n subscribers", n):
        crowd.statistics()
    with laps("n subscribers that leave", n):
        for subscription in reversed(subscriptions):
            with subscription:
                subscription.close()
    subscriptions = [crowd.subscribe() for _ in range(n)]
    with laps("n subscribers closed upon", n):
        crowd.close()
        while crowd.subscribers:
            await asyncio.sleep(0)


@case
async def broadcast_of_many(n: int, laps: Laps) -> None:
    news: Broadcast[int] = Broadcast(capacity=None)
    subscription = news.subscribe()
    with laps("n items", n):
        for item in range(n):
            await news.publish(item)
        for _ in range(n // 2):
            subscription.receive_nowait()
        news.close()
        async for _ in subscription:
            pass


@case
async def broadcast_waited_for(n: int, laps: Laps) -> None:
    news: Broadcast[int] = Broadcast(capacity=1, overflow="wait")
    slow = news.subscribe()
    await news.publish(0)
    with laps("n publishers that wait", n):
        publishers = [asyncio.create_task(news.publish(item)) for item in range(n)]
        await asyncio.sleep(0)
    with laps("n items one by one", n):
        for _ in range(n):
            await slow.receive()
        await asyncio.wait(publishers)
    for _ in range(2):
        publishers = [asyncio.create_task(news.publish(item)) for item in range(n)]
        await asyncio.sleep(0)
        with laps("n publishers that leave", n):
            for publisher in reversed(publishers):
                publisher.cancel()
            await asyncio.wait(publishers)
