"""Copying a store into another one, of whatever kind: all that it knows, under the same numbers, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .._ground.errors import StoreError
from .._ground.text import plural
from .store_facts import StoreOwner

RUNS: Final = (
    *("id", "flow", "source", "digest", "params", "jobs", "unfinished", "created", "finished", "status", "cancel"),
    *("schedule", "scheduled", "max_instances", "overlap", "held"),
)
JOBS: Final = (
    *("id", "run", "name", "kind", "state", "handler", "queue", "priority", "unmet", "delay", "due", "at", "expires"),
    *(
        "attempt",
        "recorded",
        "failures",
        "crashes",
        "retries",
        "backoff_first",
        "backoff_longest",
        "timeout",
        "payload",
    ),
    *("metadata", "key", "when_", "blocked", "trouble", "skipped", "cancel", "schedule", "scheduled", "created"),
    *("started", "finished", "seconds", "result", "error", "trace", "log", "logged", "progress_done"),
    *("progress_total", "history"),
)
NEEDS: Final = ("needed", "job", "tolerant")
SCHEDULES: Final = (
    *("id", "name", "kind", "rule", "timezone", "missed", "misfire_grace", "handler", "job", "paused", "anchor"),
    *("next_due", "last_due", "last_job", "last_run", "runs", "missed_runs", "skipped_runs", "triggered", "waiting"),
    *("max_instances", "overlap", "jitter", "starts", "ends"),
)
LIMITS: Final = ("kind", "name", "paused", "at_once", "number", "per", "burst", "weight", "whole_at")

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "runs": RUNS,
    "jobs": JOBS,
    "needs": NEEDS,
    "schedules": SCHEDULES,
    "limits": LIMITS,
}
"""What is copied, in this order: the columns of each table, as all stores have them. Who owned what is not."""

FLAGS: Final = frozenset({"held", "trouble", "skipped", "tolerant", "paused"})
"""The columns that are true or false; an SQLite file has numbers there."""

NUMBERED: Final = ("runs", "jobs", "schedules")
"""The tables whose rows are numbered, and in which no number is ever used twice."""

Row = tuple[Any, ...]


class Source(Protocol):
    """A store that is copied, as it is at one moment.

    Attributes:
        shown: what messages call it.
    """

    shown: str

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it now, not at that moment."""

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""

    async def last_numbers(self) -> Mapping[str, int]:
        """Return the last number that was used in each table of `NUMBERED`."""

    async def identity(self) -> str:
        """Return which store this is, in full."""

    def rows(self, table: str) -> AsyncIterator[Row]:
        """Return the rows of a table, with the values of its columns.

        What runs is interrupted, as after the end of its process, and what a schedule submits is the job or the run.
        """


class Target(Protocol):
    """A store that is filled, in one transaction.

    Attributes:
        shown: what messages call it.
    """

    shown: str

    async def owners(self) -> Sequence[StoreOwner]:
        """Return the schedulers that work on it."""

    async def counts(self) -> Mapping[str, int]:
        """Return how many rows each table has."""

    async def fill(self, table: str, rows: AsyncIterator[Row]) -> None:
        """Put rows into a table."""

    async def settle(self, last_numbers: Mapping[str, int], identity: str | None) -> None:
        """Go on from these numbers, as that store, and end what was to be stopped and ran no more."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        counts: how many rows, by table.
        unfinished: how many jobs had not ended.
    """

    counts: Mapping[str, int]
    unfinished: int


async def copy(source: Source, target: Target, *, live: bool, progress: Callable[[int, int], object]) -> Copied:
    """Copy a store into an empty one.

    Cancellation: nothing was copied.

    Args:
        source: what is copied.
        target: what is filled; who has opened it commits.
        live: also while schedulers work on it.
        progress: called now and then with how many rows have been copied, of how many.

    Raises:
        StoreError: a scheduler works on one of them, the target is not empty, or one cannot be used.
    """
    _check_idle(target.shown, await target.owners(), "it has to be empty, and nobody must fill it meanwhile; end it")
    there = {table: count for table, count in (await target.counts()).items() if count}
    if there:
        held = ", ".join(plural(count, table.removesuffix("s")) for table, count in there.items())
        raise StoreError(f"{target.shown}: is not empty, there is {held}; nothing was copied, give an empty one")
    if not live:
        _check_idle(source.shown, await source.owners(), _GOES_ON)
    counts = await source.counts()
    counting = _Counting(sum(counts.values()), progress)
    for table in TABLES:
        await target.fill(table, counting.through(source.rows(table)))
    # Beside a store that goes on a copy is another one: it leaves alone what the jobs of that have elsewhere.
    await target.settle(await source.last_numbers(), None if live else await source.identity())
    if not live:  # whoever has come meanwhile has begun to run what was copied
        _check_idle(source.shown, await source.owners(), _GOES_ON)
    return Copied(counts, counting.unfinished)


_GOES_ON: Final = "what it does from now on would be missing in the copy; end it, or copy with --live"


def _check_idle(shown: str, owners: Sequence[StoreOwner], why: str) -> None:
    for owner in owners:
        where = f" on {owner.host}" if owner.host else ""
        raise StoreError(f"{shown}: scheduler {owner.name!r} (process {owner.pid}{where}) works on it: {why}")


class _Counting:
    """Counts rows on their way."""

    STEP: Final = 1_000

    def __init__(self, total: int, progress: Callable[[int, int], object]) -> None:
        self._total = total
        self._progress = progress
        self._seen = 0
        self.unfinished = 0

    async def through(self, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
        finished = JOBS.index("finished")
        async for row in rows:
            self._seen += 1
            if self._seen % self.STEP == 0:
                self._progress(self._seen, self._total)
            if len(row) == len(JOBS) and row[finished] is None:
                self.unfinished += 1
            yield row
