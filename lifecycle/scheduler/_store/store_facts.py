"""What a store holds, to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store holds.

    Attributes:
        path: the file.
        version: of its tables.
        size: bytes of the file, and of what has not been merged into it yet.
        free: bytes of it that hold nothing; a vacuum gives them back.
        jobs: how many jobs are in which state.
        runs: how many runs of flows it has.
        unfinished_runs: how many of them have not ended.
        schedules: how many schedules it has.
        owners: the schedulers that work on it now: name, process number, and when they began.
    """

    path: str
    version: int
    size: int
    free: int
    jobs: Mapping[str, int]
    runs: int
    unfinished_runs: int
    schedules: int
    owners: tuple[tuple[str, int, float], ...]
