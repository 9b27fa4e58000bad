"""The ready jobs of the store in memory, in lanes, with the limits that hold some of them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..lanes import Head, Shares, choose
from ..limit_record import LimitRecord, records_of
from ..limits import Limit, LimitKey, Openings, given_back
from .line import Line


class Place(NamedTuple):
    """Where a ready job stands.

    Attributes:
        queue: its queue.
        handler: the handler that it calls, if there is one.
        order: its priority, negated, and its number.
    """

    queue: str
    handler: str | None
    order: Head


class ReadyJobs:
    """The jobs that could begin, in a lane for each queue, and for each handler in it once handlers have limits.

    Args:
        place_of: returns where the job with a number stands, for when the lanes are arranged anew.
        running: returns where the jobs stood that run, for when a limit is asked for.
    """

    def __init__(self, place_of: Callable[[int], Place], running: Callable[[], Iterable[Place]]) -> None:
        self._place_of = place_of
        self._places_running = running
        self._lanes: dict[tuple[str, str | None], _Lane] = {}
        self._limits: dict[LimitKey, Limit] = {}
        self._handlers: frozenset[str] = frozenset()  # those that have a limit
        self._shares = Shares()

    def add(self, place: Place) -> None:
        """Put a job in its lane."""
        key = self._lane_of(place)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(*key)
        lane.line.add(place.order)

    def __contains__(self, place: Place) -> bool:
        lane = self._lanes.get(self._lane_of(place))
        return lane is not None and place.order in lane.line

    def discard(self, place: Place) -> None:
        """Take a job out, if it is in."""
        key = self._lane_of(place)
        lane = self._lanes.get(key)
        if lane is not None:
            lane.line.discard(place.order)
            if not lane.line:
                del self._lanes[key]

    def choose(self, limit: int, now: float) -> tuple[list[int], float | None]:
        """Take out the jobs to start now, at most *limit*; return their numbers, and when a rate lets in more."""
        if limit <= 0 or not self._lanes:
            return [], None
        openings = self.openings(now)
        chosen = choose(self._lanes.values(), limit, openings, self._shares)
        if chosen:
            for key in [key for key, lane in self._lanes.items() if not lane.line]:
                del self._lanes[key]
        self._limits.update(openings.used)
        return chosen, openings.next_at

    def openings(self, now: float) -> Openings:
        """Return what the limits let in."""
        return Openings(self._limits.values(), self._running(), now) if self._limits else _NONE

    def give_back(self, place: Place, claimed: float, now: float, *, ready: bool) -> None:
        """Put a job back that was *claimed* and has not started, unless what it needs was repeated meanwhile."""
        self._limits.update(given_back(self._limits, [(place.queue, place.handler, claimed)], now))
        if ready:
            self.add(place)

    def put_limit(self, new: Limit) -> None:
        """Set a limit in the place of that which was; see `Limit.in_place_of`."""
        self._put_limit(new.in_place_of(self.limit(new.key)))

    def pause(self, key: LimitKey, paused: bool) -> bool:
        """Pause what a limit is about, or resume it; return whether that changed anything."""
        old = self.limit(key)
        self._put_limit(replace(old, paused=paused))
        return old.paused != paused

    def _put_limit(self, new: Limit) -> None:
        """Set a limit; one that holds nothing back is dropped."""
        if new.neutral:
            self._limits.pop(new.key, None)
        else:
            self._limits[new.key] = new
        handlers = frozenset(key.name for key in self._limits if key.kind == "handler")
        if handlers != self._handlers:
            self._arrange_anew(handlers)

    def limit(self, key: LimitKey) -> Limit:
        """Return the limit of a queue, a handler or all; one that holds nothing back where there is none."""
        return self._limits.get(key) or Limit(key)

    def records(self) -> Sequence[LimitRecord]:
        """Return all limits, and the queues that have jobs."""
        running = self._running()
        in_use = {LimitKey("queue", queue) for queue in (*(it[0] for it in self._lanes), *(it[0] for it in running))}
        limits = [self.limit(key) for key in sorted({*self._limits, *in_use})]
        return records_of(limits, running, self._count_ready)

    def clear(self) -> None:
        """Drop everything."""
        self._lanes.clear()
        self._limits.clear()

    def _running(self) -> list[tuple[str, str | None, int]]:
        counts = Counter((place.queue, place.handler) for place in self._places_running())
        return [(*key, count) for key, count in counts.items()]

    def _lane_of(self, place: Place) -> tuple[str, str | None]:
        return place.queue, (place.handler if self._handlers else None)

    def _arrange_anew(self, handlers: frozenset[str]) -> None:
        places = [self._place_of(number) for lane in self._lanes.values() for _, number in lane.line]
        self._lanes.clear()
        self._handlers = handlers
        for place in places:
            self.add(place)

    def _count_ready(self, key: LimitKey) -> int:
        if key.kind == "handler":
            return sum(len(lane.line) for lane in self._lanes.values() if lane.handler == key.name)
        return sum(len(lane.line) for lane in self._lanes.values() if key.kind == "all" or lane.queue == key.name)


_NONE = Openings(())
"""What lets everything in."""


class _Lane:
    """The ready jobs of a queue, or of one handler in it, by their numbers."""

    __slots__ = ("handler", "line", "queue")

    def __init__(self, queue: str, handler: str | None) -> None:
        self.queue = queue
        self.handler = handler
        self.line: Line[Head] = Line()

    def head(self) -> Head | None:
        return self.line.first()

    def pop(self) -> int:
        first = self.line.pop()
        assert first is not None
        return first[1]
