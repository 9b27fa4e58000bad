"""The hostile mix of casebook C over a million jobs: memory, live objects and speed, from the first job to the last.

    python -m benchmarks.soak [--jobs N] [--durable] [--leaky] [--plot FILE]

Jobs succeed, fail once or for good with a large frame, are cancelled while they wait or run, take too long, swallow
their cancellation, log, acquire, lease a client of their cluster, start background work, and every two-thousandth is
a flow of two hundred blocks. What is in memory has to be what is in flight: the slope of the resident memory over the
second half says so in bytes a job, the count of live objects exactly. ``--leaky`` runs the same jobs on the leaky
miniature, a tenth of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import statistics
import tempfile
import time
import types
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks._sizes import sized
from benchmarks._soak_leaky import LeakyScheduler
from benchmarks._soak_mix import CLUSTERS, OUTPUT, Client, Mix
from lifecycle import Registry, TaskManager
from lifecycle.scheduler import Context, Flow, Scheduler, flow_of_table, handler

CLIENTS = 100
"""So many jobs are on their way at once."""

WORKERS = 20
ROWS = 20
_mix = Mix()


@dataclass(frozen=True)
class Row:
    """What was there after so many jobs."""

    jobs: int
    rss: float
    objects: int


@dataclass
class Report:
    """What a soak has shown.

    Attributes:
        rows: one for each part of the run.
        slope: bytes by which the process grew with each job, over the second half.
        grown: types with more live objects at the end than after the warm-up, and how many more.
        peak: the largest resident memory, in MB.
        rate: jobs per second.
    """

    rows: list[Row] = field(default_factory=list)
    slope: float = 0.0
    grown: Counter[str] = field(default_factory=Counter)
    peak: float = 0.0
    rate: float = 0.0


# What the jobs use

_clients: list[Registry[str, Client]] = []
_syncs: list[TaskManager] = []


@handler("soak.job")
async def job(number: int, context: Context) -> Any:
    """One job of the mix, with what it owns."""
    cluster = CLUSTERS[number % len(CLUSTERS)]
    async with _clients[0].lease(cluster, lambda: Client(cluster)) as client:
        if number % 7 == 0:
            context.log(f"job {number} on {cluster}")
            await context.scope.acquire(lambda: Client(cluster))
            context.scope.start_soon(asyncio.sleep, 60)
        if number % 9 == 0:
            _syncs[0].start_soon(asyncio.sleep, 0)
        return await _mix.work(number, context.attempt, client)


@handler("soak.block")
async def block(number: int) -> str:
    """One block of a flow; some fail once, inside a retry."""
    await asyncio.sleep(0)
    return "x" * OUTPUT


def the_flow() -> Flow:
    """Return a flow of two hundred blocks in all their kinds."""
    call = {"call": "soak.block", "args": [1]}
    return flow_of_table(
        {
            "name": "soak",
            "blocks": {
                "all": {"parallel": [call] * 50, "width": 10},
                "each": {"foreach": list(range(100)), "each": call, "needs": ["all"]},
                "again": {"retry": 2, "do": {"sequence": [call] * 49}, "needs": ["all"]},
            },
        }
    )


# One soak

Run = Callable[[int], Awaitable[None]]


@contextlib.asynccontextmanager
async def ours(store: Path | None) -> AsyncIterator[Run]:
    """Run the jobs on this scheduler."""
    flow = the_flow()
    async with (
        Registry[str, Client]("clients", idle_ttl=60.0) as clients,
        TaskManager("syncs") as syncs,
        Scheduler(store, workers=WORKERS, keep_jobs=2_000) as scheduler,
    ):
        _clients[:], _syncs[:] = [clients], [syncs]

        async def run(number: int) -> None:
            if _mix.is_flow(number):
                await (await scheduler.submit(flow)).wait()
                return
            submitted = await scheduler.submit(
                job,
                number,
                timeout=_mix.timeout(number),
                retries=_mix.retries(number),
                backoff=(0.0, 0.001),
                priority=number % 3,
            )
            if _mix.is_cancelled(number):
                await submitted.cancel()
            await submitted.wait()

        yield run
        _clients.clear()
        _syncs.clear()


@contextlib.asynccontextmanager
async def leaky() -> AsyncIterator[Run]:
    """Run the jobs on the leaky miniature."""
    scheduler = LeakyScheduler(WORKERS)

    async def run(number: int) -> None:
        if not _mix.is_flow(number):
            await scheduler.run(_mix, number)

    yield run


async def soak(runner: contextlib.AbstractAsyncContextManager[Run], jobs: int, *, show: bool = True) -> Report:
    """Run *jobs* jobs and return what became of the memory."""
    report, process = Report(), psutil.Process()
    async with runner as run:
        await _run_all(run, range(sized(2_100, 300)))  # the warm-up: a flow and all kinds of jobs
        before = await _live_objects()
        began = time.perf_counter()
        part = max(1, jobs // ROWS)
        for first in range(0, jobs, part):
            await _run_all(run, range(first, min(jobs, first + part)))
            live = await _live_objects()
            report.rows.append(Row(first + part, process.memory_info().rss, live.total()))
            if show:
                row = report.rows[-1]
                rate = row.jobs / (time.perf_counter() - began)
                print(
                    f"{row.jobs:>10,} {row.rss / 1e6:>8.1f} MB {row.objects:>8,} objects {rate:>8,.0f} jobs/s",
                    flush=True,
                )
        report.rate = jobs / (time.perf_counter() - began)
        report.grown = live - before
    half = report.rows[len(report.rows) // 2 :]
    report.slope = statistics.linear_regression([row.jobs for row in half], [row.rss for row in half]).slope
    report.peak = _peak() / 1e6
    return report


def _peak() -> int:
    """Return the most bytes that were resident at once; what getrusage says includes the parent before the exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) * 1024


