"""The process: n background tasks of the surrounding run, and its end with them."""

from __future__ import annotations

import asyncio

from lifecycle import TaskManager, background, create_background_task, get_background_manager, run
from lifecycle._run.background import background_of

from ._kinds import Laps, case, suspends, waits


@case
async def background_tasks(n: int, laps: Laps) -> None:
    begin = background(suspends)
    manager = TaskManager("background", drain_timeout=0)
    background_of(asyncio.get_running_loop()).of_run = manager  # as `run` does, which would want a loop of its own
    with laps("create_background_task", n):
        for _ in range(n):
            create_background_task(suspends())
        await manager.drain()
    with laps("@background", n):
        for _ in range(n):
            begin()
        await manager.drain()
    with laps("get_background_manager", n):
        for _ in range(n):
            get_background_manager().start_soon(suspends)
        await manager.drain()
    for _ in range(n):
        create_background_task(waits())
    await manager.aclose()


@case
async def run_(n: int, laps: Laps) -> None:
    async def main() -> None:
        for _ in range(n):
            create_background_task(suspends())

    with laps("end with n background tasks", n):
        await asyncio.to_thread(run, main)
