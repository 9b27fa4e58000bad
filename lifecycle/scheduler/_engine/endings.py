"""Endings: how each attempt is run, and its end recorded: once, and whatever becomes of its task."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from lifecycle import OwnerClosed

from .._ground.bridge import unbroken
from .._ground.pauses import pause_before
from .._store.records import ALONE, Claimed, Ending, JobStatus, Settled
from .._work.error_text import kind_of
from .lending import WAIT_OF_A_JOB, Lending
from .outcome import event_data, outcome_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lifecycle import Scope, TaskManager

    from .._store.protocol import Store
    from .attempt import Attempt
    from .carry import Carry
    from .feed import Feed
    from .job import Job

logger = logging.getLogger("lifecycle.scheduler")

SPARED: Final = 3.0
"""Seconds for which the recording of an end that something follows from is spared by the stop of the scheduler."""


class AttemptsOwner(Protocol):
    """What the endings need of the engine."""

    name: str  #: the scheduler's, for logs
    store: Store
    feed: Feed
    counts: dict[JobStatus, int]
    lending: Lending
    carry: Carry

    @property
    def jobs(self) -> MutableMapping[int, Job]:
        """The handles of those who wait for a job."""

    def work_of(self, attempt: Attempt, scope: Scope) -> Awaitable[Any]:
        """Do what an attempt is for."""

    def free_worker(self, attempt: Attempt) -> None:
        """Note that an attempt has released everything."""

    def fail(self, error: Exception) -> None:
        """Stop: ends cannot be recorded any more."""

    def publish(self, claimed: Claimed, kind: str, data: Mapping[str, Any]) -> None:
        """Tell what has happened to an attempt."""

    async def settle(self, settled: Settled) -> None:
        """Do what follows from an end."""


class Endings:
    """Runs attempts and records how they end.

    Args:
        owner: the engine.
        tasks: owns the attempts' tasks.
        close_timeout: seconds that each release of a job may take; None for no bound.
    """

    def __init__(self, owner: AttemptsOwner, tasks: TaskManager, close_timeout: float | None) -> None:
        self._owner = owner
        self._tasks = tasks
        self._close_timeout = close_timeout

    def begin(self, attempt: Attempt) -> bool:
        """Make the task of an attempt; return whether there is one: the scheduler may just have stopped its jobs."""
        try:
            attempt.task = self._tasks.start_soon(self.perform, attempt, name=f"job {attempt.claimed.name}")
        except OwnerClosed:  # while it was found out that it could not be given back
            self.note_lost(attempt, "the scheduler had stopped its jobs")
            return False
        return True

    async def perform(self, attempt: Attempt) -> None:
        """Run an attempt and record how it ended, whatever becomes of this task meanwhile.

        Cancellation: by the scheduler, or with the whole loop: the attempt is interrupted, and not recorded. Any other
        one makes it fail, and does not reach the recording. Neither does that by the scheduler, for `SPARED` seconds,
        where something follows from the end: nobody would do that of one that is recorded without our knowing.
        """
        WAIT_OF_A_JOB.set(partial(self._owner.lending.wait, attempt.claimed.id, attempt.claimed.attempt))
        self._owner.carry.set(attempt.claimed.metadata)
        try:
            ending = await attempt.run(self._owner.work_of, close_timeout=self._close_timeout)
        except GeneratorExit:
            self.note_lost(attempt, "its task was closed")
            raise
        except BaseException as error:
            self._owner.free_worker(attempt)
            if attempt.stopped() or not isinstance(error, Exception):
                self._note_interrupted(attempt)
                raise
            ending = attempt.lost(kind_of(error))
        else:
            self._owner.free_worker(attempt)
        try:
            await unbroken(self._record(attempt, ending), _may_end_recording(attempt))
        except Exception as error:  # whatever it is: a job whose end is not recorded would never end
            self._owner.fail(error)
        finally:
            attempt.exception = None  # the frames in its traceback lead back to the attempt: a cycle

    def note_lost(self, attempt: Attempt, why: str) -> None:
        """Record the end of an attempt whose task is gone, and does not do it."""
        self._owner.free_worker(attempt)
        try:
            if attempt.stopped():
                raise OwnerClosed("the scheduler stops its jobs")
            ending = attempt.lost(why)
            self._tasks.start_soon(self._record, attempt, ending, name=f"end of job {attempt.claimed.name}")
        except (OwnerClosed, RuntimeError):  # or there is no loop any more
            self._note_interrupted(attempt)

    def _note_interrupted(self, attempt: Attempt) -> None:
        self._owner.counts[JobStatus.INTERRUPTED] += 1
        data = {"status": "interrupted", "seconds": round(attempt.seconds, 6)}
        self._owner.publish(attempt.claimed, "job_finished", data)

    async def _record(self, attempt: Attempt, ending: Ending) -> None:
        claimed = attempt.claimed
        if attempt.may_retry(ending):
            pause = pause_before(claimed.failures + 1, claimed.backoff)
            if await self._owner.store.retry(claimed.id, claimed.attempt, ending, time.time() + pause):
                if attempt.aftermath is not None:
                    attempt.aftermath.note_recorded()
                self._owner.publish(claimed, "job_retrying", {"error": ending.error, "delay": round(pause, 3)})
                return
        settled = await self._owner.store.finish(claimed.id, claimed.attempt, ending, time.time())
        if not settled.accepted:
            extra = {"owner": self._owner.name, "job": claimed.name, "attempt": claimed.attempt}
            logger.warning("result of a lost attempt dropped", extra=extra)
            return
        if attempt.aftermath is not None:
            attempt.aftermath.note_recorded()
        self._owner.counts[ending.status] += 1
        if self._owner.feed.heard:
            self._owner.publish(claimed, "job_finished", event_data(ending))
        job = self._owner.jobs.get(claimed.id)
        if job is not None:
            job._end(outcome_of(claimed, ending, attempt.exception))
        if settled is not ALONE:
            await self._owner.settle(settled)


def _may_end_recording(attempt: Attempt) -> Callable[[], bool]:
    """Return what says of a cancellation whether it may end the recording of an attempt's end; asked several times."""
    if attempt.aftermath is None or not attempt.aftermath.waits:
        return attempt.stopped
    spared_until = math.inf

    def may_end() -> bool:
        nonlocal spared_until
        if not attempt.stopped():
            return False
        now = time.monotonic()
        spared_until = min(spared_until, now + SPARED)
        return now >= spared_until

    return may_end
