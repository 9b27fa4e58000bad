"""anyio: a holder, a waiter, and an acquirer that arrives in the moment of the release."""

import anyio

FAULTS = ["CANCEL_SCOPE"]


async def scenario(bubble):
    lock = anyio.Lock()

    async def worker(arrives):
        await anyio.sleep(arrives)
        async with lock:
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        for arrives in (0, 0.5, 1):
            group.start_soon(worker, arrives)
