"""Reports: what running jobs show of themselves, their log and progress, is in the store for others to see.

All that has changed is written together, at most once a second; a job that says nothing costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import anyio

from .._ground.bridge import Bell
from .._ground.errors import StoreError

if TYPE_CHECKING:
    from .._store.protocol import Store
    from .attempt import Attempt

INTERVAL: Final = 1.0
"""Seconds from one writing to the next."""


class Reports:
    """Writes what running jobs show.

    Args:
        store: where it is written.
        running: the attempts that run, by the numbers of their jobs.
        fail: called when the store cannot be used any more.
    """

    def __init__(self, store: Store, running: Mapping[int, Attempt], fail: Callable[[Exception], object]) -> None:
        self._store = store
        self._running = running
        self._fail = fail
        self._changed: set[int] = set()
        self._bell = Bell()

    def note(self, job_id: int) -> None:
        """Note that a job has something new to show."""
        if not self._changed:
            self._bell.ring()
        self._changed.add(job_id)

    async def run(self) -> None:
        """Write until the store fails.

        Cancellation: ends it; what has not been written is with the end of the job.
        """
        written = -INTERVAL
        while True:
            await self._bell.wait()
            await anyio.sleep(max(0.0, written + INTERVAL - time.monotonic()))
            changed, self._changed = self._changed, set()
            attempts = [self._running[number] for number in changed if number in self._running]
            reports = [report for attempt in attempts if (report := attempt.report()) is not None]
            del attempts
            written = time.monotonic()
            if reports:
                try:
                    await self._store.report(reports)
                except StoreError as error:
                    self._fail(error)
                    return
