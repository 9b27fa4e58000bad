"""The life of a timer: stop, max_runs, reschedule, trigger and pause."""

import asyncio
import math
from typing import Any

import pytest

from lifecycle import ReleaseTimeout, Scope, TaskManager, fixed_delay, fixed_rate, once
from lifecycle.testing import Bubble, run_virtual

from .journal import Journal, Recorder, nothing

# 9. stop


def test_9_stop_wakes_the_sleeper_at_once() -> None:
    """A timer that would sleep for a day ends in the same instant."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(nothing, 86400)
        async with Scope() as scope:
            handle = scope.start_soon(timer)
            await asyncio.sleep(5)
            timer.stop()
            assert timer.statistics().state == "stopping"
            await handle
            assert bubble.clock.now == 5
            timer.stop()  # idempotent

    run_virtual(scenario)


def test_9_stop_waits_for_the_current_run() -> None:
    """The run ends well, and the timer's end is the run's."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 8)
        timer = fixed_rate(journal, 10)
        async with Scope() as scope:
            handle = scope.start_soon(timer)
            await asyncio.sleep(5)
            timer.stop()
            await handle
        assert journal.ended == [8]
        assert bubble.clock.now == 8

    run_virtual(scenario)


def test_9_a_run_that_outlasts_the_stop_is_cancelled() -> None:
    """After the seconds that stop was given; at once with 0; a second call can only shorten."""

    async def scenario(bubble: Bubble) -> None:
        for timeouts, expected in [((3,), 3), ((0,), 0), ((20, 2), 2), ((2, 20), 2)]:
            timer = fixed_rate(Journal(bubble, 100), 10)
            async with Scope() as scope:
                handle = scope.start_soon(timer)
                await asyncio.sleep(1)
                begin = bubble.clock.now
                for timeout in timeouts:
                    timer.stop(timeout)
                await handle
            assert bubble.clock.now - begin == expected
            assert timer.statistics().cancelled == 1

    run_virtual(scenario)


def test_9_stop_from_inside_the_body_does_not_deadlock() -> None:
    """The body ends as it likes, and so does the timer."""

    async def scenario(bubble: Bubble) -> None:
        runs = 0

        async def body() -> None:
            nonlocal runs
            runs += 1
            if runs == 3:
                timer.stop()
                await asyncio.sleep(1)

        timer = fixed_rate(body, 10)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert runs == 3
        assert bubble.clock.now == 21

    run_virtual(scenario)


def test_9_stop_before_the_first_step() -> None:
    """A timer that was stopped before its task ran has no run; one that was not started is left alone."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        timer = fixed_rate(journal, 10)
        timer.stop()
        async with Scope() as scope:
            handle = scope.start_soon(timer)
            timer.stop()
            await handle
            assert journal.began == []
            scope.start_soon(timer)
            await asyncio.sleep(5)
        assert journal.began == [0]

    run_virtual(scenario)


def test_9_a_restart_is_anchored_anew() -> None:
    """The grid begins at the new start; counters go on."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        timer = fixed_rate(journal, 10, max_runs=2)
        async with Scope() as scope:
            await scope.start_soon(timer)
            await asyncio.sleep(3.5)
            await scope.start_soon(timer)
        assert journal.began == [0, 10, 13.5, 23.5]
        assert timer.statistics().runs == 4

    run_virtual(scenario)


def test_9_a_timer_runs_once_at_a_time() -> None:
    """A second start is refused, whether the first has made its first step or not."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(nothing, 10, name="t")
        first, second = timer(), timer()
        async with TaskManager() as manager:
            running = manager.create_task(first)
            with pytest.raises(RuntimeError, match=r"'t' .* is running already"):
                await asyncio.create_task(second)
            with pytest.raises(RuntimeError, match="is running already"):
                _ = timer()
            timer.stop()
            await running

    run_virtual(scenario, check=False)


def test_9_a_run_that_ignores_its_cancellation_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The timer's end has a bound: it leaves the run behind and says so."""

    async def scenario(bubble: Bubble) -> None:
        release = asyncio.Event()

        async def body() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        timer = fixed_rate(body, 10, name="stubborn")
        with pytest.raises(ReleaseTimeout, match="run 1 of stubborn"):
            async with Scope() as scope:
                scope.start_soon(timer)
                await asyncio.sleep(5)
        assert bubble.clock.now == 10 + 1  # cancelled again at 10, abandoned a grace later
        assert timer.statistics().running == 1  # it still runs, and the account says so
        release.set()
        await asyncio.sleep(1)
        assert timer.statistics().running == 0

    run_virtual(scenario, check=False)


# 10. max_runs, reschedule, trigger, pause


def test_10_max_runs_ends_the_timer_after_its_last_run() -> None:
    """So many runs of one start, and the end waits for the last."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 1, 1, 50)
        async with Scope() as scope:
            await scope.start_soon(fixed_rate(journal, 10, max_runs=3))
        assert journal.ended == [1, 11, 70]

    run_virtual(scenario)


def test_10_after_runs_once() -> None:
    """And its task ends with the run."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 2)
        async with Scope() as scope:
            await scope.start_soon(once(journal, 5))
        assert (journal.began, journal.ended) == ([5], [7])

    run_virtual(scenario)


