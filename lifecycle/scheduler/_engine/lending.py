"""Lending: a job that waits for another job holds no worker meanwhile, so that it cannot keep the other from running.

Jobs that submit jobs and wait for them would come to a stop as soon as all workers are held by such parents. So a job
lends its worker for as long as one of its tasks waits in `Job.wait` or `FlowRun.wait`, and has it back before it goes
on: a worker that becomes free goes to such a job first. What it waits for is put ahead of the jobs that are as urgent
as itself: else every parent in the store would begin before the first child does.

A wait that is cancelled goes on at once, to clean up; for that moment one more job runs than there are workers.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from .._store.protocol import Store
    from .._store.records import Claimed
    from .attempt import Attempt

logger = logging.getLogger("lifecycle.scheduler")

Wait = Callable[[], Awaitable[Any]]

WAIT_OF_A_JOB: Final[ContextVar[Callable[[Any, Wait], Awaitable[None]] | None]] = ContextVar(
    "lifecycle_scheduler_wait", default=None
)
"""How a task of a job waits for another job, or a run; None outside of jobs."""


class Awaited(Protocol):
    """What is waited for: the handle of a job, or of a run."""

    id: int  #: its number


class Workers(Protocol):
    """What lending needs of the engine whose workers are lent."""

    name: str  #: the scheduler's, for logs
    store: Store  #: where the jobs are

    @property
    def running(self) -> Mapping[int, Attempt]:
        """What has been taken and not ended, by the numbers of the jobs."""

    @property
    def jobs(self) -> MutableMapping[int, Any]:
        """The handles that are still held, by the numbers of the jobs."""

    def has_free_worker(self) -> bool:
        """Return whether a job could begin."""

    def take_worker(self) -> None:
        """Count one worker as taken, whether there is a free one or not."""

    def lend_worker(self) -> None:
        """Count one worker as free, and let a job that comes back, or the next one, have it."""


class _Away:
    """A job of which some task waits for others.

    Attributes:
        awaited: what its tasks wait for.
        held: whether it holds a worker.
        turn: set when it has a worker again, or needs none; None while it does not come back.
    """

    __slots__ = ("awaited", "held", "turn")

    def __init__(self) -> None:
        self.awaited: list[Awaited] = []
        self.held = True
        self.turn: anyio.Event | None = None


class Lending:
    """Who has lent its worker, and who waits to have one back.

    Args:
        workers: what is lent.

    Attributes:
        lent: how many jobs run and hold no worker.
    """

    def __init__(self, workers: Workers) -> None:
        self.lent = 0
        self._workers = workers
        self._away: dict[int, _Away] = {}
        self._coming_back: deque[_Away] = deque()

    def pass_on(self) -> bool:
        """Let a job that comes back have a worker that has become free; return whether there is such a job."""
        if not self._coming_back:
            return False
        away = self._coming_back.popleft()
        self._has_it_again(away)
        self._end_turn(away)
        return True

    def ended(self, attempt: Attempt) -> bool:
        """Forget an attempt that has ended; return whether it held a worker."""
        away = self._away.pop(attempt.claimed.id, None)
        if away is None or away.held:
            return True
        if away.turn is not None:  # of a task that the handler has left behind
            self._coming_back.remove(away)
            self._end_turn(away)
        self._has_it_again(away)
        return False

    async def wait(self, number: int, attempt: int, awaited: Awaited, wait: Wait) -> None:
        """Wait in a task of an attempt, which holds no worker meanwhile.

        Cancellation: ends the waiting; the attempt goes on at once.

        Args:
            number: the job's.
            attempt: the attempt's. By numbers, because contexts outlive their jobs, and would keep what is claimed.
            awaited: what is waited for.
            wait: waits for it.
        """
        claimed = self._runs(number, attempt)
        if claimed is not None:
            await self._prepare(claimed, awaited)
        if self._runs(number, attempt) is None:  # a task that has outlived its job, maybe just now
            await wait()
            return
        away = self._away.setdefault(number, _Away())
        away.awaited.append(awaited)
        self._leave(away)
        try:
            try:
                await wait()
            finally:
                away.awaited.remove(awaited)
            await self._come_back(away)
        finally:
            if not away.awaited and away.turn is None:  # else it is for another of its tasks to come back
                self._be_back(away)
                if self._away.get(number) is away:
                    del self._away[number]

    def _runs(self, number: int, attempt: int) -> Claimed | None:
        """Return what was claimed, None when this attempt has ended."""
        running = self._workers.running.get(number)
        return running.claimed if running is not None and running.claimed.attempt == attempt else None

    async def _prepare(self, claimed: Claimed, awaited: Awaited) -> None:
        if circle := self._circle(claimed, awaited):
            extra = {"owner": self._workers.name, "jobs": " -> ".join(circle), "advice": "none of them can end"}
            logger.warning("jobs wait for each other", extra=extra)
        ours = self._workers.jobs.get(awaited.id) is awaited
        if ours and awaited.id not in self._workers.running:
            await self._workers.store.put_ahead(awaited.id, claimed.id)

    def _leave(self, away: _Away) -> None:
        if away.turn is not None:  # another of its tasks comes back, which needs no worker while this one waits
            self._coming_back.remove(away)
            self._end_turn(away)
        elif away.held:
            away.held = False
            self.lent += 1
            self._workers.lend_worker()

    async def _come_back(self, away: _Away) -> None:
        if away.awaited or away.held or away.turn is not None or self._workers.has_free_worker():
            return
        turn = away.turn = anyio.Event()
        self._coming_back.append(away)
        try:
            await turn.wait()
        finally:
            if away.turn is turn:  # it was cancelled while it came back
                self._coming_back.remove(away)
                away.turn = None

    def _be_back(self, away: _Away) -> None:
        if not away.held:
            self._has_it_again(away)
            self._workers.take_worker()

    def _has_it_again(self, away: _Away) -> None:
        away.held = True
        self.lent -= 1

    def _end_turn(self, away: _Away) -> None:
        assert away.turn is not None
        away.turn.set()
        away.turn = None

    def _circle(self, claimed: Claimed, awaited: Awaited) -> list[str]:
        """Return the names of the jobs that wait for each other when this one waits, none when they do not."""
        running, jobs = self._workers.running, self._workers.jobs
        seen: set[int] = set()
        paths = [(awaited, [claimed.name])]
        while paths:
            other, path = paths.pop()
            if jobs.get(other.id) is not other or other.id not in running or other.id in seen:
                continue
            seen.add(other.id)
            path = [*path, running[other.id].claimed.name]
            if other.id == claimed.id:
                return path
            paths += [(further, path) for further in self._away.get(other.id, _Away()).awaited]
        return []
