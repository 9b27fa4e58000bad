"""A count that worker processes keep for the process that measures them: how many jobs have begun, and when the last.

One small file, mapped by all: a worker writes its own two numbers, the reader adds them up. `time.perf_counter` is the
clock of the whole machine where that is Linux, so that the times of one process can be compared with another's.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

SLOTS = 16
_PAIR = struct.Struct("<Qd")


class Tally:
    """The numbers of all workers.

    Args:
        path: the file; it is made when it is not there.
        index: whose numbers `ran` writes.
    """

    def __init__(self, path: Path, index: int = 0) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOTS * _PAIR.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SLOTS * _PAIR.size)
        self._at = index * _PAIR.size
        self.own = 0

    def ran(self) -> None:
        """Note that a job has begun now."""
        self.own += 1
        _PAIR.pack_into(self._map, self._at, self.own, time.perf_counter())

    def total(self) -> int:
        """Return how many have begun, in all workers."""
        return sum(_PAIR.unpack_from(self._map, slot * _PAIR.size)[0] for slot in range(SLOTS))

    def last(self) -> float:
        """Return when the last one began."""
        return float(max(_PAIR.unpack_from(self._map, slot * _PAIR.size)[1] for slot in range(SLOTS)))