async def _run_all(run: Run, numbers: range) -> None:
    line = iter(numbers)

    async def client() -> None:
        for number in line:
            await run(number)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())


async def _live_objects() -> Counter[str]:
    """Count what a job may have left: ours, the mix's, tasks, coroutines, errors and their tracebacks."""
    await asyncio.sleep(0.05)
    gc.collect()
    kinds = (asyncio.Future, types.CoroutineType, BaseException, types.TracebackType)
    return Counter(
        type(thing).__qualname__
        for thing in gc.get_objects()
        if isinstance(thing, kinds) or str(type(thing).__module__).startswith(("lifecycle", "benchmarks._soak"))
    )


def plot(reports: dict[str, Report], path: Path) -> None:
    """Draw the resident memory over the jobs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, report in reports.items():
        axes.plot([row.jobs for row in report.rows], [row.rss / 1e6 for row in report.rows], label=name)
    axes.set(xlabel="jobs", ylabel="resident memory, MB", ylim=0)
    axes.legend()
    figure.savefig(path)


def tell(name: str, report: Report) -> None:
    """Print what a soak has shown."""
    grown = {name: number for name, number in report.grown.items() if number > CLIENTS}
    print(
        f"{name}: slope {report.slope:+.2f} B/job over the second half, peak {report.peak:.0f} MB, "
        f"{report.rate:,.0f} jobs/s; types that grew: {grown or 'none'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=sized(1_000_000, 1_000), help="how many jobs")
    parser.add_argument("--durable", action="store_true", help="keep the jobs in SQLite")
    parser.add_argument("--leaky", action="store_true", help="run a tenth of them on the leaky miniature as well")
    parser.add_argument("--plot", type=Path, help="draw the memory into this file (SVG or PNG)")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    reports = {}
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory, "jobs.sqlite") if options.durable else None
        reports["lifecycle"] = asyncio.run(soak(ours(store), options.jobs))
        tell("lifecycle", reports["lifecycle"])
    if options.leaky:
        reports["leaky"] = asyncio.run(soak(leaky(), options.jobs // 10))
        tell("the leaky miniature", reports["leaky"])
    if options.plot:
        plot(reports, options.plot)


if __name__ == "__main__":
    main()
