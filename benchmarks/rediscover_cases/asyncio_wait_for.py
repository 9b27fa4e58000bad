"""asyncio: a task is cancelled inside wait_for, and goes on as if nothing had happened."""

import asyncio

FAULTS = ["CANCEL"]


async def scenario(bubble):
    await asyncio.wait_for(asyncio.sleep(1), timeout=10)
