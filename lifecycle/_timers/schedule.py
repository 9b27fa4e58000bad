"""When a timer's runs are due: plain arithmetic on seconds, without a clock, a loop or any waiting.

A *grid* is an endless row of instants (a period's multiples, a cron expression's matches). A *schedule* says which
instant is next, given the last one and the time it is now; the policies for missed instants live here:

* ``skip``: what passed while a run kept the timer busy is dropped; the next run is at the first future instant.
* ``coalesce``: what passed becomes one run, at once; then the grid again.
* ``burst``: what passed is run, one after the other, until the timer has caught up.

All three keep the grid's phase: ``due(n) = anchor + n * period``, never a sum of sleeps.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

MissedPolicy = Literal["skip", "coalesce", "burst"]


class Occasion(NamedTuple):
    """One instant at which a run is due.

    Attributes:
        due: the instant, in seconds of the timer's clock.
        missed: how many instants before it were passed over to get here.
    """

    due: float
    missed: int = 0


class Grid(Protocol):
    """An endless row of instants."""

    def first(self) -> float | None:
        """Return the first instant."""

    def after(self, instant: float) -> float | None:
        """Return the first instant later than *instant*, None when there is none."""

    def newest(self, instant: float) -> float:
        """Return the last instant that is not later than *instant*; there is one."""

    def count(self, after: float, until: float) -> int:
        """Return how many instants are later than *after* and not later than *until*."""


class Schedule(Protocol):
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


class RateGrid:
    """The instants ``anchor + n * period``.

    Args:
        anchor: the first instant.
        period: seconds from one to the next.
    """

    __slots__ = ("anchor", "period")

    def __init__(self, anchor: float, period: float) -> None:
        self.anchor = anchor
        self.period = period

    def due(self, number: int) -> float:
        """Return instant number *number*, from 0."""
        return self.anchor + number * self.period

    def first(self) -> float:
        return self.anchor

    def after(self, instant: float) -> float:
        return self.due(self._number_after(instant))

    def newest(self, instant: float) -> float:
        return self.due(self._number_after(instant) - 1)

    def count(self, after: float, until: float) -> int:
        return max(0, self._number_after(until) - self._number_after(after))

    def _number_after(self, instant: float) -> int:
        """Return the number of the first instant later than *instant*; the division alone may be one off."""
        number = max(0, math.floor((instant - self.anchor) / self.period))
        while self.due(number) <= instant:
            number += 1
        while number > 0 and self.due(number - 1) > instant:
            number -= 1
        return number


class OnGrid:
    """A schedule whose occasions are a grid's instants, with a policy for those that pass while the timer is busy.

    Args:
        grid: the instants.
        policy: what becomes of those that passed.
    """

    __slots__ = ("_grid", "_policy")

    def __init__(self, grid: Grid, policy: MissedPolicy) -> None:
        self._grid = grid
        self._policy = policy

    def first(self) -> Occasion | None:
        due = self._grid.first()
        return None if due is None else Occasion(due)

    def following(self, reference: float, now: float) -> Occasion | None:
        due = self._grid.after(reference)
        if due is None or due > now or self._policy != "skip":
            return None if due is None else Occasion(due)
        due = self._grid.after(now)
        return None if due is None else Occasion(due, self._grid.count(reference, now))

    def at_start(self, occasion: Occasion, now: float) -> Occasion:
        if self._policy != "coalesce" or occasion.due >= now:
            return occasion
        passed = self._grid.count(occasion.due, now)
        return Occasion(self._grid.newest(now), occasion.missed + passed) if passed else occasion

    def after_misfire(self, occasion: Occasion, now: float, grace: float) -> tuple[Occasion | None, int]:
        floor = now if self._policy == "skip" else now - grace
        floor = max(occasion.due, floor)
        due = self._grid.after(floor)
        return (None if due is None else Occasion(due)), 1 + self._grid.count(occasion.due, floor)

    def after_pause(self, occasion: Occasion, now: float) -> Occasion | None:
        if occasion.due > now:
            return occasion
        due = self._grid.after(now)
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