def test_10_a_new_period_is_anchored_now() -> None:
    """The next run comes one new period from the change; a wrong one changes nothing."""

    async def scenario(bubble: Bubble) -> None:
        journal, delayed = Journal(bubble), Journal(bubble, 0, 6)
        rate, delay = fixed_rate(journal, 10), fixed_delay(delayed, 10)
        async with Scope() as scope:
            scope.start_soon(rate)
            scope.start_soon(delay)
            await asyncio.sleep(13)
            rate.reschedule(4)
            delay.reschedule(2)  # while its second run goes on
            for wrong in (0, math.nan, "* * * * *"):
                with pytest.raises((TypeError, ValueError)):
                    rate.reschedule(wrong)
            await asyncio.sleep(10)
        assert journal.began == [0, 10, 17, 21]
        assert delayed.began == [0, 10, 18, 20, 22]
        assert repr(rate).endswith("(every 4 s)")

    run_virtual(scenario)


def test_10_a_period_may_be_changed_before_the_start_and_from_inside() -> None:
    """A body that doubles its own period backs off."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        period = 1.0

        async def body() -> None:
            nonlocal period
            await journal()
            period *= 2
            timer.reschedule(period)

        timer = fixed_rate(body, 100, max_runs=5)
        timer.reschedule(1)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert journal.began == [0, 2, 6, 14, 30]
        single = once(journal, 10)
        single.reschedule(3)
        async with Scope() as scope:
            await scope.start_soon(single)
        assert journal.began[-1] == 33

    run_virtual(scenario)


def test_10_trigger_runs_now_and_leaves_the_grid() -> None:
    """Also during a pause, and from inside; several calls while it is busy make one run."""

    async def scenario(bubble: Bubble) -> None:
        recorder, journal = Recorder(), Journal(bubble, 0, 0, 4)
        timer = fixed_rate(journal, 10, hooks=[recorder])
        with pytest.raises(RuntimeError, match="does not run"):
            timer.trigger()
        async with Scope() as scope:
            handle = scope.start_soon(timer)
            await asyncio.sleep(3)
            timer.trigger()
            await asyncio.sleep(8)
            timer.trigger()
            timer.trigger()
            timer.pause()
            await asyncio.sleep(10)
            timer.trigger()
            await asyncio.sleep(1)
            timer.stop()
            with pytest.raises(RuntimeError):
                timer.trigger()
            await handle
        assert journal.began == [0, 3, 10, 14.1, 21]
        runs = [seen for seen in recorder.seen if seen.status is None]
        assert [run.triggered for run in runs] == [False, True, False, True, True]
        with pytest.raises(RuntimeError):
            timer.trigger()

    run_virtual(scenario)


def test_10_a_body_may_trigger_itself_without_starving_the_loop() -> None:
    """Each run gives the loop a turn."""

    async def scenario(bubble: Bubble) -> None:
        runs = 0

        async def body() -> None:
            nonlocal runs
            runs += 1
            timer.trigger()

        timer = fixed_rate(body, 10)
        async with Scope() as scope:
            scope.start_soon(timer)
            for _ in range(100):
                await asyncio.sleep(0)
        assert 10 < runs < 110

    run_virtual(scenario)


@pytest.mark.parametrize("missed", ["skip", "coalesce", "burst"])
def test_10_a_pause_makes_no_burst(missed: Any) -> None:
    """After it the grid goes on at the next future instant, whatever the policy; nothing counts as missed."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        timer = fixed_rate(journal, 10, missed=missed)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(15)
            timer.pause()
            timer.pause()
            await asyncio.sleep(40)
            assert timer.paused
            timer.resume()
            timer.resume()
            await asyncio.sleep(20)
        assert journal.began == [0, 10, 60, 70]
        assert timer.statistics().missed == 0

    run_virtual(scenario)


@pytest.mark.parametrize("missed", ["skip", "coalesce", "burst"])
def test_10_a_pause_that_begins_during_a_run_makes_no_burst(missed: Any) -> None:
    """Also when the next instant was not known yet."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 0, 12)
        timer = fixed_rate(journal, 10, missed=missed)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(11)
            timer.pause()
            await asyncio.sleep(44)
            timer.resume()
            await asyncio.sleep(6)
        assert journal.began == [0, 10, 60]

    run_virtual(scenario)


def test_10_pauses_of_the_other_kinds() -> None:
    """A delay begins again, a single timer runs at once, and one may be started paused."""

    async def scenario(bubble: Bubble) -> None:
        delayed, single = Journal(bubble), Journal(bubble)
        timers = [fixed_delay(delayed, 10, initial_delay=10), once(single, 5)]
        async with Scope() as scope:
            for timer in timers:
                timer.pause()
                scope.start_soon(timer)
            await asyncio.sleep(30)
            for timer in timers:
                timer.resume()
            await asyncio.sleep(15)
        assert (delayed.began, single.began) == ([40], [30])

    run_virtual(scenario)
