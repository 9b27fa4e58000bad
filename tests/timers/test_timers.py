"""Timers: the thirteen semantics, one section each; virtual time throughout."""

import asyncio
import contextvars
import functools
import inspect
import logging
import math
import random
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import pytest
import uvloop

from lifecycle import LeakError, ReleaseTimeout, Scope, TaskCancelled, TaskManager, TaskStatus
from lifecycle._timers.records import RunOutcome, TimerRun
from lifecycle._timers.timer import Timer
from lifecycle._timers.timers import (
    CronOptions,
    DelayOptions,
    RateOptions,
    RunOptions,
    after,
    cron,
    fixed_delay,
    fixed_rate,
)
from lifecycle.testing import Bubble, explore_cancellation, run_virtual

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]


class Journal:
    """A body that notes when it begins, and takes as long as it is told."""

    def __init__(self, bubble: Bubble, *durations: float) -> None:
        self._bubble = bubble
        self._durations = list(durations)
        self.began: list[float] = []
        self.ended: list[float] = []
        self.live = self.most = 0

    async def __call__(self) -> None:
        self.began.append(round(self._bubble.clock.now, 6))
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            if self._durations:
                await asyncio.sleep(self._durations.pop(0))
            self.ended.append(round(self._bubble.clock.now, 6))
        finally:
            self.live -= 1


async def run_for(timer: Timer, seconds: float) -> None:
    """Run a timer in a scope for so long."""
    async with Scope("owner") as scope:
        scope.start_soon(timer)
        await asyncio.sleep(seconds)
    timer._check_invariants()
    assert timer.statistics().running == 0


async def nothing() -> None:
    pass


# 1. fixed_rate: due(n) = anchor + n * period


def test_1_fixed_rate_is_anchored_and_does_not_drift() -> None:
    """Ten thousand runs of an uneven period begin at start + n * period, to the last digit."""

    async def scenario(bubble: Bubble) -> None:
        await asyncio.sleep(0.3)
        anchor, began = bubble.clock.now, []

        async def body() -> None:
            began.append(bubble.clock.now)
            await asyncio.sleep(random.uniform(0, 0.09))

        timer = fixed_rate(body, 0.1, max_runs=10_000)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert all(abs(at - (anchor + n * 0.1)) < 1e-6 for n, at in enumerate(began))
        assert timer.statistics().succeeded == 10_000
        assert timer.statistics().missed == 0

    run_virtual(scenario)


@pytest.mark.parametrize("period", [0, -1, math.nan, math.inf, 10**400, 1e12, 1e-9])
def test_1_impossible_periods_are_refused(period: float) -> None:
    """Before anything happens, with the range in the message."""
    with pytest.raises(ValueError, match="must be from 1e-06"):
        fixed_rate(nothing, period)
    with pytest.raises(ValueError, match="delay must be from"):
        fixed_delay(nothing, period)


# 2. fixed_delay: due = end + delay; both serial


def test_2_fixed_delay_counts_from_the_end_of_the_run() -> None:
    """The pause between two runs is the same however long a run takes."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 1, 4, 0, 25)
        await run_for(fixed_delay(journal, 10), 71)
        assert journal.began == [0, 11, 25, 35, 70]

    run_virtual(scenario)


@pytest.mark.parametrize("make", [fixed_rate, fixed_delay])
def test_2_a_timer_never_overlaps_itself(make: Callable[..., Timer]) -> None:
    """Runs that take longer than the period follow each other."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, *[2.5] * 20)
        await run_for(make(journal, 1), 20)
        assert journal.most == 1
        assert len(journal.began) > 5

    run_virtual(scenario)


def test_2_max_instances_lets_runs_overlap_up_to_a_bound() -> None:
    """Three at once, no more; what finds no place is missed; nothing is left at the end."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, *[3.5] * 20)
        timer = fixed_rate(journal, 1, max_instances=3)
        await run_for(timer, 10.2)
        assert journal.most == 3
        assert journal.began == [0, 1, 2, 4, 5, 6, 8, 9, 10]
        assert timer.statistics().missed == 2
        assert timer.statistics().cancelled == 3

    run_virtual(scenario)


# 3. missed policies


def test_3_skip_waits_for_the_next_future_instant() -> None:
    """The default: what passed during a long run is dropped and counted."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 25)
        timer = fixed_rate(journal, 10)
        await run_for(timer, 45)
        assert journal.began == [0, 30, 40]
        assert timer.statistics().missed == 2

    run_virtual(scenario)


