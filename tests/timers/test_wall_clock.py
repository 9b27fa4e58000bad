"""Timers and time that passes unevenly: a wall clock that is set, gaps and folds, a blocked loop."""

import asyncio
from typing import Any

import pytest

from lifecycle import Scope, cron, fixed_rate
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import Timer

from .journal import MIDNIGHT, Journal, WallClock, nothing


def cron_scenario(
    expression: str, steps: list[tuple[float, float]], seconds: float, **options: Any
) -> tuple[list[float], Timer]:
    """Run a cron timer in UTC from midnight; at the given times the clock is set by so much. Returns wall seconds."""
    began: list[float] = []

    async def scenario(bubble: Bubble) -> Timer:
        clock = WallClock(bubble, MIDNIGHT)

        async def body() -> None:
            began.append(round(clock() - MIDNIGHT, 3))

        timer = cron(body, expression, timezone="UTC", clock=clock, **options)
        async with Scope() as scope:
            scope.start_soon(timer)
            for at, step in steps:
                await asyncio.sleep(at - bubble.clock.now)
                clock.offset += step
            await asyncio.sleep(seconds - bubble.clock.now)
        timer._check_invariants()
        return timer

    return began, run_virtual(scenario)


# 11. cron: the wall clock


def test_11_cron_follows_the_wall_clock() -> None:
    """Every five minutes from midnight on, at second zero."""
    began, _ = cron_scenario("*/5 * * * *", [], 1000)
    assert began == [300, 600, 900]


def test_11_a_clock_set_forward_is_noticed_within_a_minute() -> None:
    """Half an hour before the run the clock is set past it: the run comes with the next look, once."""
    began, timer = cron_scenario("0 1 * * *", [(1810, 3600)], 4000)
    assert len(began) == 1
    assert 1810 + 3600 <= began[0] <= 1810 + 3600 + 60
    assert timer.statistics().last_lateness == pytest.approx(began[0] - 3600)


def test_11_a_clock_set_forward_skips_what_it_jumped_over() -> None:
    """One run for the instant that was waited for, then the future."""
    began, timer = cron_scenario("*/5 * * * *", [(310, 3600)], 1300)
    assert began[0] == 300
    assert 3910 <= began[1] <= 3970
    assert began[2:] == [4200, 4500, 4800]
    assert timer.statistics().missed == 11


def test_11_a_clock_set_back_runs_nothing_twice() -> None:
    """The next run is computed from when the last was due, so it waits until the clock has caught up."""
    began, _ = cron_scenario("*/5 * * * *", [(910, -600)], 2000)
    assert began == [300, 600, 900, 1200]


def test_11_a_clock_set_back_by_years_does_not_silence_the_timer() -> None:
    """A machine that had booted in the wrong year goes on within a minute."""
    began, _ = cron_scenario("*/5 * * * *", [(910, -365 * 86400.0)], 2000)
    assert began[:3] == [300, 600, 900]
    assert [at + 365 * 86400 for at in began[3:]] == [1200, 1500, 1800]


def test_11_a_clock_that_lags_behind_the_loop_does_not_spin() -> None:
    """Waking early by the wall clock means sleeping the rest, with a floor: few looks, and no run too early."""
    looks = 0

    async def scenario(bubble: Bubble) -> None:
        began = []

        def clock() -> float:
            nonlocal looks
            looks += 1
            return MIDNIGHT + bubble.clock.now * 0.999

        async def body() -> None:
            began.append(clock() - MIDNIGHT)

        async with Scope() as scope:
            scope.start_soon(cron(body, "*/5 * * * *", timezone="UTC", clock=clock))
            await asyncio.sleep(1000)
        assert [round(at, 2) for at in began] == [300, 600, 900]

    run_virtual(scenario)
    assert looks < 100


def test_11_a_clock_that_stands_still_just_before_the_run_does_not_spin() -> None:
    """A tenth of a millisecond before the run it stops for two seconds: a look per millisecond, not per tenth."""
    looks = 0

    async def scenario(bubble: Bubble) -> None:
        def clock() -> float:
            nonlocal looks
            looks += 1
            return MIDNIGHT + max(min(bubble.clock.now, 59.9999), bubble.clock.now - 2)

        timer = cron(nothing, "* * * * *", timezone="UTC", clock=clock, max_runs=1)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert bubble.clock.now == pytest.approx(62)

    run_virtual(scenario)
    assert looks < 2500


def test_11_a_suspended_machine_is_one_late_run() -> None:
    """The wall clock is an hour further while the loop's clock stood still; with coalesce too there is one run."""
    for missed in ("skip", "coalesce"):
        began, timer = cron_scenario("* * * * *", [(90, 3600)], 200, missed=missed)
        assert len([at for at in began if 3600 < at < 3780]) <= 3
        assert timer.statistics().missed >= 58


def test_11_gap_and_fold_run_once() -> None:
    """Half past two in Berlin, over both clock changes of 2023."""

    async def scenario(bubble: Bubble) -> list[str]:
        began = []
        clock = WallClock(bubble, 1679698800.0)  # 25 March 2023, 00:00 in Berlin

        async def body() -> None:
            began.append(clock())

        async with Scope() as scope:
            scope.start_soon(cron(body, "30 2 26,29 3,10 *", timezone="Europe/Berlin", clock=clock, max_runs=4))
            await asyncio.sleep(250 * 86400)
        return [f"{int(at - 1679698800.0) // 60}" for at in began]

    # 26 March 03:00, 29 March, 26 October, 29 October 02:30: in minutes
    assert run_virtual(scenario, max_steps=10**6) == ["1560", "5850", "309690", "314010"]


def test_11_impossible_expressions_are_refused() -> None:
    """At construction, like a zone that does not exist."""
    with pytest.raises(ValueError, match="cron expression '0 0 30 2"):
        cron(nothing, "0 0 30 2 *", timezone="UTC")
    with pytest.raises(ValueError, match="Atlantis"):
        cron(nothing, "* * * * *", timezone="Europe/Atlantis")
    with pytest.raises(TypeError, match="goes by an expression"):
        cron(nothing, "* * * * *", timezone="UTC").reschedule(5)


def test_11_an_expression_may_be_changed() -> None:
    """From the next instant on the new one counts."""

    async def scenario(bubble: Bubble) -> None:
        clock = WallClock(bubble, MIDNIGHT)
        journal = Journal(bubble)
        timer = cron(journal, "*/10 * * * *", timezone="UTC", clock=clock, name="c")
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(700)
            timer.reschedule("*/2 * * * *")
            await asyncio.sleep(200)
        assert journal.began == [600, 720, 840]
        assert repr(timer) == "timer 'c' (cron '*/2 * * * *' in UTC)"

    run_virtual(scenario)


def test_11_the_default_clock_is_the_machines() -> None:
    """Every second by the real wall clock, in real time: two runs a second apart."""

    async def main() -> None:
        import time

        began = []

        async def body() -> None:
            began.append(time.time())

        async with Scope() as scope:
            await scope.start_soon(cron(body, "* * * * * *", timezone="UTC", max_runs=2))
        assert all(at % 1 < 0.5 for at in began)

    asyncio.run(main())


# 12. a blocked loop


def test_12_a_blocked_loop_is_lateness_and_no_burst() -> None:
    """The run that was waited for comes late, the rest is missed, the grid goes on."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        timer = fixed_rate(journal, 10)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(15)
            bubble.clock.now += 50  # nothing could run
            await asyncio.sleep(20)
        assert journal.began == [0, 10, 65, 70, 80]
        assert timer.statistics().missed == 4

    run_virtual(scenario)
