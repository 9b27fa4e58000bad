"""The schedules of the program: what becomes of missed due times, and of runs that would overlap."""

from __future__ import annotations

import contextlib
from typing import Any

from lifecycle.scheduler import Scheduler, StoreBusy

from .handlers import tick, tock
from .told import TOLD

SCHEDULES: dict[str, dict[str, Any]] = {
    "burst": {"work": tick, "fixed_rate": 0.02, "missed": "burst"},
    "newest": {"work": tick, "fixed_rate": 0.03},
    "drop": {"work": tick, "fixed_rate": 0.05, "missed": "drop"},
    "delay": {"work": tick, "fixed_delay": 0.01},
    "jittery": {"work": tick, "fixed_rate": 0.1, "jitter": 0.05},
    "alone": {"work": tock, "fixed_rate": 0.04, "max_instances": 1},
    "in line": {"work": tock, "fixed_rate": 0.04, "max_instances": 2, "overlap": "queue"},
    "latest": {"work": tock, "fixed_rate": 0.05, "max_instances": 1, "overlap": "cancel_running"},
}


async def put_schedules(scheduler: Scheduler) -> None:
    """Store the schedules that are wanted, as soon as that can be."""
    for name in TOLD["schedules"]:
        while True:
            with contextlib.suppress(StoreBusy):
                await scheduler.schedule(name, **SCHEDULES[name])
                break
