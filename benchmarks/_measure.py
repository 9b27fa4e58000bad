"""Side-by-side timing: the candidates take turns in one process, and ratios are medians over the rounds.

The machine is shared and noisy, so a single absolute time says little; two candidates timed within the same second
say much.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks._peers import NotInstalled
from benchmarks._sizes import sized

AsyncCase = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Row:
    """One candidate's result.

    Attributes:
        name: what was timed.
        nanoseconds: median per operation.
        ratio: median, over the rounds, of its time by the baseline's in the same round.
    """

    name: str
    nanoseconds: float
    ratio: float


async def compare(cases: dict[str, AsyncCase], *, count: int, rounds: int) -> list[Row]:
    """Time ``await case(count)`` for every case in turn, *rounds* times after a warm-up; the first is the baseline."""
    rounds, count = sized(rounds, 1), sized(count, 100)
    cases = await warmed_up(cases, max(1, count // 10))
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            begin = time.perf_counter()
            await case(count)
            times[name].append((time.perf_counter() - begin) / count * 1e9)
    base = next(iter(times.values()))
    return [
        Row(name, statistics.median(taken), statistics.median(a / b for a, b in zip(taken, base, strict=True)))
        for name, taken in times.items()
    ]


async def warmed_up(cases: dict[str, AsyncCase], count: int) -> dict[str, AsyncCase]:
    """Run every case once; return those whose library is installed."""
    ready = {}
    for name, case in cases.items():
        try:
            await case(count)
        except NotInstalled as error:
            print(f"  left out: {name}: {error}")
        else:
            ready[name] = case
    return ready


def print_rows(title: str, rows: list[Row], goals: dict[str, float] | None = None) -> None:
    """Print a table of *rows*, with the ratio to reach beside those that have one."""
    print(f"\n{title}")
    print(f"  {'':44} {'ns each':>10} {'ratio':>7} {'goal':>7}")
    for row in rows:
        goal = (goals or {}).get(row.name)
        verdict = "" if goal is None else f"{goal:>7.2f} {'reached' if row.ratio <= goal else 'missed'}"
        print(f"  {row.name:44} {row.nanoseconds:>10,.0f} {row.ratio:>7.2f} {verdict}")


def main(doc: str | None, benchmark: Callable[[argparse.Namespace], Awaitable[None]], *, rounds: int = 11) -> None:
    """Parse the common options and run *benchmark* on the chosen event loops."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=sized(rounds, 1), help="how often each candidate is timed")
    parser.add_argument("--loop", choices=["asyncio", "uvloop", "both"], default="both", help="the event loop")
    options = parser.parse_args()
    loops = ["asyncio", "uvloop"] if options.loop == "both" else [options.loop]
    for name in loops:
        print(f"== {name}, Python {platform.python_version()}, {options.rounds} rounds")
        if name == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        else:
            factory = asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(benchmark(options))
    sys.stdout.flush()