def test_3_coalesce_makes_one_run_of_what_passed() -> None:
    """One run at once, then the grid."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 25)
        timer = fixed_rate(journal, 10, missed="coalesce")
        await run_for(timer, 45)
        assert journal.began == [0, 25, 30, 40]
        assert timer.statistics().missed == 1

    run_virtual(scenario)


def test_3_burst_runs_everything_that_passed() -> None:
    """One after the other until it has caught up, giving the loop its turns."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 35)
        timer = fixed_rate(journal, 10, missed="burst")
        await run_for(timer, 45)
        assert journal.began == [0, 35, 35, 35, 40]
        assert timer.statistics().missed == 0

    run_virtual(scenario)


def test_3_a_burst_does_not_starve_the_loop() -> None:
    """A thousand runs that never suspend let other tasks run in between."""

    async def scenario(bubble: Bubble) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        begun = False

        async def body() -> None:
            nonlocal begun
            if not begun:
                begun = True
                await asyncio.sleep(1000)

        timer = fixed_rate(body, 1, missed="burst", max_runs=1001)
        async with Scope() as scope:
            handle = scope.start_soon(timer)
            await asyncio.sleep(999.5)
            scope.start_soon(other)
            await handle
        assert turns > 900

    run_virtual(scenario)


# 4. misfire grace


def test_4_without_a_grace_a_run_begins_however_late() -> None:
    """The default: an hour late is late, not lost."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 3600)
        timer = fixed_rate(journal, 1800, missed="burst")
        await run_for(timer, 4000)
        assert journal.began == [0, 3600, 3600]
        assert timer.statistics().misfired == 0

    run_virtual(scenario)


def test_4_what_is_later_than_its_grace_is_dropped_counted_and_told() -> None:
    """Of four instants that passed in a burst, the two within the grace are run."""

    async def scenario(bubble: Bubble) -> None:
        told = []

        class Hook:
            def missed(self, timer: str, due: float, count: int) -> None:
                told.append((timer, due, count))

        journal = Journal(bubble, 45)
        timer = fixed_rate(journal, 10, missed="burst", misfire_grace=16, name="t", hooks=[Hook()])
        await run_for(timer, 55)
        assert journal.began == [0, 45, 45, 50]
        assert timer.statistics().misfired == 2
        assert told == [("t", 10, 2)]

    run_virtual(scenario)


def test_4_a_single_timer_can_misfire() -> None:
    """A blocked loop makes `after` too late; it ends without a run."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)
        timer = fixed_delay(journal, 10, initial_delay=5, misfire_grace=1)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(4)
            bubble.clock.now += 7  # the loop was blocked
            await asyncio.sleep(12)
        assert journal.began == [21]
        assert timer.statistics().misfired == 1

    run_virtual(scenario)


# 5. the first run, and jitter


def test_5_the_first_run_comes_after_the_initial_delay() -> None:
    """At once unless said otherwise; the grid begins with it."""

    async def scenario(bubble: Bubble) -> None:
        at_once, later, delayed = Journal(bubble), Journal(bubble), Journal(bubble)
        async with Scope() as scope:
            scope.start_soon(fixed_rate(at_once, 10))
            scope.start_soon(fixed_rate(later, 10, initial_delay=3))
            scope.start_soon(fixed_delay(delayed, 10, initial_delay=4))
            await asyncio.sleep(25)
        assert (at_once.began, later.began, delayed.began) == ([0, 10, 20], [3, 13, 23], [4, 14, 24])

    run_virtual(scenario)


def test_5_jitter_moves_the_run_and_not_the_grid() -> None:
    """A thousand runs each within the jitter of their own instant: no random walk."""

    async def scenario(bubble: Bubble) -> None:
        random.seed(5)
        journal = Journal(bubble)
        timer = fixed_rate(journal, 10, jitter=4, max_runs=1000)
        async with Scope() as scope:
            await scope.start_soon(timer)
        offsets = [at - n * 10 for n, at in enumerate(journal.began)]
        assert all(-1e-6 <= offset <= 4 for offset in offsets)
        assert max(offsets) - min(offsets) > 3.9
        assert timer.statistics().missed == 0

    run_virtual(scenario)


