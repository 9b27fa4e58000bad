"""A line ordered by a key, from which entries can be removed at any place, without leaving anything behind."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=tuple[float, int])


class Line(Generic[K]):
    """A heap of unique keys; a discarded key is dropped from the heap before it can pile up.

    A discarded key stays in the heap until it comes up, but the heap is rebuilt as soon as more than half of it
    is dead: discarding costs constant time on average, and a storm of cancellations leaves nothing.
    """

    def __init__(self) -> None:
        self._heap: list[K] = []
        self._live: set[K] = set()

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[K]:
        return iter(self._live)

    def __contains__(self, key: K) -> bool:
        return key in self._live

    def add(self, key: K) -> None:
        """Add a key."""
        if key not in self._live:
            self._live.add(key)
            heapq.heappush(self._heap, key)

    def discard(self, key: K) -> None:
        """Remove a key, if it is in."""
        self._live.discard(key)
        if len(self._heap) > 2 * len(self._live) + 16:
            self._heap = list(self._live)
            heapq.heapify(self._heap)

    def first(self) -> K | None:
        """Return the smallest key, None when there is none."""
        while self._heap and self._heap[0] not in self._live:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> K | None:
        """Remove and return the smallest key, None when there is none."""
        heap, live = self._heap, self._live
        while heap:
            key = heapq.heappop(heap)
            if key in live:
                live.remove(key)
                return key
        return None
