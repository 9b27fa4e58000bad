"""The tasks that managers in these tests own: quick, slow and stubborn ones."""

import asyncio

from lifecycle import DrainReport, TaskManager


async def work(seconds: float = 1.0) -> None:
    """Work for a while."""
    await asyncio.sleep(seconds)


async def stubborn(times: int = 99) -> None:
    """Swallow so many cancellations."""
    for _ in range(times):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            pass
        else:
            return


async def close_it(manager: TaskManager) -> DrainReport:
    """Close a manager after a second."""
    await asyncio.sleep(1)
    return await manager.aclose()


async def drain_it(manager: TaskManager) -> DrainReport:
    """Drain a manager after a second."""
    await asyncio.sleep(1)
    return await manager.drain()
