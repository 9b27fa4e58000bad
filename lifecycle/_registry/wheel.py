"""The expiry wheel: which entries are due when, in buckets of equal width.

Filing, refiling and removing an entry cost one operation on a dict, whatever its time to live, and what has been
removed is gone from the wheel at once: no dead entry waits for its time. Buckets come due one after the other; a heap
holds their numbers, never the entries.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

E = TypeVar("E")

FOREVER = float("inf")


class ExpiryWheel(Generic[E]):
    """Entries by due time.

    Attributes:
        width: seconds that a bucket covers; an entry due at *t* belongs into bucket number ``t // width``.
        bucket: the bucket used last. Entries that are filed one after the other mostly share it, so the caller looks
            here, whether *begins* <= t < *ends*, before it calls `open`; this is what makes filing cheap.
        begins: when that bucket begins.
        ends: when it ends; before *begins* where there is none.
    """

    __slots__ = ("_buckets", "_compact_at", "_numbers", "begins", "bucket", "ends", "width")

    def __init__(self, width: float) -> None:
        self.width = width
        self._buckets: dict[float, dict[E, None]] = {}
        self._numbers: list[float] = []
        self._compact_at = 64
        self._leave_bucket()

    def open(self, due: float) -> dict[E, None]:
        """Return the bucket for what is due then; it becomes the one used last."""
        number = due // self.width
        bucket = self._buckets.get(number)
        if bucket is None:
            if len(self._buckets) >= self._compact_at:
                self._compact()
            bucket = self._buckets[number] = {}
            heappush(self._numbers, number)
        self.bucket = bucket
        self.begins = number * self.width
        self.ends = self.begins + self.width
        return bucket

    def end_of(self, due: float) -> float:
        """Return when the bucket for what is due then will be due as a whole."""
        return (due // self.width + 1.0) * self.width

    def next_due(self) -> float:
        """Return when the first bucket that holds anything will be due as a whole, infinity for never."""
        while self._numbers:
            number = self._numbers[0]
            bucket = self._buckets[number]
            if bucket:
                return (number + 1.0) * self.width
            heappop(self._numbers)
            del self._buckets[number]
            if bucket is self.bucket:
                self._leave_bucket()
        return FOREVER

    def due(self, now: float) -> dict[E, None] | None:
        """Return the first bucket that is due as a whole, None when none is; the caller empties it."""
        return self._buckets[self._numbers[0]] if self.next_due() <= now else None

    def current(self, now: float) -> list[E]:
        """Return the entries of the bucket that *now* falls into: some of them may be due already."""
        return list(self._buckets.get(now // self.width, ()))

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def _leave_bucket(self) -> None:
        self.bucket = {}
        self.begins = FOREVER
        self.ends = 0.0

    def _compact(self) -> None:
        """Forget buckets whose entries were all removed before their time."""
        for number in [number for number, bucket in self._buckets.items() if not bucket]:
            del self._buckets[number]
        self._numbers[:] = self._buckets
        heapify(self._numbers)
        self._leave_bucket()
        self._compact_at = 2 * len(self._buckets) + 64
