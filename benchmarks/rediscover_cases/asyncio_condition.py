"""asyncio: two consumers wait on a condition; the one that was notified is cancelled."""

import asyncio

FAULTS = ["CANCEL"]


def somebody_took_it(bubble):
    return not getattr(bubble.state, "stranded", False) or "an item is there, and its consumer sleeps"


INVARIANTS = [somebody_took_it]


async def scenario(bubble):
    condition = asyncio.Condition()
    items = []
    waiting = 0

    async def consumer():
        nonlocal waiting
        async with condition:
            while not items:
                waiting += 1
                try:
                    await condition.wait()
                finally:
                    waiting -= 1
            items.pop()

    consumers = [asyncio.create_task(consumer()) for _ in range(2)]
    try:
        await asyncio.sleep(1)
        async with condition:
            items.append("item")
            condition.notify()
        await asyncio.sleep(1)
        bubble.state.stranded = bool(items) and waiting > 0
    finally:
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
