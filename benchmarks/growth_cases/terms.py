"""Terms, schedules, waits and watchers of the scheduler, n of them: what they cost a submission and an end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler._store.records import Ending, JobStatus, NewJob, NewRun
from lifecycle.scheduler._store.schedule_records import NewSchedule

from ._kinds import CASES, Laps, case
from .held_back import job, opened
from .stores import AGAIN, a_path

DONE = Ending(JobStatus.SUCCEEDED)


def schedule(name: str, seconds: int) -> NewSchedule:
    return NewSchedule(name, "fixed_rate", str(seconds), None, "coalesce", None, job("x"), "x")


def schedules(durable: bool) -> None:
    """Make the case of one kind of store."""

    async def run(n: int, laps: Laps) -> None:
        async with opened(durable) as store:
            for number in range(n):
                await store.put_schedule(schedule(f"s{number}", 86_400))
            with laps("change one of n schedules", AGAIN):
                for number in range(AGAIN):
                    await store.put_schedule(schedule("one", 90_000 + number))

    CASES[f"schedules {'in a file' if durable else 'in memory'}: n, none due"] = run


schedules(durable=False)
schedules(durable=True)


def terms(durable: bool) -> None:
    """Make the case of one kind of store."""

    async def run(n: int, laps: Laps) -> None:
        with a_path() as path:
            async with Scheduler(path if durable else None, keep_jobs=None, drain_timeout=0.0) as scheduler:
                for what, settings in {
                    "at": {"delay": 600.0},
                    "expires": {"delay": 600.0, "expires": 1_200.0},
                    "key": {"delay": 600.0},
                }.items():
                    with laps(f"submit n jobs with {what}", n):
                        for number in range(n):
                            key = f"k{number}" if what == "key" else None
                            await scheduler.submit("growth.nothing", key=key, **settings)
                first = await scheduler.submit("growth.nothing", delay=600.0)
                with laps("submit n jobs that need one", n):
                    for _ in range(n):
                        await scheduler.submit("growth.nothing", needs=[first.id])
                with laps("cancel what n jobs need", n):
                    await first.cancel()
                with laps("replace one of n keys", AGAIN):
                    for _ in range(AGAIN):
                        await scheduler.submit("growth.nothing", delay=600.0, key="k1", on_twin="replace")

    CASES[f"terms {'in a file' if durable else 'in memory'}"] = run


terms(durable=False)
terms(durable=True)


@case
async def finally_of_a_flow(n: int, laps: Laps) -> None:
    """One step that needs n others."""
    roots = [NewJob(f"root{number}", "call") for number in range(n)]
    last = NewJob("last", "call", tuple(root.name for root in roots), when="always")
    async with opened(durable=True) as store:
        with laps("submit", n):
            await store.open_run(NewRun("f", "f", "d", "{}", (*roots, last)), resume=False, fresh=False)
        with laps("end each of n steps that one needs", n):
            for claimed in itertools.chain((await store.claim(n, 1.0)).jobs):
                await store.finish(claimed.id, claimed.attempt, DONE, 1.0)


@case
async def waits_and_watchers(n: int, laps: Laps) -> None:
    """Events that n ask for and do not read, and n waits for one job by its number."""
    async with Scheduler(drain_timeout=0.0) as scheduler:
        waited = await scheduler.submit("growth.nothing", delay=600.0)
        waits = [asyncio.create_task(scheduler.find(waited.id)) for _ in range(n)]
        with laps("find a job n times", n):
            jobs = [await one for one in waits]
        tasks = [asyncio.create_task(one.wait()) for one in jobs]
        await asyncio.sleep(0)
        with laps("run a job beside n waits", AGAIN):
            for _ in range(AGAIN):
                await (await scheduler.submit("growth.nothing")).wait()
        with laps("wake n waits", n):
            await waited.cancel()
            await asyncio.gather(*tasks)
        async with contextlib.AsyncExitStack() as stack:
            watchers = [await stack.enter_async_context(contextlib.aclosing(scheduler.events(100))) for _ in range(n)]
            pending = [asyncio.create_task(anext(one)) for one in watchers]
            await asyncio.sleep(0)
            with laps("run jobs for n watchers who do not read, for each", n * AGAIN):
                for _ in range(AGAIN):
                    await (await scheduler.submit("growth.nothing")).wait()
            await asyncio.gather(*pending)
