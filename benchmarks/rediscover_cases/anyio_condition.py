"""anyio: two consumers wait on a condition; the one that was notified is cancelled."""

import anyio

FAULTS = ["CANCEL_SCOPE"]


def somebody_took_it(bubble):
    return not getattr(bubble.state, "stranded", False) or "an item is there, and its consumer sleeps"


INVARIANTS = [somebody_took_it]


async def scenario(bubble):
    condition = anyio.Condition()
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

    async with anyio.create_task_group() as group:
        group.start_soon(consumer)
        group.start_soon(consumer)
        await anyio.sleep(1)
        async with condition:
            items.append("item")
            condition.notify()
        await anyio.sleep(1)
        bubble.state.stranded = bool(items) and waiting > 0
        group.cancel_scope.cancel()
