"""How many jobs to take from a durable store before there is a worker for them.

A claim costs a commit. Where jobs take longer than a commit, a worker that is free is a job that is claimed, and the
most urgent job is always the next to begin. Where they are shorter, the workers would wait for the disk nearly all
the time: then jobs are taken ahead, as many as the workers have got through during the last claim. Such a job begins
within about the time of one commit, so that one that comes later could hardly have begun before it, however urgent.
"""

from __future__ import annotations

MOST = 512
"""Jobs taken ahead at most."""


class Ahead:
    """Says how many jobs to take ahead.

    Args:
        workers: how many jobs run at once.

    Attributes:
        jobs: how many to take ahead now.
        turned: how many jobs have ended since the last claim arrived.
    """

    __slots__ = ("_workers", "jobs", "turned")

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.jobs = 0
        self.turned = 0

    def arrived(self) -> None:
        """Note that a claim has arrived.

        When all that was taken before has ended meanwhile, twice as much is taken the next time; when not, no more
        than what has ended.
        """
        turned, self.turned = self.turned, 0
        if turned >= self._workers + self.jobs // 2:
            self.jobs = min(MOST, max(self._workers, 2 * self.jobs))
        elif turned < self.jobs:
            self.jobs = turned

    def reset(self) -> None:
        """Take nothing ahead: what was taken has waited for too long."""
        self.jobs = self.turned = 0
