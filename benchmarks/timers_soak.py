"""Ten years of a one-minute cron in two zones on a virtual clock, every occurrence compared with another calculation.

    python -m benchmarks.timers_soak [--years 10] [--zones Europe/Berlin America/New_York] [--more]

Each zone is a process of its own: a virtual loop with one real timer per expression, whose body checks the wall
clock against the next instant of the oracle (``benchmarks._cron_oracle``: a walk over the minutes of UTC).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from zoneinfo import ZoneInfo

from benchmarks._cron_oracle import occurrences, utc
from benchmarks._jumping_loop import JumpingLoop
from benchmarks._sizes import sized
from lifecycle import Scope, cron

EXPRESSIONS = ["* * * * *", "30 2 * * *"]
# Each costs another look at the wall clock every minute of ten years.
MORE_EXPRESSIONS = ["*/20 1-3 * * *", "0 */2 * * *", "59 23 28-31 * *", "0 0 29 2 *"]
BEGIN = utc(2023)


@dataclass(frozen=True)
class Soak:
    """What one zone's soak found.

    Attributes:
        zone: the time zone.
        fired: runs, by expression.
        wrong: runs at another instant than expected, or expected and missing.
        seconds: real time that it took.
        cpu: processor time that it took, in seconds.
        peak: resident memory of the process at its end, in MB.
    """

    zone: str
    fired: dict[str, int]
    wrong: list[str]
    seconds: float
    cpu: float
    peak: float


class Checked:
    """The body of one timer: each run must come at the instant that the oracle names next."""

    def __init__(self, text: str, expected: Iterator[float], loop: JumpingLoop, begin: float) -> None:
        self._text = text
        self._expected = expected
        self._loop = loop
        self._begin = begin
        self.fired = 0
        self.wrong: list[str] = []

    async def __call__(self) -> None:
        now = self._begin + self._loop.now
        expected = next(self._expected, float("inf"))
        self.fired += 1
        if abs(now - expected) > 1e-3 and len(self.wrong) < 10:
            self.wrong.append(f"{self._text}: ran at {now}, expected {expected}")

    def finish(self) -> None:
        """Note what the oracle still expects."""
        missing = next(self._expected, None)
        if missing is not None:
            self.wrong.append(f"{self._text}: nothing ran at {missing}")


def soak(zone: str, begin: datetime, minutes: int, expressions: list[str], oracle_zone: str | None = None) -> Soak:
    """Run the expressions in *zone* for so many minutes of virtual time, against the oracle of the same zone."""
    there = ZoneInfo(oracle_zone or zone)
    started = time.perf_counter()
    loop = JumpingLoop()
    epoch = begin.timestamp()
    bodies = [Checked(text, occurrences(text, there, begin, minutes), loop, epoch) for text in expressions]

    async def main() -> None:
        async with Scope("soak") as scope:
            for text, body in zip(expressions, bodies, strict=True):
                timer = cron(body, text, timezone=zone, clock=lambda: epoch + loop.now, on_error="raise")
                scope.start_soon(timer)
            await asyncio.sleep(minutes * 60 + 1)

    loop.run_until_complete(main())
    left = len(asyncio.all_tasks(loop)), sum(not timer._cancelled for timer in loop._scheduled)
    loop.close()
    for body in bodies:
        body.finish()
    wrong = [line for body in bodies for line in body.wrong]
    if left != (0, 0):
        wrong.append(f"left behind: {left[0]} tasks, {left[1]} timers")
    fired = {text: body.fired for text, body in zip(expressions, bodies, strict=True)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Soak(zone, fired, wrong, time.perf_counter() - started, time.process_time(), peak)


def main() -> None:
    """Soak the zones side by side and say what came of it; the exit code is 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=float, default=sized(10.0, 0.003))
    parser.add_argument("--zones", nargs="+", default=["Europe/Berlin", "America/New_York"])
    parser.add_argument("--more", action="store_true", help="four more expressions, most of which name hours")
    options = parser.parse_args()
    expressions = EXPRESSIONS + (MORE_EXPRESSIONS if options.more else [])
    minutes = int(options.years * 365.2425 * 1440)
    started = time.perf_counter()
    with ProcessPoolExecutor(max_workers=len(options.zones), mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(soak, zone, BEGIN, minutes, expressions) for zone in options.zones]
        results = [soaked.result() for soaked in pending]
    for result in results:
        runs = sum(result.fired.values())
        took = f"{result.seconds:.0f} s, {result.cpu:.0f} s of it on a processor"
        print(f"{result.zone}: {runs:,} runs in {took} ({result.cpu / runs * 1e6:.1f} us each, {result.peak:.0f} MB)")
        for text, count in result.fired.items():
            print(f"    {text:18} {count:>10,}")
        for line in result.wrong:
            print(f"    WRONG {line}")
    print(f"{options.years:g} years, {len(results)} zones: {time.perf_counter() - started:.0f} s")
    raise SystemExit(any(result.wrong for result in results))


if __name__ == "__main__":
    main()
