"""What a store keeps of a failed job: the end of its traceback, without our own frames."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import lifecycle
from lifecycle import Scope
from lifecycle.scheduler import Scheduler, handler

from ..stores import Address

pytestmark = pytest.mark.asyncio


@handler("test.fails_inside_of_us")
async def fails_inside_of_us() -> None:
    """Fail below frames of the core."""

    async def make() -> None:
        raise LookupError("below")

    async with Scope() as scope:
        await scope.acquire(make, release=id)


async def test_a_stored_traceback_shows_no_frame_of_the_core_or_of_the_scheduler(durable: Address) -> None:
    """The job's own lines are there, and none of ours, although the error went through many."""
    async with Scheduler(durable, workers=1) as scheduler:
        job = await scheduler.submit(fails_inside_of_us)
        outcome = await job.wait()
        record = await scheduler.job(job.id)
    assert record is not None
    assert record.trace is not None
    assert outcome.exception is not None
    frames = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(outcome.exception.__traceback__)]
    package = Path(lifecycle.__file__).parent
    below = {path.relative_to(package).parts[0] for path in frames if path.is_relative_to(package)}
    assert below >= {"_scope", "scheduler"}, "the error did not go through the core"
    assert str(package) not in record.trace
    assert record.trace.count(__file__) >= 2