def test_5_a_jitter_as_long_as_the_period_is_refused() -> None:
    """It would change the order of runs; also when the period is changed later."""
    with pytest.raises(ValueError, match="jitter must be less than the period"):
        fixed_rate(nothing, 5, jitter=5)
    timer = fixed_rate(nothing, 10, jitter=5)
    with pytest.raises(ValueError, match="jitter"):
        timer.reschedule(4)


# 6. errors


def failing_at(*numbers: int) -> tuple[list[int], Callable[[], Coroutine[Any, Any, None]]]:
    runs: list[int] = []

    async def body() -> None:
        runs.append(len(runs) + 1)
        if len(runs) in numbers:
            raise OSError(f"run {len(runs)} went wrong")

    return runs, body


def test_6_an_error_is_logged_and_the_timer_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """The default, with the timer's name, the run's number and the error."""

    async def scenario(bubble: Bubble) -> None:
        runs, body = failing_at(2, 3)
        timer = fixed_rate(body, 1, name="probe")
        await run_for(timer, 4.5)
        assert runs == [1, 2, 3, 4, 5]
        assert (timer.statistics().failed, timer.statistics().succeeded) == (2, 3)

    run_virtual(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "run 2 of timer 'probe' failed",
        "run 3 of timer 'probe' failed",
    ]
    assert caplog.records[0].exc_info
    assert (caplog.records[0].timer, caplog.records[0].run) == ("probe", 2)  # type: ignore[attr-defined]


