"""What a store holds, to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class StoreOwner(NamedTuple):
    """A scheduler that works on a store.

    Attributes:
        name: what it is called.
        pid: the number of its process.
        started: when it began, in seconds since 1970.
        host: the machine that it runs on; None for a store in a file, whose schedulers are all on one.
    """

    name: str
    pid: int
    started: float
    host: str | None = None


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store holds.

    Attributes:
        path: the file, or the address without its password.
        identity: which store this is: ten hexadecimal digits, the same for ever, and of every copy.
        version: of its tables.
        size: bytes of the file, and of what has not been merged into it yet; on a server, of its tables and indexes.
        free: bytes of it that hold nothing; a vacuum gives them back. None where that is not known.
        jobs: how many jobs are in which state.
        runs: how many runs of flows it has.
        unfinished_runs: how many of them have not ended.
        schedules: how many schedules it has.
        owners: the schedulers that work on it now.
    """

    path: str
    identity: str
    version: int
    size: int
    free: int | None
    jobs: Mapping[str, int]
    runs: int
    unfinished_runs: int
    schedules: int
    owners: tuple[StoreOwner, ...]
