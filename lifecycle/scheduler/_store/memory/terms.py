"""What the store in memory keeps of jobs that were submitted on terms: who has which key, and what expires when."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..messages import Notice
from ..records import JobStatus, NewJob, Settled
from ..terms import expiry_reason
from .kept import KeptJob, told_of
from .line import Line

End = Callable[[KeptJob, JobStatus, str, float], Settled]


class MemoryTerms:
    """The keys and the expiries of the jobs that have not ended.

    Attributes:
        keys: the number of the job that has a key.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self._notices: list[Notice] = []  # what has expired and the engine has not been told of yet
        self._expiring: Line[tuple[float, int]] = Line()

    def hold(self, number: int, key: str | None, expires: float | None) -> None:
        """Note the key of a job, and when it expires while it waits."""
        if key is not None:
            self.keys[key] = number
        if expires is not None:
            self._expiring.add((expires, number))

    def holder(self, new: NewJob) -> int:
        """Return the number of the job that has the key of a new one, 0 when none has."""
        return 0 if new.terms is None or new.terms.key is None else self.keys.get(new.terms.key, 0)

    def drop(self, number: int, key: str | None, expires: float | None) -> None:
        """Forget what was noted of a job."""
        if key is not None and self.keys.get(key) == number:
            del self.keys[key]
        if expires is not None:
            self._expiring.discard((expires, number))

    def leave(self, job: KeptJob) -> None:
        """Forget a job that has ended; one that still runs, and that it was to replace, has the key again."""
        self.drop(job.id, job.terms.key, job.expires)
        if job.predecessor is not None:  # no other job with the key is to run beside it
            self.hold(job.predecessor.id, job.terms.key, None)

    def expired(self, now: float, most: int) -> list[int]:
        """Return the numbers of jobs whose time has passed, *most* at most, and forget it."""
        numbers: list[int] = []
        while len(numbers) < most and (first := self._expiring.first()) is not None and first[0] <= now:
            self._expiring.pop()
            numbers.append(first[1])
        return numbers

    def next_expiry(self) -> float | None:
        """Return when the next job expires; None when none does."""
        first = self._expiring.first()
        return None if first is None else first[0]

    def call_off(self, jobs: Iterable[KeptJob], end: End, now: float, reason: str | None = None) -> None:
        """Cancel jobs, and note what the engine is to be told of: it stops those that run.

        Without a *reason* it is that they have expired, and those that run go on.
        """
        for job in jobs:
            why = reason or expiry_reason(job.attempt)
            if job.status is JobStatus.PENDING:
                settled = end(job, JobStatus.CANCELLED, why, now)
                for one in (told_of(job, why), *settled.skipped):
                    last = settled.run_finished and one.run_id is not None
                    self._notices.append(Notice(0, one.id, one.run_id, one.name, one.reason, one.status, last))
            elif job.status is JobStatus.RUNNING and reason is not None:
                self._notices.append(Notice(0, job.id, job.run_id, job.new.name, why, job.status, False))

    @property
    def untold(self) -> bool:
        """Whether there are notices."""
        return bool(self._notices)

    def told(self) -> list[Notice]:
        """Return the notices and forget them."""
        notices, self._notices = self._notices, []
        return notices
