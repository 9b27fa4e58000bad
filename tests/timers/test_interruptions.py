"""A timer cancelled or stopped at every await leaves nothing behind."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lifecycle import Scope, cron, fixed_delay, fixed_rate, once
from lifecycle.testing import Bubble, explore_cancellation
from lifecycle.types import Timer

from .journal import MIDNIGHT, Recorder, WallClock, slow

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]


def explored(timer_of: Callable[[Bubble], Timer]) -> Scenario:
    async def scenario(bubble: Bubble) -> None:
        timer = bubble.state.timer = timer_of(bubble)
        async with Scope("owner") as scope:
            scope.start_soon(timer)
            await asyncio.sleep(3.5)

    return scenario


def account_closes(bubble: Bubble) -> bool:
    timer: Timer | None = getattr(bubble.state, "timer", None)
    if timer is not None:
        timer._check_invariants()
    return timer is None or timer.statistics().running == 0


# Struck everywhere


@pytest.mark.parametrize(
    "timer_of",
    [
        lambda bubble: fixed_rate(slow, 1),
        lambda bubble: fixed_rate(slow, 0.5, max_instances=2, missed="burst", hooks=[Recorder()], max_runs=5),
        lambda bubble: fixed_rate(slow, 1, run_timeout=0.4),
        lambda bubble: fixed_rate(slow, 1, max_runs=2),
        lambda bubble: fixed_delay(slow, 0.5),
        lambda bubble: once(slow, 1),
        lambda bubble: cron(slow, "* * * * * *", timezone="UTC", clock=WallClock(bubble, MIDNIGHT)),
    ],
    ids=["rate", "overlapping", "timeout", "max_runs", "delay", "after", "cron"],
)
def test_cancelled_anywhere_a_timer_leaves_nothing(
    timer_of: Callable[[Bubble], Timer], caplog: pytest.LogCaptureFixture
) -> None:
    """Every task at every point, natively and by scope, twice, before its start, and with errors raised into it."""
    caplog.set_level(logging.CRITICAL, logger="lifecycle.timers")
    report = explore_cancellation(explored(timer_of), invariants=[account_closes], schedules=1)
    assert report.points > 15
    report.assert_clean()


def test_stopped_anywhere_a_timer_leaves_nothing() -> None:
    """The same while it is stopped, triggered, paused and rescheduled."""

    async def scenario(bubble: Bubble) -> None:
        timer = bubble.state.timer = fixed_rate(slow, 1)
        async with Scope("owner") as scope:
            handle = scope.start_soon(timer)
            await asyncio.sleep(1.1)
            timer.trigger()
            timer.pause()
            await asyncio.sleep(1.5)
            timer.resume()
            timer.reschedule(0.1)
            await asyncio.sleep(0.2)
            timer.stop(0.2)
            await handle.wait()

    explore_cancellation(scenario, invariants=[account_closes], schedules=1).assert_clean()
