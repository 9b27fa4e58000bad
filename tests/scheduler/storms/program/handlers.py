"""What the jobs do: begin, take a while or fail, and end, each noted in the ledger."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import Any

from lifecycle.scheduler import Context, handler

from .told import CHANCE, note, noted


@handler("quick")
async def quick(name: str, context: Context) -> list[Any]:
    """Wait for nothing."""
    with noted(name, context.attempt):
        return [name, context.attempt]


@handler("plain")
def plain(name: str, context: Context) -> list[Any]:
    """Run in a worker thread."""
    with noted(name, context.attempt):
        time.sleep(CHANCE.random() * 0.01)
        return [name, context.attempt]


@handler("slow")
async def slow(name: str, context: Context) -> list[Any]:
    """Take long enough to be cancelled, timed out and killed."""
    with noted(name, context.attempt):
        await asyncio.sleep(CHANCE.random() * 0.1)
        return [name, context.attempt]


@handler("single")
async def single(name: str, context: Context) -> list[Any]:
    """The same, with a limit for its handler."""
    with noted(name, context.attempt):
        await asyncio.sleep(CHANCE.random() * 0.03)
        return [name, context.attempt]


@handler("flaky")
async def flaky(name: str, context: Context) -> list[Any]:
    """Fail about every second time."""
    with noted(name, context.attempt):
        await asyncio.sleep(CHANCE.random() * 0.005)
        if zlib.crc32(f"{name} {context.attempt}".encode()) % 2:
            raise RuntimeError("flaky")
        return [name, context.attempt]


@handler("witness")
async def witness(name: str, status: str, context: Context) -> list[Any]:
    """Note how a run has ended."""
    with noted(name, context.attempt):
        note("saw", name, context.attempt, status)
        await asyncio.sleep(CHANCE.random() * 0.03)
        return [name, context.attempt]


@handler("tick")
async def tick() -> None:
    """Be the run of a schedule."""


@handler("tock")
async def tock() -> None:
    """Be the run of a schedule that takes longer than to the next one."""
    await asyncio.sleep(CHANCE.random() * 0.1)
