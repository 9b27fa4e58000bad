"""Again by hand, and waiting by number: with n jobs in a store, of one run or by themselves."""

from __future__ import annotations

import asyncio
from contextlib import closing

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.messages import Report
from lifecycle.scheduler._store.records import JobStatus, NewJob, NewRun
from lifecycle.scheduler._store.run_records import RunFilter
from lifecycle.scheduler._store.sqlite import again, entering
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.listing import list_jobs, list_runs
from lifecycle.scheduler._store.sqlite.operations import report
from lifecycle.scheduler._store.sqlite.views import ended_jobs

from ._kinds import Laps, case
from .stores import AGAIN, a_path, fill

KNOWN = ("growth.nothing",)


@case
async def jobs_again(n: int, laps: Laps) -> None:
    """Jobs by themselves that have failed, among as many that have succeeded."""
    with a_path() as path:
        fill(path, n, "failed", "bad")
        fill(path, n, "succeeded", "good")
        with closing(connect(path, "jobs.sqlite")) as db:
            db.execute("BEGIN")
            few = list(range(1, min(n, AGAIN) + 1))
            with laps("try some of n failed jobs again, one by one", len(few)):
                for number in few:
                    again.revive_jobs(db, [number], force=False, by=1, known=KNOWN, now=2.0)
            with laps("try all n failed jobs again at once", n):
                again.revive_jobs(db, range(1, n + 1), force=False, by=1, known=KNOWN, now=2.0)
            with laps("ask about n jobs that are waited for", n):
                ended_jobs(db, range(1, n + 1))
            with laps("keep what n running jobs report", n):
                report(db, [Report(number, 1, "line", 1, (1.0, 2.0)) for number in range(1, n + 1)])


@case
async def a_run_again(n: int, laps: Laps) -> None:
    """A run of n jobs of which half need the other half, all of which have failed."""
    half = max(1, n // 2)
    roots = [NewJob(f"root{number}", "call") for number in range(half)]
    below = [NewJob(f"below{number}", "call", (f"root{number}",)) for number in range(half)]
    with a_path() as path, closing(connect(path, "jobs.sqlite")) as db:
        db.execute("BEGIN")
        entering.insert_run(db, NewRun("f", "f", "d", "{}", (*roots, *below)), None, 1.0)
        db.execute("UPDATE jobs SET state = 'failed', finished = 1.0 WHERE unmet = 0")
        db.execute("UPDATE jobs SET state = 'cancelled', finished = 1.0, skipped = 1, unmet = 0 WHERE unmet > 0")
        db.execute("UPDATE runs SET unfinished = 0, finished = 1.0")
        with laps("try a run of n jobs again", n):
            revived = again.revive_run(db, 1, by=1, known=(), now=2.0)
        assert revived is not None
        assert len(revived.jobs) == 2 * half


@case
async def lists(n: int, laps: Laps) -> None:
    """Of n jobs by themselves and n runs."""
    with a_path() as path:
        fill(path, n, "succeeded", "good")
        with closing(connect(path, "jobs.sqlite")) as db:
            db.execute("BEGIN")
            for at in range(n):
                run = NewRun("f" if at % 2 else "g", "f", "d", "{}", (NewJob("a", "call"),))
                entering.insert_run(db, run, None, 2.0 + at)
            filters = {
                "in a rare state": JobFilter(frozenset({JobStatus.FAILED}), limit=10),
                "of a name": JobFilter(name="good", limit=10),
                "of a flow": JobFilter(flow="f", limit=10),
                "of a run": JobFilter(run=1, limit=10),
                "of a time": JobFilter(since=2.0, until=4.0, limit=10),
            }
            for name, wanted in filters.items():
                with laps(f"list some of n jobs {name}", AGAIN):
                    for _ in range(AGAIN):
                        list_jobs(db, wanted)
            with laps("list the newest of n runs", AGAIN):
                for _ in range(AGAIN):
                    list_runs(db, RunFilter(limit=10))


@case
async def waiting_by_number(n: int, laps: Laps) -> None:
    """For n jobs of another scheduler of the same file."""
    with a_path() as path:
        async with Scheduler(path, keep_jobs=None) as works, Scheduler(path, keep_jobs=None) as waits:
            jobs = [await works.submit("growth.nothing", delay=600.0) for _ in range(n)]
            with laps("change the priority of some of n jobs", AGAIN):
                for job in jobs[:AGAIN]:
                    await waits.set_priority(job.id, 5)
            with laps("find n jobs of another scheduler", n):
                found = [await waits.find(job.id) for job in jobs]
            del found, jobs
            await asyncio.sleep(0)
