"""What of an attempt reaches beyond it: work that runs elsewhere, outlives our process, and is to be found again.

Such work gets a name made of where its job is stored, the job, and the attempt that began it. When the process dies,
the next attempt of the job finds it by that name and goes on with it; it is removed when the job's end is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import Context, copy_context
from functools import partial
from typing import Final

from .._ground.checks import check_callable
from .._store.protocol import Store
from .._store.records import Claimed

After = Callable[[], Awaitable[object]]
Ended = Callable[[Collection[int]], Awaitable[Mapping[int, bool | None]]]
Start = Callable[[Claimed, After, Context], object]


class Aftermath:
    """What is to be done once the end of an attempt is recorded: each thing once, and nothing if that never happens.

    Args:
        claimed: the attempt.
        start: called as ``start(claimed, function, context)`` for each, with the context that it was asked for in.

    Attributes:
        recorded: whether the end is recorded.
    """

    __slots__ = ("_claimed", "_start", "_waiting", "recorded")

    def __init__(self, claimed: Claimed, start: Start) -> None:
        self._claimed = claimed
        self._start = start
        self.recorded: bool = False
        self._waiting: list[tuple[After, Context]] = []

    @property
    def waits(self) -> bool:
        """Whether something is to be done once the end is recorded."""
        return bool(self._waiting)

    def add(self, function: After) -> None:
        """Have *function* called; at once, when the end is recorded already."""
        if self.recorded:
            self._start(self._claimed, function, copy_context())
        else:
            self._waiting.append((function, copy_context()))

    def note_recorded(self) -> None:
        """Start what was waiting for this."""
        self.recorded = True
        waiting, self._waiting = self._waiting, []
        for function, context in waiting:
            self._start(self._claimed, function, context)


class Beyond:
    """An attempt, as work elsewhere sees it that is begun by it and may outlive it. All of it belongs to the loop.

    Args:
        claimed: the attempt.
        store: where its job is.
        resumes: tells whether the attempt is being interrupted, and not ended for good.
        aftermath: what is to be done once its end is recorded.

    Attributes:
        ended: says which jobs of the store have ended, see `which_ended`; it may be kept for longer than the attempt.
        store: the store's identity, which never changes: ten lowercase hexadecimal digits.
        durable: whether the store outlives this process.
        run: the number of the run that the job belongs to, None for a job by itself.
        job: the job's number.
        job_name: its name.
        attempt: the number of the attempt, from 1.
        first: the number of the first attempt after the last one whose end was recorded. Those between were cut off,
            and what one of them has begun elsewhere is to be gone on with.
        created: the wall-clock time at which the job was submitted: its number may have been another's, before an older
            copy of the store was put back.
    """

    __slots__ = (
        "_aftermath", "_counts", "_resumes", "_store", "attempt", "created", "durable", "ended", "first", "job",
        "job_name", "run", "store",
    )  # fmt: skip

    def __init__(self, claimed: Claimed, store: Store, resumes: Callable[[], bool], aftermath: Aftermath) -> None:
        self._resumes = resumes
        self._aftermath = aftermath
        self._counts: Counter[str] = Counter()
        self.ended: Final[Ended] = partial(which_ended, store)
        self._store = store
        self.store: Final = store.identity
        self.durable: Final = store.durable
        self.run: Final = claimed.run_id
        self.job: Final = claimed.id
        self.job_name: Final = claimed.name
        self.attempt: Final = claimed.attempt
        self.first: Final = claimed.first
        self.created: Final = claimed.created

    def count(self, key: str) -> int:
        """Return how often this attempt has asked for *key*, with this time: it tells equal things from each other."""
        self._counts[key] += 1
        return self._counts[key]

    async def is_current(self) -> bool:
        """Return whether the store still knows this attempt as the one that does the job.

        It does not where the process was paused past its lease: then another attempt has the job, or has ended it.

        Cancellation: ends the asking.

        Raises:
            StoreError: the store cannot be used any more.
        """
        record = await self._store.job(self.job)
        return record is not None and record.attempts == self.attempt and not record.status.final

    def resumes(self) -> bool:
        """Return whether the job goes on later, here or elsewhere, although this attempt is being ended.

        True where it is interrupted: its scheduler stops it, the loop ends, or its lease was lost. False while it is
        not being ended, where it is ended for good (cancelled, expired, out of time), and always in a store that is
        not durable. What one of its blocks ends by a timeout of that block is ended for good as well.
        """
        return self.durable and not self._aftermath.recorded and self._resumes()

    def afterwards(self, function: After) -> None:
        """Have *function* called, an async function without arguments, once the end of this attempt is recorded.

        In a task of the scheduler's own, in the context of this call, within `AFTERWARDS` seconds; an error of it is
        logged. Never where the attempt is interrupted, its process dies, or it has lost its job to another one: then
        that is to do it. So what must happen needs somebody who sweeps.

        Raises:
            TypeError: *function* cannot be called.
        """
        check_callable(function, "function")
        self._aftermath.add(function)


async def which_ended(store: Store, jobs: Collection[int]) -> Mapping[int, bool | None]:
    """Return which of these jobs of a store have ended.

    True of one that has ended, also where it was deleted since; False of one that has not; None of one whose number
    this store has never given, because it is an older copy of the one that has.

    Cancellation: ends the waiting.

    Raises:
        StoreError: the store cannot be used any more.
    """
    given = await store.highest_job()  # first: what is submitted between the two has not ended
    asked = [job for job in jobs if 0 < job <= given]
    ended = await store.ended_jobs(asked)
    return {**dict.fromkeys(jobs), **{job: job in ended for job in asked}}


AFTERWARDS: Final = 120.0
"""Seconds that one thing may take which is done afterwards: a server that it needs may be away for a while."""
