"""When runs are due: fixed rates and delays, missed instants, the misfire grace, the first run and jitter."""

import asyncio
import math
import random
from collections.abc import Callable

import pytest

from lifecycle import Scope, fixed_delay, fixed_rate
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import Timer

from .journal import Journal, nothing, run_for

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
        assert timer.statistics().finished == 10_000
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
    """A blocked loop makes `once` too late; it ends without a run."""

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
