"""What a timer costs and how far it drifts: ours beside a sleep loop, aiotools and APScheduler.

    python -m benchmarks.timers [--rounds N] [--loop asyncio|uvloop|both]
    python -m benchmarks.timers --soak [--years Y]      (see benchmarks.timers_soak)

Behind is by how much the last of n runs came later than n periods after the first; the body of each run waits a
moment, as bodies do.
Cost is the processor time of the whole process per run, and does not count the time that it sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from benchmarks._measure import main
from benchmarks._peers import NotInstalled, peer
from benchmarks._sizes import sized
from benchmarks.timers_soak import main as soak
from lifecycle import Scope, fixed_rate

aiotools = peer("aiotools")
apscheduler = peer("apscheduler.schedulers.asyncio")

PERIOD = 0.01
RUNS = sized(150, 5)
EVERY = sized(1.0, 0.1)
SECONDS = sized(3.5, 0.15)
MANY, FEW = sized(10_000, 50), sized(200, 10)

Body = Callable[[], Coroutine[Any, Any, None]]
Case = Callable[[Body, float, float, int], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Sample:
    """One measurement of one candidate.

    Attributes:
        behind: seconds by which the last run came later than so many periods after the first.
        cost: processor seconds per run.
    """

    behind: float
    cost: float


async def naive(body: Body, period: float, seconds: float, timers: int) -> None:
    async def loop() -> None:
        while True:
            await body()
            await asyncio.sleep(period)

    tasks = [asyncio.create_task(loop()) for _ in range(timers)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def ours(body: Body, period: float, seconds: float, timers: int) -> None:
    async def run() -> None:
        await body()

    async with Scope("benchmark", close_timeout=None) as scope:
        for _ in range(timers):
            scope.start_soon(fixed_rate(run, period))
        await asyncio.sleep(seconds)


async def with_aiotools(body: Body, period: float, seconds: float, timers: int) -> None:
    async def run(interval: float) -> None:
        await body()

    tasks = [aiotools.create_timer(run, period) for _ in range(timers)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def with_apscheduler(body: Body, period: float, seconds: float, timers: int) -> None:
    # On a busy machine a run may still wait when it is shut down, which cancels it and logs that with a traceback.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    scheduler = apscheduler.AsyncIOScheduler()
    scheduler.start()
    for _ in range(timers):
        begin = datetime.now() + timedelta(milliseconds=1)
        scheduler.add_job(body, "interval", seconds=period, next_run_time=begin, misfire_grace_time=None)
    await asyncio.sleep(seconds)
    scheduler.remove_all_jobs()
    scheduler.shutdown(wait=False)
    await asyncio.sleep(0.05)


async def drift_of(case: Case) -> Sample:
    """Measure one timer with a short period; for longer where a busy machine has not let it run in the time."""
    began: list[float] = []

    async def body() -> None:
        began.append(time.perf_counter())
        await asyncio.sleep(0.001)

    seconds, cpu = RUNS * PERIOD, 0.0
    while not began:
        cpu = time.process_time()
        await case(body, PERIOD, seconds, 1)
        cpu = time.process_time() - cpu
        seconds *= 2
    behind = (began[-1] - began[0]) - (len(began) - 1) * PERIOD
    return Sample(behind, cpu / len(began))


async def cost_of(case: Case, timers: int) -> Sample:
    """Measure many timers in one loop, with a longer period."""
    runs = 0

    async def body() -> None:
        nonlocal runs
        runs += 1

    cpu = time.process_time()
    await case(body, EVERY, SECONDS, timers)
    return Sample(0.0, (time.process_time() - cpu) / max(1, runs))


async def table(
    title: str, cases: dict[str, Case], measure: Callable[[Case], Coroutine[Any, Any, Sample]], rounds: int
) -> None:
    """Measure the cases in turn and print the medians."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            try:
                samples[name].append(await measure(case))
            except NotInstalled as error:
                print(f"  left out: {name}: {error}")
    samples = {name: taken for name, taken in samples.items() if taken}
    print(f"\n{title}")
    print(f"  {'':28} {'behind, ms':>12} {'us per run':>12} {'ratio':>7}")
    base = statistics.median(sample.cost for sample in next(iter(samples.values())))
    for name, taken in samples.items():
        behind = statistics.median(sample.behind for sample in taken)
        cost = statistics.median(sample.cost for sample in taken)
        print(f"  {name:28} {behind * 1e3:>12.1f} {cost * 1e6:>12.1f} {cost / base:>7.2f}")


async def benchmark(options: object) -> None:
    rounds = getattr(options, "rounds", 3)
    cases: dict[str, Case] = {"sleep loop": naive, "lifecycle.fixed_rate": ours, "aiotools.create_timer": with_aiotools}
    all_cases = cases | {"APScheduler interval": with_apscheduler}
    await table(f"one timer, every {PERIOD * 1e3:g} ms, {RUNS} periods", all_cases, drift_of, rounds)
    await table(f"{MANY:,} timers, every {EVERY:g} s", cases, lambda case: cost_of(case, MANY), rounds)
    await table(f"{FEW:,} timers, every {EVERY:g} s", all_cases, lambda case: cost_of(case, FEW), rounds)


if __name__ == "__main__":
    if "--soak" in sys.argv:
        sys.argv.remove("--soak")
        soak()
    else:
        main(__doc__, benchmark, rounds=3)