def test_6_stop_ends_the_timer_after_the_first_error(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, the task returns, the owner goes on."""

    async def scenario(bubble: Bubble) -> None:
        runs, body = failing_at(2)
        async with Scope() as scope:
            handle = scope.start_soon(fixed_rate(body, 1, on_error="stop"))
            await handle
            assert handle.status is TaskStatus.FINISHED
            await asyncio.sleep(5)
        assert runs == [1, 2]

    run_virtual(scenario)
    assert "failed" in caplog.text


def test_6_raise_hands_the_error_to_the_owner() -> None:
    """A scope is interrupted by it, and its other runs are cancelled."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble)

        async def body() -> None:
            await journal()
            if len(journal.began) == 3:
                raise OSError("third")
            await asyncio.sleep(100)

        timer = fixed_rate(body, 1, on_error="raise", max_instances=3)
        with pytest.raises(OSError, match="third"):
            await run_for(timer, 50)
        assert bubble.clock.now == 2
        assert (timer.statistics().failed, timer.statistics().cancelled) == (1, 2)

    run_virtual(scenario)


def test_6_several_errors_are_all_raised() -> None:
    """The ones that the first one's cancellation brings about come along."""

    async def scenario(bubble: Bubble) -> None:
        started = 0

        async def body() -> None:
            nonlocal started
            started += 1
            if started == 2:
                raise OSError("first")
            try:
                await asyncio.sleep(100)
            finally:
                raise ValueError("clean-up")

        with pytest.raises(ExceptionGroup) as caught:
            await run_for(fixed_rate(body, 1, on_error="raise", max_instances=2), 50)
        assert [str(error) for error in caught.value.exceptions] == ["first", "clean-up"]

    run_virtual(scenario)


def test_6_cancelling_a_run_stops_the_timer(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever on_error says: who cancels a run wants an end."""

    async def scenario(bubble: Bubble) -> None:
        async def body() -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(0.5, task.cancel)
            await asyncio.sleep(100)

        timer = fixed_rate(body, 1)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert bubble.clock.now == 0.5
        assert timer.statistics().cancelled == 1

    run_virtual(scenario)
    assert "cancelled from outside" in caplog.text


def test_6_a_cancelled_error_from_within_is_an_error_like_others(caplog: pytest.LogCaptureFixture) -> None:
    """Awaiting something that was cancelled does not silence a timer."""

    async def scenario(bubble: Bubble) -> None:
        runs = 0

        async def body() -> None:
            nonlocal runs
            runs += 1
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        timer = fixed_rate(body, 1)
        await run_for(timer, 2.5)
        assert runs == timer.statistics().failed == 3

    run_virtual(scenario)
    assert caplog.records[0].exc_info is not None
    assert isinstance(caplog.records[0].exc_info[1], TaskCancelled)


# 7. hooks


class Recorder:
    """A hook that notes everything; its methods may be told to fail."""

    def __init__(self, fail: str = "") -> None:
        self.seen: list[Any] = []
        self.fail = fail

    def before(self, run: TimerRun) -> None:
        self.seen.append(run)
        if self.fail == "before":
            raise OSError("before")

    async def after(self, run: TimerRun, outcome: RunOutcome) -> None:
        await asyncio.sleep(0.1)
        self.seen.append(outcome)
        if self.fail == "after":
            raise OSError("after")


def test_7_hooks_see_the_run_and_its_outcome() -> None:
    """Number, when it was due, when it began, how late, what was missed; status, error, duration."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()
        timer = fixed_rate(Journal(bubble, 15), 10, hooks=[recorder], name="t")
        await run_for(timer, 25)
        first, outcome, second, _ = recorder.seen
        assert first == TimerRun("t", 1, 0.0, 0.0, 0, False)
        assert outcome == RunOutcome(TaskStatus.FINISHED, None, 15.0)
        assert second == TimerRun("t", 2, 20.0, 20.0, 1, False)
        assert second.lateness == 0.0

    run_virtual(scenario)


def test_7_an_error_of_before_fails_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """The body is not run; after is called; the timer goes on."""

    async def scenario(bubble: Bubble) -> None:
        recorder, journal = Recorder("before"), Journal(bubble)
        timer = fixed_rate(journal, 10, hooks=[recorder])
        await run_for(timer, 15)
        assert journal.began == []
        assert [type(seen) for seen in recorder.seen] == [TimerRun, RunOutcome] * 2
        assert recorder.seen[1].status is TaskStatus.FAILED
        assert isinstance(recorder.seen[1].error, OSError)
        assert timer.statistics().failed == 2

    run_virtual(scenario)


def test_7_an_error_of_after_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the run nor the other hooks nor the timer."""

    async def scenario(bubble: Bubble) -> None:
        broken, sound = Recorder("after"), Recorder()
        timer = fixed_rate(Journal(bubble), 10, hooks=[broken, sound])
        await run_for(timer, 15)
        assert timer.statistics().succeeded == 2
        assert len(sound.seen) == 4

    run_virtual(scenario)
    assert "hook after run 1 of timer" in caplog.text


def test_7_after_is_called_for_a_cancelled_run() -> None:
    """With CANCELLED, and it may wait: the cancellation has been delivered."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()
        timer = fixed_rate(Journal(bubble, 100), 10, hooks=[recorder])
        await run_for(timer, 5)
        assert recorder.seen[-1].status is TaskStatus.CANCELLED
        assert bubble.clock.now == 5.1

    run_virtual(scenario)


def test_7_a_failing_missed_hook_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And a hook without any of the methods is refused."""

    class Broken:
        def missed(self, timer: str, due: float, count: int) -> None:
            raise OSError("missed")

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(Journal(bubble, 25), 10, hooks=[Broken()])
        await run_for(timer, 35)
        assert timer.statistics().runs == 2

    run_virtual(scenario)
    assert "hook of timer" in caplog.text
    with pytest.raises(TypeError, match="needs one of the methods before, after, missed"):
        fixed_rate(nothing, 1, hooks=[object()])


# 8. run timeout and statistics


def test_8_a_run_that_takes_too_long_is_cancelled_and_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """A TimeoutError that names the run; the timer goes on; a quicker run is untouched."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 100, 2)
        timer = fixed_rate(journal, 10, run_timeout=3, name="slow")
        await run_for(timer, 15)
        assert journal.began == [0, 10]
        assert journal.ended == [12]
        statistics = timer.statistics()
        assert (statistics.failed, statistics.timed_out, statistics.succeeded) == (1, 1, 1)

    run_virtual(scenario)
    assert caplog.records[0].exc_info is not None
    error = caplog.records[0].exc_info[1]
    assert isinstance(error, TimeoutError)
    assert str(error) == "run 1 of timer 'slow' took longer than its run_timeout of 3 s"


def test_8_a_run_timeout_respects_an_anyio_shield() -> None:
    """The shielded section ends; what comes after it is cancelled."""

    async def scenario(bubble: Bubble) -> None:
        passed = []

        async def body() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
                passed.append("shielded")
            await anyio.sleep(5)
            passed.append("after")

        timer = fixed_rate(body, 100, run_timeout=3)
        await run_for(timer, 50)
        assert passed == ["shielded"]
        assert timer.statistics().timed_out == 1

    run_virtual(scenario)


def test_8_a_body_that_swallows_its_timeout_is_left_alone() -> None:
    """It has ended well, late; the next run is not cancelled in its place, and its own errors are its own."""

    async def scenario(bubble: Bubble) -> None:
        recorder = Recorder()

        async def body() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(1)

        timer = fixed_rate(body, 10, run_timeout=3, max_runs=2, hooks=[recorder])
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert (timer.statistics().succeeded, timer.statistics().timed_out) == (2, 0)
        outcomes = [seen for seen in recorder.seen if isinstance(seen, RunOutcome)]
        assert [outcome.status for outcome in outcomes] == [TaskStatus.FINISHED] * 2

    run_virtual(scenario)


def test_8_statistics_say_what_happened_and_what_is_next() -> None:
    """Counters over all starts, the next instant, and what the timer is doing."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(Journal(bubble, 0, 4, 0), 10, name="t")
        assert timer.statistics().state == "idle"
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(5)
            assert (timer.statistics().state, timer.statistics().next_due) == ("waiting", 10)
            await asyncio.sleep(7)
            assert (timer.statistics().state, timer.statistics().next_due) == ("running", None)
            await asyncio.sleep(3)
            timer.pause()
            assert timer.statistics().state == "paused"
            timer.resume()
            statistics = timer.statistics()
            assert (statistics.runs, statistics.last_due, statistics.last_duration) == (2, 10, 4)
            bubble.clock.now += 6  # the loop was blocked
            await asyncio.sleep(0.1)
            assert timer.statistics().last_lateness == 1
        assert timer.statistics().state == "idle"
        assert repr(timer) == "timer 't' (every 10 s)"

    run_virtual(scenario)


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
        assert bubble.clock.now == 10
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
            await scope.start_soon(after(journal, 5))
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
        single = after(journal, 10)
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
        runs = [seen for seen in recorder.seen if isinstance(seen, TimerRun)]
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
        timers = [fixed_delay(delayed, 10, initial_delay=10), after(single, 5)]
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


# 11. cron: the wall clock


class WallClock:
    """The virtual clock's time as a wall clock that can be set."""

    def __init__(self, bubble: Bubble, start: float) -> None:
        self._bubble = bubble
        self.offset = start

    def __call__(self) -> float:
        return self.offset + self._bubble.clock.now


MIDNIGHT = 1_700_006_400.0  # 15 November 2023, 00:00 UTC


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


# 13. context and ownership

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


def test_13_each_run_has_a_fresh_copy_of_the_context_of_the_start() -> None:
    """What the starter had set is seen, what a run sets is not seen by the next."""

    async def scenario(bubble: Bubble) -> None:
        seen = []

        async def body() -> None:
            seen.append(request.get())
            request.set("changed by a run")
            await asyncio.sleep(1.5)

        class Hook:
            def missed(self, timer: str, due: float, count: int) -> None:
                request.set("changed by a hook in the timer's own task")

        request.set("of the starter")
        async with Scope() as scope:
            handle = scope.start_soon(fixed_rate(body, 1, max_runs=3, hooks=[Hook()]))
            request.set("changed by the starter")
            await handle
        assert seen == ["of the starter"] * 3

    run_virtual(scenario)


def test_13_any_owner_runs_a_timer() -> None:
    """A scope, a task manager, an asyncio task, anyio and asyncio groups: it ends with them and leaves nothing."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, *[0.7] * 100)
        timer = fixed_rate(journal, 1, max_instances=2)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(2.5)
        async with TaskManager(drain_timeout=0) as manager:
            manager.start_soon(timer)
            await asyncio.sleep(2.5)
        task = asyncio.create_task(timer())
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with anyio.create_task_group() as group:
            group.start_soon(timer)
            await asyncio.sleep(2.5)
            group.cancel_scope.cancel()
        async with asyncio.TaskGroup() as native:
            native.create_task(timer())
            await asyncio.sleep(2.5)
            timer.stop()
        assert len(journal.began) == 15
        timer._check_invariants()

    run_virtual(scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "eager"])
def test_13_on_every_loop(loop: str) -> None:
    """In real time: runs, a timeout, a stop and an end by the owner, on uvloop and under an eager task factory too."""

    async def main() -> None:
        if loop == "eager":
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        before = asyncio.all_tasks()
        late = fixed_rate(functools.partial(asyncio.sleep, 10), 0.02, run_timeout=0.01, max_runs=2)
        ended = fixed_rate(functools.partial(asyncio.sleep, 10), 10)
        stopped = fixed_rate(nothing, 0.005)
        async with anyio.create_task_group() as group, asyncio.timeout(10), Scope() as scope:
            group.start_soon(stopped)
            scope.start_soon(ended)
            await scope.start_soon(late)
            stopped.stop()
        assert late.statistics().timed_out == 2
        assert ended.statistics().cancelled == 1
        assert stopped.statistics().succeeded > 1
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()

    if loop == "eager" and sys.version_info < (3, 12):
        pytest.skip("asyncio has eager tasks since 3.12")
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_13_a_run_may_cancel_the_owner_of_its_timer() -> None:
    """It is cancelled with the rest of what the owner has."""

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()

        async def body() -> None:
            scope.cancel()
            await asyncio.sleep(10)

        timer = fixed_rate(body, 1)
        await scope.start_soon(timer).wait()
        await scope.aclose()
        assert bubble.clock.now == 0
        assert timer.statistics().cancelled == 1

    run_virtual(scenario)


@pytest.mark.parametrize("owner_type", [Scope, TaskManager])
def test_13_a_run_may_close_the_owner_of_its_timer(owner_type: type[Scope | TaskManager]) -> None:
    """G7 for what an owner's task owns: no deadlock, no stall, and the run goes on to its end."""

    async def scenario(bubble: Bubble) -> None:
        owner = owner_type()
        closed = []

        async def body() -> None:
            await owner.aclose()
            closed.append(bubble.clock.now)

        await owner.start_soon(fixed_rate(body, 1)).wait()
        await bubble.wait_all_blocked()
        assert closed == [0]

    run_virtual(scenario)


def test_13_a_closing_task_manager_stops_its_timers() -> None:
    """A timer never ends by itself: the manager has to stop it, and to drain only its current run."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 3)
        manager = TaskManager(drain_timeout=10)
        manager.start_soon(fixed_rate(journal, 60))
        await asyncio.sleep(1)
        report = await manager.aclose()
        assert report.clean
        assert journal.ended == [3]
        assert bubble.clock.now == 3

    run_virtual(scenario)


def test_13_bodies_that_are_equal_or_unhashable_are_kept_apart() -> None:
    """One record per run, never keyed by what a user hands in: case A of the casebook."""

    class Body:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self) -> None:
            self.runs = 0

        def __eq__(self, other: object) -> bool:
            return True

        async def __call__(self) -> None:
            self.runs += 1
            await asyncio.sleep(1.5)

    async def scenario(bubble: Bubble) -> None:
        bodies = [Body(), Body()]
        timers = [fixed_rate(body, 1, max_instances=2, hooks=[Recorder()]) for body in bodies]
        async with Scope() as scope:
            for timer in timers:
                scope.start_soon(timer)
            await asyncio.sleep(4.2)
        assert [body.runs for body in bodies] == [5, 5]
        for timer in timers:
            timer._check_invariants()
            assert timer.statistics().running == 0

    run_virtual(scenario)


def test_13_an_owner_names_the_task_after_the_timer() -> None:
    """And the timer after its function, a partial's included."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            assert scope.start_soon(fixed_rate(nothing, 1, name="heartbeat")).name == "heartbeat"
            assert scope.start_soon(fixed_rate(nothing, 1)).name == "nothing"
            assert scope.start_soon(fixed_rate(functools.partial(asyncio.sleep, 0), 1)).name == "sleep"
            assert scope.start_soon(fixed_rate(Journal(bubble), 1)).name == "Journal"

    run_virtual(scenario)


def test_13_a_refused_timer_can_be_started_elsewhere() -> None:
    """An owner that was closed takes nothing away."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(nothing, 1, max_runs=1)
        closed = Scope()
        await closed.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            closed.start_soon(timer)
        with pytest.raises(anyio.ClosedResourceError):
            closed.create_task(timer())
        async with Scope() as scope:
            await scope.start_soon(timer)

    run_virtual(scenario)


# Struck everywhere


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


async def slow() -> None:
    await asyncio.sleep(0.3)
    await asyncio.sleep(0.3)


@pytest.mark.parametrize(
    "timer_of",
    [
        lambda bubble: fixed_rate(slow, 1),
        lambda bubble: fixed_rate(slow, 0.5, max_instances=2, missed="burst", hooks=[Recorder()], max_runs=5),
        lambda bubble: fixed_rate(slow, 1, run_timeout=0.4),
        lambda bubble: fixed_rate(slow, 1, max_runs=2),
        lambda bubble: fixed_delay(slow, 0.5),
        lambda bubble: after(slow, 1),
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


# What is refused


async def generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("wrong", [print, 5, None, generator, Journal, lambda: 5, fixed_rate(nothing, 1)])
def test_what_is_no_async_function_is_refused(wrong: Any) -> None:
    """A synchronous function, no function at all, a generator, a class, a timer; a lambda when it is first run."""
    if getattr(wrong, "__name__", "") == "<lambda>":
        timer = fixed_rate(wrong, 1, on_error="raise")
        with pytest.raises(TypeError, match="expected an async function"):
            asyncio.run(run_for(timer, 1))
        return
    with pytest.raises(TypeError, match="a timer runs an async function"):
        fixed_rate(wrong, 1)


def test_a_lambda_and_a_decorated_function_will_do() -> None:
    """What gives a coroutine when it is called."""

    @functools.wraps(nothing)
    def wrapper() -> Any:
        return nothing()

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            for fn in (lambda: nothing(), wrapper):
                timer = fixed_rate(fn, 1, max_runs=2)
                await scope.start_soon(timer)
                assert timer.statistics().succeeded == 2

    run_virtual(scenario)


@pytest.mark.parametrize(
    "options",
    [
        {"initial_delay": -1},
        {"missed": "later"},
        {"misfire_grace": -1},
        {"jitter": math.nan},
        {"max_instances": 0},
        {"run_timeout": 0},
        {"on_error": "ignore"},
        {"max_runs": 0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """By name, before anything happens."""
    with pytest.raises(ValueError, match=next(iter(options))):
        fixed_rate(nothing, 1, **options)


@pytest.mark.parametrize(
    "options", [{"initial_delay": "1"}, {"max_instances": None}, {"max_instances": 1.5}, {"max_runs": True}]
)
def test_options_of_a_wrong_type_are_refused(options: dict[str, Any]) -> None:
    """By name, before anything happens."""
    with pytest.raises(TypeError, match=next(iter(options))):
        fixed_rate(nothing, 1, **options)


def test_without_a_function_they_are_decorators() -> None:
    """The function becomes a timer with its name; wrong options are refused before there is a function."""

    @fixed_rate(5.0, max_runs=2)
    async def poll() -> None:
        pass

    @fixed_delay(5.0)
    async def clean() -> None:
        pass

    @cron("0 4 * * *", timezone="UTC")
    async def report() -> None:
        pass

    assert [repr(timer).partition("<locals>.")[2] for timer in (poll, clean, report)] == [
        "poll' (every 5 s)",
        "clean' (5 s after each run)",
        "report' (cron '0 4 * * *' in UTC)",
    ]

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            await scope.start_soon(poll)
        assert bubble.clock.now == 5

    run_virtual(scenario)
    with pytest.raises(ValueError, match="period"):
        fixed_rate(-1.0)
    with pytest.raises(TypeError, match="period must be a number of seconds, got <function nothing"):
        fixed_rate(nothing)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="is text such as"):
        cron(nothing, timezone="UTC")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("make", "options"), [(fixed_rate, RateOptions), (fixed_delay, DelayOptions), (cron, CronOptions)]
)
def test_the_typed_options_are_the_real_ones(make: Any, options: Any) -> None:
    """What type checkers are told is what the functions take."""
    parameters = set(inspect.signature(make).parameters) - {"fn", "period", "delay", "expression", "timezone"}
    assert parameters == set(options.__annotations__) | set(RunOptions.__annotations__)


def test_stop_refuses_nonsense() -> None:
    """Before it has an effect."""
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        fixed_rate(nothing, 1).stop(-1)


def test_a_run_left_behind_is_a_leak_that_the_test_kit_sees() -> None:
    """The checks of this file can fail: a body that starts a task of its own and forgets it."""

    async def scenario(bubble: Bubble) -> None:
        kept = []

        async def body() -> None:
            kept.append(asyncio.create_task(asyncio.sleep(1000)))

        await run_for(fixed_rate(body, 10), 5)

    with pytest.raises(LeakError):
        run_virtual(scenario)
