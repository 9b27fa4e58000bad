"""The reconciler: what other processes have asked of a scheduler's jobs, and how often that is looked up."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import anyio

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler._engine.reconciler import _next
from lifecycle.testing import Bubble

from ...loops import virtual
from .handlers import wait_for_ever


@virtual
async def test_the_reconciler_asks_once_for_all_jobs_and_seldom_for_none(bubble: Bubble, tmp_path: Path) -> None:
    """One query per interval for all jobs, and a third of that when there are none (casebook C4)."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        asked: list[float] = []
        notices = scheduler._store.notices

        async def counted() -> Any:
            asked.append(bubble.clock.now)
            return await notices()

        scheduler._store.notices = counted  # type: ignore[method-assign]
        await anyio.sleep(1)
        assert asked == [0.75]
        asked.clear()
        jobs = [await scheduler.submit(wait_for_ever) for _ in range(5)]
        await anyio.sleep(0.8)
        assert asked == [1.25, 1.5, 1.75]
        for job in jobs:
            await job.cancel()
            await job.wait()
        jobs.clear()
        del job
        await anyio.sleep(1)
        assert asked == [1.25, 1.5, 1.75, 2.0, 2.25]  # it was waiting when the last job ended, and had been woken


def test_a_handle_may_go_while_it_is_looked_which_are_wanted() -> None:
    """At any moment, with its last reference, or with a cycle that is collected."""
    kept: dict[int, Any] = {}

    class Handle:
        """One whose look at it lets another go."""

        @property
        def done(self) -> bool:
            kept.pop(2, None)
            return False

    kept.update({1: Handle(), 2: Handle(), 3: Handle()})
    assert _next(weakref.WeakValueDictionary(kept)) == [1, 3]
