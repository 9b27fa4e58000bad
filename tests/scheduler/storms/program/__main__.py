"""The program: it puts in jobs, flows and schedules for as long as it lives, and notes what it was told.

With ``finish`` it puts in nothing more and ends when every job has ended.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

from .told import CHANCE, ROLE, TOLD  # first: it sets the clock

from lifecycle import OwnerClosed  # isort: skip
from lifecycle.scheduler import Scheduler, StoreBusy, StoreError
from lifecycle.scheduler._engine import leftovers
from lifecycle.scheduler._store import patience
from lifecycle.scheduler._store.sqlite import locks

from .flows import FLOWS, serve_flows, submit_flows
from .jobs import submit_jobs, submit_on_terms, try_again, try_again_here
from .limits import pause_and_resume, resume_all, set_limits
from .schedules import put_schedules

if TOLD["may_refuse"]:
    patience.LOCK_TIMEOUT = 0.3
if TOLD["troubled"]:
    locks.KEPT_EVERY, locks.DOUBT = 0.1, 1.5
    logging.getLogger("lifecycle.scheduler").setLevel(logging.ERROR)  # that it waits is no failure

# A run comes back when whoever has put it in does so again, and not before: on a slow machine that takes its time.
leftovers.FIRST_LOOK = 3600.0  # type: ignore[misc]

up = threading.Event()


@asynccontextmanager
async def a_scheduler() -> AsyncIterator[Scheduler]:
    """Open a scheduler with its limits and schedules, and say so."""
    kept: dict[str, Any] = {"keep_for": None, "keep_jobs": TOLD["keep"], "max_crashes": TOLD["max_crashes"]}
    # No watch for stalls: a busy machine makes them, and what is said on stderr is a failure here.
    async with Scheduler(TOLD["database"], workers=6, name=ROLE, stall_threshold=None, **kept) as scheduler:
        await set_limits(scheduler)
        await put_schedules(scheduler)
        print("up", flush=True)
        up.set()
        yield scheduler


async def work() -> None:
    """Put in more and more."""
    async with a_scheduler() as scheduler, asyncio.TaskGroup() as group:
        for lane in range(4):
            group.create_task(submit_jobs(scheduler, lane))
        group.create_task(submit_on_terms(scheduler))
        if CHANCE.random() < 0.3:
            await serve_flows(scheduler)
        for flow in FLOWS:
            group.create_task(submit_flows(scheduler, flow, ROLE))
        group.create_task(pause_and_resume(scheduler))
        group.create_task(try_again())
        group.create_task(try_again_here(scheduler))


async def finish() -> None:
    """Bring everything that was put in to its end, and look whether the scheduler knows that it is."""
    async with a_scheduler() as scheduler:
        await resume_all(scheduler)
        await serve_flows(scheduler)
        await asyncio.sleep(0.2)  # some more due times, or the last kill would hide what it has done to the schedules
        for schedule in await scheduler.schedules():
            await scheduler.schedule_named(schedule.name).pause()
        with closing(sqlite3.connect(TOLD["database"])) as db:
            while db.execute("SELECT 1 FROM jobs WHERE finished IS NULL LIMIT 1").fetchone():
                await asyncio.sleep(0.02)
        while (now := scheduler.statistics()).running or now.waiting or now.runs or now.left:
            await asyncio.sleep(0.02)
        assert not [limit for limit in await scheduler.limits.records() if limit.running or limit.ready or limit.paused]


def main() -> int:
    """Return 0 when everything has ended, 3 when the store could not be used any more, 5 when it was only busy."""
    refused = 0
    try:
        asyncio.run(finish() if TOLD["finish"] else work())
    except* StoreError as errors:
        print(repr(errors), flush=True)
        refused = 5 if up.is_set() and errors.subgroup(StoreBusy) else 3
    except* OwnerClosed as errors:  # of those who were about to put something in when the store failed
        print(repr(errors), flush=True)
        refused = refused or 4
    return refused


if __name__ == "__main__":
    sys.exit(main())
