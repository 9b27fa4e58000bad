"""The frozen record that a scheduler's ``statistics()`` returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """What a scheduler does at one moment, and what it has done.

    Attributes:
        name: the scheduler's name.
        workers: how many jobs run at most.
        running: how many run.
        waiting: how many of those wait for other jobs, or for a run, and hold no worker.
        runs: unfinished runs of flows.
        ended: for each status how many jobs have ended so, by its value.
        left: for each handler, and as ``flow NAME`` for each flow, how many unfinished jobs, or runs, of a durable
            store no living scheduler takes; as it was at the last look, which is once a minute.
        refused: how much was submitted and refused.
        waiting_for_store: seconds for which the store cannot be written, because another process has locked it or its
            disk is full; 0 when it can.
        hosts: what the hosts of work elsewhere do, by their names, as plain data: of those that say so.
        swept: how much work elsewhere was found that no job owned; see the log.
    """

    name: str
    workers: int
    running: int
    waiting: int
    runs: int
    ended: Mapping[str, int]
    left: Mapping[str, int]
    refused: int
    waiting_for_store: float = 0.0
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    swept: int = 0
