"""anyio: three workers share one token; one is cancelled while it waits."""

import anyio

FAULTS = ["CANCEL_SCOPE"]


async def scenario(bubble):
    limiter = anyio.CapacityLimiter(1)

    async def worker():
        async with limiter:
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(worker)
