"""Jobs by themselves that the program puts in, cancels and tries again: plain ones, and some on terms."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from typing import Any

from lifecycle.scheduler import Job, JobConflict, JobStatus, Scheduler, StoreBusy, StoreError
from lifecycle.scheduler._store.filters import job_filter
from lifecycle.scheduler._store.sqlite.outside import StoreFile

from .limits import QUEUES
from .schedules import SCHEDULES
from .told import CHANCE, LEDGER, TAG, TOLD, note

KINDS = ("quick", "quick", "plain", "flaky", "slow", "single")
KEYS = 4


async def submit_jobs(scheduler: Scheduler, lane: int) -> None:
    """Put in jobs by themselves, wait for some, cancel some, forget the others."""
    for number in itertools.count():
        name = f"{TAG}-{lane}-{number}"
        kind = CHANCE.choice(KINDS)
        settings: dict[str, Any] = {"priority": CHANCE.randint(-3, 3), "queue": CHANCE.choice(QUEUES)}
        if CHANCE.random() < 0.3:
            settings["delay"] = CHANCE.random() * 0.1
        if kind == "flaky":
            settings |= {"retries": CHANCE.randint(0, 4), "backoff": (0.001, 0.05)}
        if kind == "slow" and CHANCE.random() < 0.3:
            settings |= {"timeout": 0.03, "retries": CHANCE.randint(0, 1), "backoff": (0.001, 0.05)}
        job = await put_in(scheduler, kind, name, settings)
        if job is None:
            continue
        await asyncio.to_thread(os.fsync, LEDGER)
        if CHANCE.random() < 0.2:
            await asyncio.sleep(CHANCE.random() * 0.03)
            with contextlib.suppress(StoreBusy):
                if await job.cancel("not wanted any more"):
                    note("unwanted", name, TAG)
        elif CHANCE.random() < 0.6:
            await job.wait()


async def submit_on_terms(scheduler: Scheduler) -> None:
    """Put in jobs that begin later, that expire, that are the only one of their key, and that need others."""
    for number in itertools.count():
        await asyncio.sleep(CHANCE.random() * 0.05)
        name = f"{TAG}-terms-{number}"
        settings: dict[str, Any] = {"queue": CHANCE.choice(QUEUES)}
        if CHANCE.random() < 0.3 and not TOLD["clock"]:  # a time of day waits for the clock, wherever that is set
            settings["at"] = time.time() + CHANCE.random() * 0.2
        elif CHANCE.random() < 0.3:
            settings["delay"] = CHANCE.random() * 0.2
        if CHANCE.random() < 0.3:
            settings["expires"] = CHANCE.uniform(0.001, 0.3)
        if CHANCE.random() < 0.5:
            on_twin = CHANCE.choice(("refuse", "return", "replace", "replace"))
            settings |= {"key": f"key{CHANCE.randrange(KEYS)}", "on_twin": on_twin}
        if CHANCE.random() < 0.4:
            known = [job.id for job in await scheduler.jobs(limit=20)]  # of any run or of none, whoever put them in
            settings["needs"] = CHANCE.sample(known, min(len(known), CHANCE.randint(1, 3)))
            note("needs", name, *settings["needs"])
        await put_in(scheduler, CHANCE.choice(("quick", "slow", "slow", "plain", "flaky")), name, settings)


async def put_in(scheduler: Scheduler, kind: str, name: str, settings: dict[str, Any]) -> Job | None:
    """Submit a job, and note what became of that; None when it was not accepted."""
    try:
        job = await scheduler.submit(kind, name, name=name, **settings)
    except StoreBusy:
        note("busy", name)
        return None
    except (JobConflict, LookupError):  # another has its key; what it needs was deleted
        return None
    if job.name != name:  # the twin
        return None
    note("accepted", name, job.id)
    return job


async def try_again() -> None:
    """Let what has failed wait again, of whoever submitted it, from inside or as another process would, and look."""
    file = StoreFile(TOLD["database"])
    while True:
        await asyncio.sleep(CHANCE.random() * 0.1)
        with contextlib.suppress(StoreError):
            ended = job_filter(status=[JobStatus.FAILED, JobStatus.TIMED_OUT], limit=50)
            # Not the run of a schedule, which may overlap with another then, as whoever asks for it has it.
            failed = [job for job in await asyncio.to_thread(file.jobs, ended) if job.name not in SCHEDULES]
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
                if job.name not in SCHEDULES:
                    note("again", job.name)
                    await scheduler.retry(job.id)
