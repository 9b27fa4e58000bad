"""The arithmetic of timers: grids, policies and bounds, without a clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle._ground.checks import LONGEST, SHORTEST, checked_period, checked_seconds
from lifecycle._timers.schedule import Delay, MissedPolicy, Occasion, Occasions, Once, OnRule, RateRule

periods = st.floats(min_value=0.001, max_value=1e6)
anchors = st.floats(min_value=0.0, max_value=1e7)
policies = st.sampled_from(["skip", "coalesce", "burst"])


@given(anchors, periods, st.floats(min_value=-1e6, max_value=1e9))
def test_the_next_instant_is_the_first_one_later(anchor: float, period: float, instant: float) -> None:
    """after(t) is on the grid, later than t, and nothing on the grid lies between."""
    grid = RateRule(anchor, period)
    found = grid.after(instant)
    number = round((found - anchor) / period)
    assert found == grid.due(number) > instant
    assert number == 0 or grid.due(number - 1) <= instant


@given(anchors, periods, st.integers(min_value=0, max_value=10**6))
def test_instants_are_multiples_and_not_sums(anchor: float, period: float, number: int) -> None:
    """Going from one instant to the next a million times ends where one multiplication does."""
    grid = RateRule(anchor, period)
    assert grid.after(grid.due(number)) == grid.due(number + 1) == anchor + (number + 1) * period


@given(anchors, periods, st.floats(min_value=0, max_value=500), st.floats(min_value=0, max_value=500))
def test_counting_agrees_with_walking(anchor: float, period: float, first: float, second: float) -> None:
    """count(a, b) and newest(b) are what stepping from a to b finds."""
    grid = RateRule(anchor, period)
    begin, end = sorted((anchor + first * period, anchor + second * period))
    found, instant = [], grid.after(begin)
    while instant <= end:
        found.append(instant)
        instant = grid.after(instant)
    assert grid.count(begin, end) == len(found)
    if found:
        assert grid.newest(end) == found[-1]


def test_a_rate_says_what_is_wrong_with_it() -> None:
    """A type, or a range."""
    for wrong in ("x", None, True):
        with pytest.raises(TypeError):
            RateRule(wrong, 1.0)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            RateRule(0.0, wrong)  # type: ignore[arg-type]
    for anchor, period in ((float("nan"), 1.0), (float("inf"), 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, float("inf"))):
        with pytest.raises(ValueError, match=r"anchor|period"):
            RateRule(anchor, period)


def simulate(policy: MissedPolicy, period: float, durations: list[float]) -> tuple[list[float], int, list[float]]:
    """Run a serial timer by pure steps; return when each run began, how many were missed, what each stood for."""
    schedule: Occasions = OnRule(RateRule(0.0, period), 0.0, policy)
    now, missed, began, stood_for = 0.0, 0, [], []
    occasion = schedule.first()
    for duration in durations:
        assert occasion is not None
        now = max(now, occasion.due)
        occasion = schedule.at_start(occasion, now)
        missed += occasion.missed
        began.append(now)
        stood_for.append(occasion.due)
        now += duration
        occasion = schedule.following(occasion.due, now)
    return began, missed, stood_for


durations = st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=30)


@given(policies, st.floats(min_value=0.1, max_value=10), durations)
def test_every_policy_keeps_the_account_of_the_grid(policy: MissedPolicy, period: float, spent: list[float]) -> None:
    """Runs stand for grid instants in order, none twice, and runs + missed are all the instants up to the last."""
    began, missed, stood_for = simulate(policy, period, spent)
    grid = RateRule(0.0, period)
    assert stood_for == sorted(set(stood_for))
    assert len(stood_for) + missed == 1 + grid.count(0.0, stood_for[-1])
    assert all(start >= due for start, due in zip(began, stood_for, strict=True))


@given(st.floats(min_value=0.1, max_value=10), durations)
def test_skip_begins_every_run_on_the_grid(period: float, spent: list[float]) -> None:
    """With skip a run never begins between two instants, whatever came before."""
    began, _, stood_for = simulate("skip", period, spent)
    assert began == stood_for


@given(st.floats(min_value=0.1, max_value=10), durations)
def test_burst_misses_nothing(period: float, spent: list[float]) -> None:
    """With burst every instant gets its run."""
    _, missed, stood_for = simulate("burst", period, spent)
    assert missed == 0
    assert stood_for == [RateRule(0.0, period).due(number) for number in range(len(spent))]


@given(st.floats(min_value=0.1, max_value=10), durations)
def test_coalesce_never_lags_a_whole_period(period: float, spent: list[float]) -> None:
    """With coalesce a run stands for the newest instant there is."""
    began, _, stood_for = simulate("coalesce", period, spent)
    for start, due in zip(began, stood_for, strict=True):
        assert RateRule(0.0, period).newest(start) == due


def test_an_overrun_by_two_and_a_half_periods() -> None:
    """The three policies on one example: period 10, one run of 25 seconds."""
    assert simulate("skip", 10, [25, 1, 1]) == ([0, 30, 40], 2, [0, 30, 40])
    assert simulate("coalesce", 10, [25, 1, 1]) == ([0, 25, 30], 1, [0, 20, 30])
    assert simulate("burst", 10, [25, 1, 1]) == ([0, 25, 26], 0, [0, 10, 20])


def test_a_wake_up_a_hair_early_does_not_run_twice() -> None:
    """The next instant is looked for from when the last was due, not from when it began."""
    schedule = OnRule(RateRule(0.0, 10.0), 0.0, "skip")
    assert schedule.following(10.0, math.nextafter(10.0, 0)) == Occasion(20.0)


@pytest.mark.parametrize(("policy", "expected"), [("skip", (110, 10)), ("coalesce", (100, 9)), ("burst", (100, 9))])
def test_what_is_too_late_is_dropped_in_one_step(policy: MissedPolicy, expected: tuple[float, int]) -> None:
    """Skip goes to the future; the others keep what is still within the grace."""
    schedule = OnRule(RateRule(0.0, 10.0), 0.0, policy)
    following, dropped = schedule.after_misfire(Occasion(10.0), 104.0, 5.0)
    assert following is not None
    assert (following.due, dropped) == expected


def test_a_delay_counts_from_the_end() -> None:
    """The next occasion is the delay after the later of the last run and now."""
    schedule = Delay(5.0, 10.0)
    assert schedule.first() == Occasion(5.0)
    assert schedule.following(5.0, 7.5) == Occasion(17.5)
    assert schedule.after_misfire(Occasion(5.0), 100.0, 1.0) == (Occasion(110.0), 1)
    assert schedule.after_pause(Occasion(5.0), 100.0) == Occasion(110.0)
    assert schedule.after_pause(Occasion(105.0), 100.0) == Occasion(105.0)


def test_once_is_once() -> None:
    """One occasion, which also a pause does not lose."""
    schedule: Occasions = Once(5.0)
    assert schedule.first() == Occasion(5.0)
    assert schedule.following(5.0, 6.0) is None
    assert schedule.after_pause(Occasion(5.0), 100.0) == Occasion(5.0)
    assert schedule.after_misfire(Occasion(5.0), 100.0, 1.0) == (None, 1)


@pytest.mark.parametrize("wrong", [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, 10**400, LONGEST * 2, SHORTEST / 2])
def test_impossible_periods_are_refused(wrong: float) -> None:
    """Zero, negative, not a number, infinite, huge and too short to tell apart."""
    with pytest.raises(ValueError, match="period must be from 1e-06"):
        checked_period(wrong)


@pytest.mark.parametrize("wrong", ["5", None, True, 5j, [5]])
def test_what_is_no_number_is_refused(wrong: object) -> None:
    """Text, None, a truth value, a complex number and a list."""
    with pytest.raises(TypeError, match="delay must be a number of seconds"):
        checked_seconds(wrong, "delay")  # type: ignore[arg-type]
