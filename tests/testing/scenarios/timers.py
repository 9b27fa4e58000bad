"""Timers: overlapping runs, a stop from inside, a late trigger, an owner that ends them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lifecycle import Scope, TaskGroup, TaskManager, cron, fixed_delay, fixed_rate, once

from ._table import Gauge, fail_on_assertion, ignore_error, scenario, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.testing import Bubble


@scenario
async def timers_in_a_scope(bubble: Bubble) -> None:
    """A fast one, a slow one whose runs miss their time, and one that fires once; all end with their owner."""
    async with Scope("timers") as scope:
        scope.start_soon(fixed_rate(lambda: work(bubble, "fast", 0.005), 0.01, name="fast"))
        scope.start_soon(fixed_delay(lambda: work(bubble, "slow", 0.02), 0.01, name="slow"))
        scope.start_soon(once(lambda: work(bubble, "once", 0.01), 0.015))
        await asyncio.sleep(0.035)


@scenario
async def timer_stopped_in_a_run(bubble: Bubble) -> None:
    """A stop while a run is under way, a trigger that comes too late, and a drain."""
    async with TaskManager("timers", drain_timeout=1, on_error=ignore_error) as manager:
        timer = fixed_rate(lambda: work(bubble, "run", 0.02), 0.01, name="beat")
        manager.start_soon(timer)
        await asyncio.sleep(0.015)
        timer.stop()
        with contextlib.suppress(RuntimeError):
            timer.trigger()


@scenario
async def timer_stops_itself(bubble: Bubble) -> None:
    """A run that stops its own timer, and an overrun that is cut off."""

    async def run() -> None:
        await work(bubble, "run", 0.01)
        timer.stop()

    timer = fixed_rate(run, 0.02, name="self")
    slow = fixed_rate(lambda: work(bubble, "cut off", 5), 0.02, name="slow", run_timeout=0.01, max_runs=2)
    async with Scope("timers") as scope:
        scope.start_soon(timer)
        scope.start_soon(slow)
        await asyncio.sleep(0.05)


@scenario
async def timer_whose_runs_are_late(bubble: Bubble) -> None:
    """A run swallows the end of its time, and returns as if nothing had been."""
    lasted: list[float] = []

    async def swallow() -> None:
        began = bubble.clock.time()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work(bubble, "late", 5)
            await asyncio.sleep(0.001)
        finally:
            lasted.append(bubble.clock.time() - began)

    timer = fixed_rate(swallow, 0.05, name="late", run_timeout=0.01, max_runs=2)
    async with TaskManager("timers", drain_timeout=1, on_error=ignore_error) as manager:
        await manager.start_soon(timer).wait()
    in_time = sum(seconds <= 0.01 for seconds in lasted)
    assert timer.statistics().finished <= in_time, "a run whose time was up has succeeded"


@scenario
async def timer_that_many_handle(bubble: Bubble) -> None:
    """Two runs at a time; triggered, paused, resumed and stopped by tasks of their own, one of which comes late."""
    gauge = Gauge(bubble, 2)
    async with TaskManager("timers", drain_timeout=1, on_error=fail_on_assertion) as manager:
        timer = fixed_rate(lambda: gauge.work("run", 0.015), 0.01, name="beat", max_instances=2, on_error="raise")
        manager.start_soon(timer)

        async def handles(arrives: float, act: Callable[[], object]) -> None:
            await asyncio.sleep(arrives)
            with contextlib.suppress(RuntimeError):  # it may have ended: its owner was told to
                act()

        async with TaskGroup() as group:
            for arrives, act in (
                (0.002, timer.trigger),
                (0.002, timer.trigger),
                (0.006, timer.pause),
                (0.012, timer.resume),
                (0.025, timer.stop),
                (0.025, timer.trigger),
            ):
                group.create_task(handles(arrives, act))


@scenario
async def timers_that_end_by_themselves(bubble: Bubble) -> None:
    """One has had its last run, one is stopped long before its next, and somebody waits for both."""
    async with TaskManager("timers", drain_timeout=1, on_error=ignore_error) as manager:
        short = manager.start_soon(fixed_delay(lambda: work(bubble, "short", 0.01), 0.01, max_runs=2, name="short"))
        rare = fixed_rate(lambda: work(bubble, "rare", 0.01), 60, name="rare")
        rarely = manager.start_soon(rare)
        await asyncio.sleep(0.02)
        rare.stop()
        await short.wait()
        await rarely.wait()
        assert bubble.clock.time() < 1, "a timer that had ended, or was stopped, went on"


@scenario
async def timer_of_a_calendar(bubble: Bubble) -> None:
    """A cron timer whose wall clock is the bubble's; its owner ends while a run is under way."""
    calendar = cron(lambda: work(bubble, "run", 5), "* * * * *", timezone="UTC", clock=bubble.clock.time, name="cron")
    async with Scope("timers") as scope:
        scope.start_soon(calendar)
        await asyncio.sleep(122)
