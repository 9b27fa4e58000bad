"""Plans: what kind of timer it is, and how each of its starts makes a fresh schedule, anchored at that moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from .._ground.checks import checked_period, checked_seconds
from .schedule import Delay, MissedPolicy, Occasions, Once, OnRule, RateRule


class Plan(Protocol):
    """What a timer needs to know of its kind."""

    @property
    def clock(self) -> Callable[[], float] | None:
        """Return the wall clock that it goes by, None for the loop's clock."""

    def begin(self, now: float) -> Occasions:
        """Return the schedule of a timer that is started *now*."""

    def again(self, now: float) -> Occasions:
        """Return the schedule of a running timer whose plan was changed *now*."""

    def changed(self, rule: float | str) -> Self:
        """Return the same plan with another period, delay or expression.

        Raises:
            TypeError, ValueError: the plan cannot go by it.
        """


class LoopClock:
    """Says that a plan goes by the loop's clock."""

    __slots__ = ()

    @property
    def clock(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RatePlan(LoopClock):
    """Every *period* seconds, on a grid."""

    period: float
    initial_delay: float
    missed: MissedPolicy

    def begin(self, now: float) -> Occasions:
        first = now + self.initial_delay
        return OnRule(RateRule(first, self.period), first, self.missed)

    def again(self, now: float) -> Occasions:
        first = now + self.period
        return OnRule(RateRule(first, self.period), first, self.missed)

    def changed(self, rule: float | str) -> Self:
        return replace(self, period=checked_period(_number(rule, "period")))

    def __str__(self) -> str:
        return f"every {self.period:g} s"


@dataclass(frozen=True, slots=True)
class DelayPlan(LoopClock):
    """*delay* seconds after the end of each run."""

    delay: float
    initial_delay: float

    def begin(self, now: float) -> Occasions:
        return Delay(now + self.initial_delay, self.delay)

    def again(self, now: float) -> Occasions:
        return Delay(now + self.delay, self.delay)

    def changed(self, rule: float | str) -> Self:
        return replace(self, delay=checked_period(_number(rule, "delay"), "delay"))

    def __str__(self) -> str:
        return f"{self.delay:g} s after each run"


@dataclass(frozen=True, slots=True)
class OncePlan(LoopClock):
    """Once, after *delay* seconds."""

    delay: float

    def begin(self, now: float) -> Occasions:
        return Once(now + self.delay)

    def again(self, now: float) -> Occasions:
        return Once(now + self.delay)

    def changed(self, rule: float | str) -> Self:
        return replace(self, delay=checked_seconds(_number(rule, "delay"), "delay"))

    def __str__(self) -> str:
        return f"once, after {self.delay:g} s"


def _number(rule: float | str, what: str) -> float:
    if isinstance(rule, str):
        raise TypeError(f"this timer goes by a {what} in seconds, got {rule!r}")
    return rule
