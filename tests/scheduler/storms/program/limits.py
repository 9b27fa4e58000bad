"""Limits of queues and handlers, and pauses while the program works."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from lifecycle import Rate
from lifecycle.scheduler import Scheduler, StoreBusy

from .told import CHANCE

QUEUES = ("default", "default", "default", "narrow", "paced", "heavy")

LIMITS: tuple[dict[str, Any], ...] = (
    {"queue": "narrow", "limit": 2},
    {"queue": "paced", "rate": Rate(30, per=1.0, burst=5)},
    {"queue": "heavy", "weight": 3.0},
    {"handler": "single", "limit": 1},
)
"""As `promises.LIMITS` and `promises.RATES` have them."""

PAUSED: tuple[dict[str, Any], ...] = (
    *({"queue": queue} for queue in sorted(set(QUEUES))),
    {"handler": "single"},
    {"handler": "plain"},
    {},  # everything
)


async def set_limits(scheduler: Scheduler) -> None:
    """Set them, as a service does at every start, as soon as that can be."""
    for limit in LIMITS:
        while True:
            with contextlib.suppress(StoreBusy):
                await scheduler.limits.set(**limit)
                break


async def pause_and_resume(scheduler: Scheduler) -> None:
    """Pause something for a moment, and again; who is killed meanwhile leaves that to the others."""
    while True:
        await asyncio.sleep(CHANCE.random() * 0.2)
        with contextlib.suppress(StoreBusy):
            what = CHANCE.choice(PAUSED)
            await scheduler.limits.pause(**what)
            await asyncio.sleep(CHANCE.random() * 0.1)
            await scheduler.limits.resume(**what)


async def resume_all(scheduler: Scheduler) -> None:
    """Resume everything that somebody has left paused."""
    for what in PAUSED:
        while True:
            with contextlib.suppress(StoreBusy):
                await scheduler.limits.resume(**what)
                break
