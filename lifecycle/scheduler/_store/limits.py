"""Limits: what holds back the jobs of a queue, of a handler, or all of them; arithmetic without a store or a wait.

A limit belongs to the store, so that all schedulers of it keep to it together: so many at once wherever they run, so
many in a time whoever starts them. `Openings` is one look at all limits: it says whether one more may start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from lifecycle import Rate

from .._ground.text import quote

DEFAULT_QUEUE: Final = "default"
"""The queue of a job for which none is named."""

_LONGEST_NAME: Final = 200

LIGHTEST: Final = 0.001
HEAVIEST: Final = 1_000.0
"""The least and the greatest weight of a queue."""


def queue_problem(name: object) -> str | None:
    """Return what is wrong with *name* as the name of a queue or a handler, None if nothing is."""
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        return f"expected a name of 1 to {_LONGEST_NAME} characters, got {quote(name)}"
    return None


def check_queue(name: str, what: str = "queue") -> None:
    """Check the name of a queue.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, too long, or not printable.
    """
    if problem := queue_problem(name):
        raise (ValueError if isinstance(name, str) else TypeError)(f"{what}: {problem}")


class LimitKey(NamedTuple):
    """What a limit is about.

    Attributes:
        kind: ``queue``, ``handler``, or ``all``.
        name: of the queue or the handler; empty for all.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else "everything"


EVERYTHING: Final = LimitKey("all")


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds back the jobs of a queue, of a handler, or all.

    Attributes:
        key: what it is about.
        paused: whether nothing of it begins.
        at_once: how many of it run at once; None for no bound.
        rate: how many of it begin in a time; None for no bound.
        weight: of a queue: its share when several have work.
        whole_at: the wall-clock time at which the rate is whole again: the one number that its algorithm (GCRA) keeps.
    """

    key: LimitKey
    paused: bool = False
    at_once: int | None = None
    rate: Rate | None = None
    weight: float = 1.0
    whole_at: float = 0.0

    @property
    def neutral(self) -> bool:
        """Whether it holds nothing back, so that it need not be kept."""
        return not self.paused and self.at_once is None and self.rate is None and self.weight == 1.0

    def in_place_of(self, old: Limit) -> Limit:
        """Return what it is in the place of another one: as paused, and with as much used of its rate.

        Who sets its limits at every start would let in a burst with each.
        """
        return replace(self, paused=old.paused, whole_at=old.whole_at)


class Openings:
    """One look at all limits: where one more may start. What has been let in counts at once.

    Args:
        limits: all there are.
        running: how many jobs run of each queue and handler, over all schedulers of the store.
        now: the wall-clock time.

    Attributes:
        next_at: the wall-clock time at which a rate lets in more of what it has held back; None if none has.
        held_back: whether something was held back that a change elsewhere may let in.
        used: the limits of which something has to be kept, as they are now: their rate has been used, or was put right.
    """

    def __init__(
        self, limits: Collection[Limit], running: Iterable[tuple[str, str | None, int]] = (), now: float = 0.0
    ) -> None:
        # What was reckoned before the clock was set back, or for a slower rate, is put right once: reckoned anew at
        # each look, the end of a wait would move on with the clock.
        self.used = {limit.key: changed for limit in limits if (changed := _within_burst(limit, now)) is not limit}
        self._limits = {limit.key: limit for limit in limits} | self.used
        self._running: dict[LimitKey, int] = dict.fromkeys(self._limits, 0)
        self._now = now
        self.next_at: float | None = None
        self.held_back = False
        for queue, handler, count in running:
            for key in self._keys(queue, handler):
                self._running[key] += count

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit at all."""
        return not self._limits

    @property
    def by_handler(self) -> bool:
        """Whether it matters which handler a job calls."""
        return any(key.kind == "handler" for key in self._limits)

    def weight(self, queue: str) -> float:
        """Return the share of a queue."""
        limit = self._limits.get(LimitKey("queue", queue))
        return 1.0 if limit is None else limit.weight

    def running(self, key: LimitKey) -> int:
        """Return how many run of what has a limit."""
        return self._running[key]

    def admits(self, queue: str, handler: str | None) -> bool:
        """Return whether one more of this queue and handler may start."""
        keys = self._keys(queue, handler)
        return not keys or all(self._admits(self._limits[key]) for key in keys)

    def barrier(self, queue: str, handler: str | None) -> tuple[Limit, float | None] | None:
        """Return the limit that keeps one more of this queue and handler out, a paused one first; None if none does.

        With it, when its rate lets in the next one; None where it is paused or full.
        """
        limits = [self._limits[key] for key in self._keys(queue, handler)]
        for limit in sorted(limits, key=lambda limit: not limit.paused):
            if limit.paused or self._is_full(limit):
                return limit, None
            if (opens := self._opens_at(limit)) > self._now:
                return limit, opens
        return None

    def opens(self, queue: str | None = None) -> bool:
        """Return whether one more of a queue, or any at all, may start, if its handler has a place for it."""
        keys = (EVERYTHING,) if queue is None else (EVERYTHING, LimitKey("queue", queue))
        return all(self._admits(self._limits[key]) for key in keys if key in self._limits)

    def take(self, queue: str, handler: str | None) -> None:
        """Count one that starts."""
        for key in self._keys(queue, handler):
            self._running[key] += 1
            limit = self._limits[key]
            if limit.rate is not None:
                whole_at = max(limit.whole_at, self._now) + limit.rate.interval
                self._limits[key] = self.used[key] = replace(limit, whole_at=whole_at)

    def _keys(self, queue: str, handler: str | None) -> list[LimitKey]:
        if not self._limits:
            return []
        named = (EVERYTHING, LimitKey("queue", queue), LimitKey("handler", handler or ""))
        return [key for key in named if key in self._limits]

    def _admits(self, limit: Limit) -> bool:
        if limit.paused or self._is_full(limit):
            self.held_back = True
            return False
        opens = self._opens_at(limit)
        if opens <= self._now:
            return True
        self.next_at = opens if self.next_at is None else min(self.next_at, opens)
        return False

    def _is_full(self, limit: Limit) -> bool:
        return limit.at_once is not None and self._running[limit.key] >= limit.at_once

    def _opens_at(self, limit: Limit) -> float:
        """Return when the rate of a limit lets in the next one; in the past where there is none."""
        if limit.rate is None:
            return 0.0
        return limit.whole_at - limit.rate.interval * (limit.rate.burst - 1)


def _within_burst(limit: Limit, now: float) -> Limit:
    """Return a limit whose rate is whole again after a burst at the latest; the same one if it is."""
    if limit.rate is None or limit.whole_at <= (latest := now + limit.rate.interval * limit.rate.burst):
        return limit
    return replace(limit, whole_at=latest)


def given_back(
    limits: Mapping[LimitKey, Limit], started: Iterable[tuple[str, str | None, float]], now: float
) -> dict[LimitKey, Limit]:
    """Return the limits with a rate that change when jobs of these queues and handlers have not started after all.

    Of what each has used only that is given back which time has not made up for since it was claimed: else others that
    came in its place would not count.
    """
    changed = dict(limits)
    for queue, handler, claimed in started:
        for key in (EVERYTHING, LimitKey("queue", queue), LimitKey("handler", handler or "")):
            limit = changed.get(key)
            if limit is not None and limit.rate is not None:
                left = max(0.0, limit.rate.interval - max(0.0, now - claimed))
                changed[key] = replace(limit, whole_at=limit.whole_at - left)
    return {key: limit for key, limit in changed.items() if limit is not limits[key]}
