"""The frozen record that a scheduler's ``statistics()`` returns."""

from collections.abc import Mapping
from dataclasses import dataclass


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
    """

    name: str
    workers: int
    running: int
    waiting: int
    runs: int
    ended: Mapping[str, int]
