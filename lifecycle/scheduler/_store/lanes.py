"""Which jobs are next when there are several queues: fair shares between them, priority inside of each.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): each start of a queue with weight *w* costs it ``1 / w`` on a
virtual clock, and the queue whose clock shows least is next. A queue that had no work gets no credit for that, and one
that leaves in between owes what it has used.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from .limits import Openings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Head = tuple[float, int]
"""What orders jobs: the priority, negated, and the number."""


class Lane(Protocol[T_co]):
    """The ready jobs of one queue, or of one handler in it, the most urgent first."""

    @property
    def queue(self) -> str:
        """The queue."""

    @property
    def handler(self) -> str | None:
        """The handler, None where it does not matter, or there is none."""

    def head(self) -> Head | None:
        """Return what orders its first job, None when there is none."""

    def pop(self) -> T_co:
        """Take its first job out, and return it."""


_Waiting = dict[str, list[tuple[Head, int, Lane[T]]]]
"""By queue the lanes that have jobs, as a heap: what orders the first job, which lane it is, and the lane."""


class Shares:
    """Remembers what each queue has used of its share, as long as that is more than the others."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._now = 0.0

    def start_of(self, queue: str) -> float:
        """Return what the virtual clock of a queue shows."""
        return max(self._now, self._used.get(queue, 0.0))

    def charge(self, queue: str, weight: float) -> None:
        """Let a queue pay for one start."""
        self._now = self.start_of(queue)
        self._used[queue] = self._now + 1.0 / weight

    def forget_old(self, queues: Mapping[str, object]) -> None:
        """Drop what no longer counts, of queues without work."""
        self._used = {name: used for name, used in self._used.items() if name in queues or used > self._now}


def choose(lanes: Iterable[Lane[T]], limit: int, openings: Openings, shares: Shares) -> list[T]:
    """Take out the jobs to start next, at most *limit*, as limits, shares and priorities say."""
    lanes = list(lanes)
    if len(lanes) == 1 and openings.unlimited:  # as nearly always
        (lane,) = lanes
        taken: list[T] = []
        while len(taken) < limit and lane.head() is not None:
            taken.append(lane.pop())
        return taken
    waiting: _Waiting[T] = {}
    for number, lane in enumerate(lanes):
        head = lane.head()
        if head is not None:
            waiting.setdefault(lane.queue, []).append((head, number, lane))
    for line in waiting.values():
        heapq.heapify(line)
    chosen: list[T] = []
    while waiting and len(chosen) < limit:
        queue = min(waiting, key=_turn(waiting, shares)) if len(waiting) > 1 else next(iter(waiting))
        line = waiting[queue]
        _, number, lane = line[0]
        if not openings.admits(queue, lane.handler):
            waiting = _admitted(waiting, openings)
            continue
        chosen.append(lane.pop())
        openings.take(queue, lane.handler)
        if len(waiting) > 1:
            shares.charge(queue, openings.weight(queue))
        head = lane.head()
        if head is not None:
            heapq.heapreplace(line, (head, number, lane))
        else:
            heapq.heappop(line)
            if not line:
                del waiting[queue]
    shares.forget_old(waiting)
    return chosen


def _admitted(waiting: _Waiting[T], openings: Openings) -> _Waiting[T]:
    """Return what is left when something is full: all that this holds back at once, since nothing opens meanwhile."""
    admitted: _Waiting[T] = {}
    for queue, line in waiting.items():
        left = [entry for entry in line if openings.admits(queue, entry[2].handler)]
        if left:
            heapq.heapify(left)
            admitted[queue] = left
    return admitted


def _turn(waiting: _Waiting[Any], shares: Shares) -> Callable[[str], tuple[float, Head]]:
    """Return what orders queues: their shares, and among equals the urgency of their first jobs."""
    return lambda queue: (shares.start_of(queue), waiting[queue][0][0])
