"""How many injected runs per second and core, and what does the ledger cost per task?

    python -m benchmarks.injection [--seconds 60 --workers 2]

With ``--seconds`` it explores the scenario table of everything that we ship for that many CPU seconds (on a machine of
its own, the seconds of the wall) in each of ``--workers`` processes, and counts injected runs and residue: first all of
it in asyncio's order and under three random ones, then under others until the time is over. The first part is made a
second time, in other processes, for the equality of all digests.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import logging
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._sizes import sized
from lifecycle._ground import trace
from lifecycle.testing import Bubble, Ledger, explore_cancellation, no_busy_loop
from lifecycle.testing._look.watch import watched_tasks
from lifecycle.testing.faults import CANCEL, CANCELS, DEFAULT

ROUNDS = sized(7, 1)
# Seconds of a round.
ROUND = sized(0.5, 0.01)
# Random orders per exploration of the soak.
ORDERS = 3
# The machine is shared: seconds of this process, not of the wall.
clock = time.process_time


async def thirty_points(bubble: Bubble) -> None:
    """Ten sleeps: 31 points."""
    for _ in range(10):
        await asyncio.sleep(0.1)


async def four_tasks(bubble: Bubble) -> None:
    """A task group with three members that hold something each."""

    async def member(name: str) -> None:
        with bubble.ledger.acquire(name):
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(member(str(number)))


def rates() -> None:
    for scenario in (thirty_points, four_tasks):
        for name, faults in (("cancel", [CANCEL]), ("all cancels", CANCELS), ("all faults", DEFAULT)):
            results = []
            for _ in range(ROUNDS):
                runs, began = 0, clock()
                while clock() - began < ROUND:
                    report = explore_cancellation(scenario, faults=faults)
                    report.assert_clean()
                    runs += report.runs
                results.append(runs / (clock() - began))
            rate, points = statistics.median(results), report.points
            print(f"{scenario.__name__:14} {points:3} points  {name:12} {rate:8,.0f} runs/s")


async def _spawn(count: int) -> None:
    async def nothing() -> None: ...

    for _ in range(count):
        await asyncio.create_task(nothing())


async def _bare(count: int) -> None:
    await _spawn(count)


async def _watched(count: int) -> None:
    with watched_tasks(asyncio.get_running_loop()):
        await _spawn(count)


async def _debug(count: int) -> None:
    asyncio.get_running_loop().set_debug(True)
    await _spawn(count // 10)


def per_task(*kinds: Callable[[int], Any], count: int = sized(10_000, 100)) -> list[float]:
    """Return microseconds per task for each kind, the best of some rounds taken in turn."""
    best = [float("inf")] * len(kinds)
    for _ in range(2 * ROUNDS):
        for place, kind in enumerate(kinds):
            gc.collect()
            began = clock()
            asyncio.run(kind(count))
            best[place] = min(best[place], (clock() - began) / count * 1e6)
    return best


def ledger_cost() -> None:
    bare, watched, debug = per_task(_bare, _watched, _debug)
    print(f"one task, create to end: {bare:.2f} us bare")
    print(f"  + creation site, three raw frames {watched - bare:+.2f} us")
    print(f"  + asyncio's debug mode            {debug * 10 - bare:+.2f} us")
    ledger, count = Ledger(), sized(50_000, 500)
    began = clock()
    for _ in range(count):
        ledger.acquire("resource").release()
    print(f"one resource in the ledger, acquire to release: {(clock() - began) / count * 1e6:.2f} us")
    began = clock()
    for _ in range(count):
        _ = trace.opened("resource", "name") if trace.sink is not None else None
    print(f"one report of a primitive, not tracing: {(clock() - began) / count * 1e9:.0f} ns")


def soak(seconds: float, share: int, workers: int) -> tuple[int, int, dict[str, str]]:
    """Explore this worker's share of the scenario table: all of it once, and then on until the time is over."""
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.testing.scenarios import SCENARIOS

    mine = list(SCENARIOS.items())[share::workers]
    injected = failures = 0
    digests: dict[str, str] = {}
    end = clock() + seconds
    for seed in itertools.count(0, ORDERS):
        for name, scenario in mine:
            if seed and clock() > end:
                return injected, failures, digests
            report = explore_cancellation(scenario, schedules=ORDERS, seed=seed, invariants=[no_busy_loop])
            injected += report.fired
            failures += len(report.failures)
            digests.setdefault(name, report.digest)
            if report.failures:
                print(report.failures[0], flush=True)
    raise AssertionError("the seeds have an end")


def soak_all(seconds: float, workers: int) -> None:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        began = time.perf_counter()
        results = pool.starmap(soak, [(seconds, share, workers) for share in range(workers)])
        took = time.perf_counter() - began
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        again = pool.starmap(soak, [(0.0, share, workers) for share in range(workers)])
    injected, failures = sum(result[0] for result in results), sum(result[1] for result in results)
    first = {name: digest for result in results for name, digest in result[2].items()}
    second = {name: digest for result in again for name, digest in result[2].items()}
    runs = sum(result[0] for result in again)
    print(f"{injected:,} injected runs over {len(first)} scenarios in {took:.0f} s, {workers} processes")
    print(f"{failures} with residue")
    print(f"digests of two full explorations, {runs:,} injected runs each: {'equal' if first == second else 'DIFFER'}")
    sys.exit(1 if failures or first != second else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.seconds:
        soak_all(options.seconds, options.workers)
    rates()
    ledger_cost()


if __name__ == "__main__":
    main()
