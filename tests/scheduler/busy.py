"""A program with a scheduler under load, to be killed: started by `storm.py`, with what it is told in a JSON argument.

It puts in jobs of all kinds, flows and schedules for as long as it lives, and writes into a ledger what it was told:
``accepted`` after `submit` has returned, ``unwanted`` after `cancel` has, ``again`` before somebody tries one again,
``begin`` and ``end`` for each attempt.
With ``finish`` it puts in nothing more and ends when every job has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import mmap
import os
import random
import sqlite3
import struct
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from lifecycle import OwnerClosed
from lifecycle.scheduler import (
    Context,
    Flow,
    JobConflict,
    JobStatus,
    Scheduler,
    StoreBusy,
    StoreError,
    flow_of_table,
    handler,
)
from lifecycle.scheduler._engine import leftovers
from lifecycle.scheduler._store import patience
from lifecycle.scheduler._store.filters import job_filter
from lifecycle.scheduler._store.sqlite import locks
from lifecycle.scheduler._store.sqlite.outside import StoreFile

TOLD = json.loads(sys.argv[1])
TAG: str = TOLD["tag"]  # of this process, and never again
ROLE: str = TOLD["role"]


def skewed(clock: Callable[[], float], path: str) -> Callable[[], float]:
    """Return the clock with what a file says added to it: setting the real one would set it for the whole machine."""
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    return lambda: clock() + float(struct.unpack("d", offset)[0])


if TOLD["clock"]:
    time.time = skewed(time.time, TOLD["clock"])

if TOLD["troubled"]:
    patience.LOCK_TIMEOUT = 0.3
    locks.KEPT_EVERY, locks.DOUBT = 0.1, 1.5
    logging.getLogger("lifecycle.scheduler").setLevel(logging.ERROR)  # that it waits is no failure

# A run comes back when whoever has put it in does so again, and not before: on a slow machine that takes its time.
leftovers.FIRST_LOOK = 3600.0  # type: ignore[misc]

LEDGER = os.open(TOLD["ledger"], os.O_RDWR | os.O_CREAT | os.O_APPEND)
CHANCE = random.Random(TOLD["seed"])


def note(*words: object) -> None:
    """Write a line into the ledger, in one piece, after those of all processes so far."""
    os.write(LEDGER, (" ".join(map(str, words)) + "\n").encode())


@handler("quick")
async def quick(name: str, context: Context) -> list[Any]:
    """Wait for nothing."""
    note("begin", name, context.attempt, TAG)
    note("end", name, context.attempt, TAG)
    return [name, context.attempt]


@handler("plain")
def plain(name: str, context: Context) -> list[Any]:
    """Run in a worker thread."""
    note("begin", name, context.attempt, TAG)
    time.sleep(CHANCE.random() * 0.01)
    note("end", name, context.attempt, TAG)
    return [name, context.attempt]


@handler("slow")
async def slow(name: str, context: Context) -> list[Any]:
    """Take long enough to be cancelled, timed out and killed."""
    note("begin", name, context.attempt, TAG)
    await asyncio.sleep(CHANCE.random() * 0.1)
    note("end", name, context.attempt, TAG)
    return [name, context.attempt]


@handler("flaky")
async def flaky(name: str, context: Context) -> list[Any]:
    """Fail about every second time."""
    note("begin", name, context.attempt, TAG)
    await asyncio.sleep(CHANCE.random() * 0.005)
    if zlib.crc32(f"{name} {context.attempt}".encode()) % 2:
        raise RuntimeError("flaky")
    note("end", name, context.attempt, TAG)
    return [name, context.attempt]


@handler("tick")
async def tick() -> None:
    """Be the run of a schedule."""


def the_flow() -> Flow:
    """Return a flow of eight jobs, some of which need others, fail and come back."""
    kinds = ("quick", "plain", "flaky", "slow")
    blocks: dict[str, Any] = {}
    for number in range(8):
        kind = kinds[number % 4]
        blocks[f"b{number}"] = {
            "call": kind,
            "args": [f"run${{run.id}}-b{number}"],
            "needs": [f"b{needed}" for needed in {number // 2, number // 3} if needed < number],
            "retries": 20 if kind == "flaky" else 0,
            "backoff": [0.001, 0.01],
        }
    return flow_of_table({"name": "storm", "params": {"who": "", "number": 0}, "blocks": blocks}, source="storm")


async def submit_jobs(scheduler: Scheduler, lane: int) -> None:
    """Put in jobs by themselves, wait for some, cancel some, forget the others."""
    for number in itertools.count():
        name = f"{TAG}-{lane}-{number}"
        kind = CHANCE.choice(("quick", "quick", "plain", "flaky", "slow"))
        settings: dict[str, Any] = {"priority": CHANCE.randint(-3, 3)}
        if CHANCE.random() < 0.3:
            settings["delay"] = CHANCE.random() * 0.1
        if kind == "flaky":
            settings |= {"retries": CHANCE.randint(0, 4), "backoff": (0.001, 0.05)}
        if kind == "slow" and CHANCE.random() < 0.3:
            settings |= {"timeout": 0.03, "retries": CHANCE.randint(0, 1), "backoff": (0.001, 0.05)}
        try:
            job = await scheduler.submit(kind, name, name=name, **settings)
        except StoreBusy:
            note("busy", name)
            continue
        note("accepted", name, job.id)
        await asyncio.to_thread(os.fsync, LEDGER)
        if CHANCE.random() < 0.2:
            await asyncio.sleep(CHANCE.random() * 0.03)
            with contextlib.suppress(StoreBusy):
                if await job.cancel("not wanted any more"):
                    note("unwanted", name, TAG)
        elif CHANCE.random() < 0.6:
            await job.wait()


async def try_again() -> None:
    """Let what has failed wait again, of whoever submitted it, from inside or as another process would, and look."""
    file = StoreFile(TOLD["database"])
    while True:
        await asyncio.sleep(CHANCE.random() * 0.1)
        with contextlib.suppress(StoreError):
            failed = await asyncio.to_thread(
                file.jobs, job_filter(status=[JobStatus.FAILED, JobStatus.TIMED_OUT], limit=50)
            )
            some = CHANCE.sample(failed, min(3, len(failed)))
            for job in some:
                note("again", job.name)
            if some and CHANCE.random() < 0.3 and (run := some[0].run_id) is not None:
                await asyncio.to_thread(file.retry_run, run)
            elif some:
                await asyncio.to_thread(file.retry, [str(job.id) for job in some], force=False)


async def try_again_here(scheduler: Scheduler) -> None:
    """The same from inside."""
    while True:
        await asyncio.sleep(CHANCE.random() * 0.1)
        with contextlib.suppress(StoreBusy, JobConflict, LookupError):
            for job in await scheduler.jobs(status=JobStatus.FAILED, limit=1):
                note("again", job.name)
                await scheduler.retry(job.id)


async def submit_flows(scheduler: Scheduler, role: str, last: float = float("inf")) -> None:
    """Put in the run of a flow that was not seen to end, or the next one, and again."""
    for number in itertools.count(1 + sum(line.startswith(f"ran {role} ") for line in ledger())):
        while True:
            with contextlib.suppress(StoreBusy):
                run = await scheduler.submit(the_flow(), params={"who": role, "number": number}, resume=True)
                break
        note("run", run.id, role, number)
        outcome = await run.wait()
        if outcome.status.final:
            note("ran", role, number)
        if number >= last or not outcome.status.final:
            return


def ledger() -> list[str]:
    """Return the lines of the ledger."""
    return Path(TOLD["ledger"]).read_text().splitlines()


SCHEDULES: dict[str, dict[str, Any]] = {
    "burst": {"fixed_rate": 0.02, "missed": "burst"},
    "newest": {"fixed_rate": 0.03},
    "drop": {"fixed_rate": 0.05, "missed": "drop"},
    "delay": {"fixed_delay": 0.01},
}


async def put_schedule(scheduler: Scheduler, name: str, timing: dict[str, Any]) -> None:
    """Store a schedule, as soon as that can be."""
    while True:
        with contextlib.suppress(StoreBusy):
            await scheduler.schedule(name, tick, **timing)
            return


@asynccontextmanager
async def a_scheduler() -> AsyncIterator[Scheduler]:
    """Open a scheduler with its schedules, and say so."""
    kept: dict[str, Any] = {"keep_for": None, "keep_jobs": TOLD["keep"], "max_crashes": TOLD["max_crashes"]}
    # No watch for stalls: a busy machine makes them, and what is said on stderr is a failure here.
    async with Scheduler(TOLD["database"], workers=6, name=ROLE, stall_threshold=None, **kept) as scheduler:
        for name, timing in SCHEDULES.items():
            if name in TOLD["schedules"]:
                await put_schedule(scheduler, name, timing)
        print("up", flush=True)
        up.set()
        yield scheduler


up = threading.Event()


async def work() -> None:
    """Put in more and more."""
    async with a_scheduler() as scheduler, asyncio.TaskGroup() as group:
        for lane in range(5):
            group.create_task(submit_jobs(scheduler, lane))
        group.create_task(submit_flows(scheduler, ROLE))
        group.create_task(try_again())
        group.create_task(try_again_here(scheduler))


async def finish() -> None:
    """Bring everything that was put in to its end."""
    async with a_scheduler() as scheduler:
        await asyncio.sleep(0.2)  # some more due times, or the last kill would hide what it has done to the schedules
        for schedule in await scheduler.schedules():
            await scheduler.schedule_named(schedule.name).pause()
        for role in TOLD["roles"]:
            done = sum(line.startswith(f"ran {role} ") for line in ledger())
            await submit_flows(scheduler, role, last=done + 1)
        with closing(sqlite3.connect(TOLD["database"])) as db:
            while db.execute("SELECT 1 FROM jobs WHERE finished IS NULL LIMIT 1").fetchone():
                await asyncio.sleep(0.02)


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
