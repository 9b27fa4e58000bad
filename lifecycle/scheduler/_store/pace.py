"""How many runs go on at once and what becomes of one more; and how a schedule keeps its pace beside that.

The rule is one, for the runs that a schedule has submitted and for the runs of a flow, whoever has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Overlap = Literal["skip", "queue", "cancel_running"]

OVERLAPS: Final[tuple[Overlap, ...]] = ("skip", "queue", "cancel_running")
"""What may become of a due time that comes while as many runs as there may be have not ended."""

OVERTAKEN: Final = "its schedule was due again"
"""Why a run is cancelled that the next one of its schedule replaces."""

REPLACED: Final = "replaced by a newer run of its flow"


class Bound(NamedTuple):
    """How many go on at once, and what becomes of one more.

    Attributes:
        max_instances: how many may have begun and not ended; None for no bound.
        overlap: what becomes of one more. ``skip``: there is none; ``queue``: it waits until one has ended;
            ``cancel_running``: the oldest is cancelled, and it waits until that has ended.
    """

    max_instances: int | None = None
    overlap: Overlap = "skip"

    def has_room(self, going: int) -> bool:
        """Return whether one more may begin beside so many."""
        return self.max_instances is None or going < self.max_instances

    def to_cancel(self, going: Sequence[tuple[int, bool]]) -> list[int]:
        """Return which of those that go on are to be cancelled, so that one more has room when they have ended.

        Args:
            going: their numbers, the oldest first, and whether each has been cancelled: once is enough, a second
                request would end what cleans up after it.
        """
        if self.overlap != "cancel_running" or self.max_instances is None:
            return []
        ending = sum(cancelled for _, cancelled in going)
        wanted = [number for number, cancelled in going if not cancelled]
        return wanted[: max(0, len(going) + 1 - self.max_instances - ending)]


UNBOUNDED: Final = Bound()


class Pace(NamedTuple):
    """What a schedule says beside its due times.

    Attributes:
        max_instances: how many of its runs may be unfinished at once; None for no bound.
        overlap: what becomes of one more. ``skip``: it is skipped; ``queue``: it waits until one has ended, one at
            most; ``cancel_running``: the oldest is cancelled, and it waits until that has ended.
        jitter: the longest time in seconds by which a run starts later than it was due.
        starts: the wall-clock time before which it is not due; None for at once.
        ends: the wall-clock time after which it is not due any more; None for never.
    """

    max_instances: int | None = None
    overlap: Overlap = "skip"
    jitter: float = 0.0
    starts: float | None = None
    ends: float | None = None

    @property
    def bound(self) -> Bound:
        """How many of its runs go on at once."""
        return Bound(self.max_instances, self.overlap)

    def start_of(self, name: str, due: float) -> float:
        """Return when the run for a due time starts: the same whichever scheduler asks."""
        if not self.jitter:
            return due
        drawn = hashlib.blake2b(f"{name}\n{due!r}".encode(), digest_size=8).digest()
        return due + self.jitter * int.from_bytes(drawn) / 2**64

    def held(self, waiting: float | None, due: float) -> tuple[float | None, bool]:
        """Return which due time waits when there is no room for *due*, and whether one is skipped."""
        if self.overlap == "skip":
            return waiting, True
        return (due if waiting is None or self.overlap == "cancel_running" else waiting), waiting is not None

    def within(self, due: float | None) -> float | None:
        """Return a due time, None when it comes after the end."""
        return None if due is not None and self.ends is not None and due > self.ends else due


ANY_PACE: Final = Pace()
"""That of a schedule which says nothing of it."""
