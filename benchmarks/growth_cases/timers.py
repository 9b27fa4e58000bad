"""Timers: n of them, n runs of one, and n calls of its methods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from lifecycle import Scope, TaskGroup, cron, fixed_delay, fixed_rate, once
from lifecycle.types import CronRule, RateRule

from ._kinds import Laps, case, settle, suspends


@case
async def timers(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("start n timers", n):
            for _ in range(n):
                scope.start_soon(once(suspends, 600.0))
            await settle()
        with laps("close n timers", n):
            await scope.aclose()
    with laps("n timers, one run due each", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(once(suspends, 0.0))
    with laps("n runs of one timer", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n)()
    with laps("n runs of one timer at once", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n, max_instances=n)()


@case
async def timers_by_cron(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("start n timers", n):
            for _ in range(n):
                scope.start_soon(cron(suspends, "0 3 * * *", timezone="Europe/Berlin"))
            await settle()
        with laps("close n timers", n):
            await scope.aclose()
    with laps("n timers, one run due each", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(cron(suspends, "* * * * *", timezone="UTC", max_runs=1, clock=late_in_the_minute()))


def late_in_the_minute() -> Callable[[], float]:
    """Return a clock that is a moment before a full minute when it is first read."""

    def read() -> float:
        nonlocal begun
        begun = begun or time.monotonic()
        return 59.99 + time.monotonic() - begun

    begun = 0.0
    return read


@case
async def timer_rules(n: int, laps: Laps) -> None:
    by_the_minute, by_rate = CronRule("* * * * *", "UTC"), RateRule(0.0, 1.0)
    passed = min(n, 10_000)  # beyond, it says just that
    with laps("count n minutes that have passed", passed):
        by_the_minute.count(0.0, 60.0 * passed)
    with laps("the newest of n minutes", 1):
        by_the_minute.newest(60.0 * n)
    with laps("n next minutes", n):
        instant: float | None = 0.0
        for _ in range(n):
            instant = by_the_minute.after(instant or 0.0)
    with laps("count n periods that have passed", 1):
        by_rate.count(0.0, by_rate.newest(float(n)))


@case
async def timer_calls(n: int, laps: Laps) -> None:
    timer = fixed_delay(suspends, 600.0, initial_delay=600.0, max_runs=10 * n)
    async with Scope() as scope:
        handle = scope.start_soon(timer)
        await settle()
        with laps("pause and resume", n):
            for _ in range(n):
                timer.pause()
                timer.resume()
            await settle()
        with laps("reschedule", n):
            for number in range(n):
                timer.reschedule(600.0 + number)
            await settle()
        with laps("trigger", n):
            for _ in range(n):
                timer.trigger()
            await settle(8)
        with laps("statistics, each", n):
            for _ in range(n):
                timer.statistics()
        with laps("stop", n):
            for _ in range(n):
                timer.stop()
            await handle.wait()


@case
async def timers_that_stop(n: int, laps: Laps) -> None:
    timers = [fixed_delay(suspends, 600.0) for _ in range(n)]
    async with TaskGroup() as group:
        running = [group.create_task(timer()) for timer in timers]
        await settle()
        with laps("stop n timers", n):
            for timer in timers:
                timer.stop()
            await asyncio.wait(running)
