"""When a timer's runs are due: plain arithmetic on seconds, without a clock, a loop or any waiting.

A *rule* names an endless row of instants (a period's multiples, a cron expression's matches). A *schedule* says which
instant is next, given the last one and the time it is now; the policies for missed instants live here:

* ``skip``: what passed while a run kept the timer busy is dropped; the next run is at the first future instant.
* ``coalesce``: what passed becomes one run, at once; then the grid again.
* ``burst``: what passed is run, one after the other, until the timer has caught up.

All three keep the rule's phase: ``due(n) = anchor + n * period``, never a sum of sleeps.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

from .._ground.checks import checked_instant, checked_period

MissedPolicy = Literal["skip", "coalesce", "burst"]


class Occasion(NamedTuple):
    """One instant at which a run is due.

    Attributes:
        due: the instant, in seconds of the timer's clock.
        missed: how many instants before it were passed over to get here.
    """

    due: float
    missed: int = 0


class Rule(Protocol):
    """An endless row of instants."""

    def after(self, instant: float) -> float | None:
        """Return the first instant later than *instant*, None when there is none."""

    def newest(self, instant: float) -> float:
        """Return the last instant that is not later than *instant*; there is one."""

    def count(self, after: float, until: float) -> int:
        """Return how many instants are later than *after* and not later than *until*."""


class Occasions(Protocol):
    """What a timer asks to know when to run."""

    def first(self) -> Occasion | None:
        """Return the first occasion."""

    def following(self, reference: float, now: float) -> Occasion | None:
        """Return the next occasion, chosen *now*, when the one at *reference* was the last; None for never again."""

    def at_start(self, occasion: Occasion, now: float) -> Occasion:
        """Return what a run that starts *now* stands for, when *occasion* is due."""

    def after_misfire(self, occasion: Occasion, now: float, grace: float) -> tuple[Occasion | None, int]:
        """Drop *occasion*, which is more than *grace* late; return the next one, and how many were dropped."""

    def after_pause(self, occasion: Occasion, now: float) -> Occasion | None:
        """Return what *occasion* becomes when a pause ends *now*: what passed meanwhile is not made up for."""


class RateRule:
    """The instants ``anchor + n * period``, for n from 0: multiples and never sums, so that they do not drift.

    Do not use it to run something: that is what `fixed_rate` is for.

    Args:
        anchor: the first instant, in seconds of any clock.
        period: seconds from one to the next, from a microsecond to a century.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    __slots__ = ("anchor", "period")

    def __init__(self, anchor: float, period: float) -> None:
        self.anchor: float = checked_instant(anchor, "anchor")
        self.period: float = checked_period(period)

    def due(self, number: int) -> float:
        """Return instant number *number*, from 0."""
        return self.anchor + number * self.period

    def after(self, instant: float) -> float:
        """Return the first instant later than *instant*."""
        return self.due(self._number_after(instant))

    def newest(self, instant: float) -> float:
        """Return the last instant that is not later than *instant*, which must not be before the anchor."""
        return self.due(self._number_after(instant) - 1)

    def count(self, after: float, until: float) -> int:
        """Return how many instants are later than *after* and not later than *until*."""
        return max(0, self._number_after(until) - self._number_after(after))

    def _number_after(self, instant: float) -> int:
        """Return the number of the first instant later than *instant*; the division alone may be one off."""
        number = max(0, math.floor((instant - self.anchor) / self.period))
        while self.due(number) <= instant:
            number += 1
        while number > 0 and self.due(number - 1) > instant:
            number -= 1
        return number


class OnRule:
    """A schedule whose occasions are a rule's instants, with a policy for those that pass while the timer is busy.

    Args:
        rule: names the instants.
        first: the first of them, None when there is none.
        policy: what becomes of those that passed.
    """

    __slots__ = ("_first", "_policy", "_rule")

    def __init__(self, rule: Rule, first: float | None, policy: MissedPolicy) -> None:
        self._rule = rule
        self._first = first
        self._policy = policy

    def first(self) -> Occasion | None:
        return None if self._first is None else Occasion(self._first)

    def following(self, reference: float, now: float) -> Occasion | None:
        due = self._rule.after(reference)
        if due is None or due > now or self._policy != "skip":
            return None if due is None else Occasion(due)
        due = self._rule.after(now)
        return None if due is None else Occasion(due, self._rule.count(reference, now))

    def at_start(self, occasion: Occasion, now: float) -> Occasion:
        if self._policy != "coalesce" or occasion.due >= now:
            return occasion
        passed = self._rule.count(occasion.due, now)
        return Occasion(self._rule.newest(now), occasion.missed + passed) if passed else occasion

    def after_misfire(self, occasion: Occasion, now: float, grace: float) -> tuple[Occasion | None, int]:
        floor = now if self._policy == "skip" else now - grace
        floor = max(occasion.due, floor)
        due = self._rule.after(floor)
        return (None if due is None else Occasion(due)), 1 + self._rule.count(occasion.due, floor)

    def after_pause(self, occasion: Occasion, now: float) -> Occasion | None:
        if occasion.due > now:
            return occasion
        due = self._rule.after(now)
        return None if due is None else Occasion(due)


class Delay:
    """A schedule whose next occasion is a delay after the end of the last run.

    Args:
        begin: when the first run is due.
        delay: seconds from the end of a run to the next.
    """

    __slots__ = ("_begin", "_delay")

    def __init__(self, begin: float, delay: float) -> None:
        self._begin = begin
        self._delay = delay

    def first(self) -> Occasion:
        return Occasion(self._begin)

    def following(self, reference: float, now: float) -> Occasion:
        return Occasion(max(reference, now) + self._delay)

    def at_start(self, occasion: Occasion, now: float) -> Occasion:
        return occasion

    def after_misfire(self, occasion: Occasion, now: float, grace: float) -> tuple[Occasion, int]:
        return Occasion(now + self._delay), 1

    def after_pause(self, occasion: Occasion, now: float) -> Occasion:
        return occasion if occasion.due > now else Occasion(now + self._delay)


class Once:
    """A schedule with one occasion.

    Args:
        due: when.
    """

    __slots__ = ("_due",)

    def __init__(self, due: float) -> None:
        self._due = due

    def first(self) -> Occasion:
        return Occasion(self._due)

    def following(self, reference: float, now: float) -> None:
        return None

    def at_start(self, occasion: Occasion, now: float) -> Occasion:
        return occasion

    def after_misfire(self, occasion: Occasion, now: float, grace: float) -> tuple[None, int]:
        return None, 1

    def after_pause(self, occasion: Occasion, now: float) -> Occasion:
        return occasion
