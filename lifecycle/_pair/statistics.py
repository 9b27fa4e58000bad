"""What a pair of reader and worker holds and how its loops stand, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReaderWorkerStatistics:
    """What a `ReaderWorker` holds at one moment, and how its loops stand.

    Attributes:
        name: the pair's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        capacity: how many items may wait for the worker.
        waiting: how many do: sent and not yet received.
        waiting_senders: calls of ``send`` that wait for room.
        reader: ``"new"``, ``"running"``, or how it ended, see `LoopEnd`.
        worker: the same.
    """

    name: str
    state: str
    capacity: int
    waiting: int
    waiting_senders: int
    reader: str
    worker: str
