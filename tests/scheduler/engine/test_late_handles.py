"""Handles that somebody gets while the scheduler is closed: they come to an end, as those from before do."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle.scheduler import Scheduler, StoreError, handler

from ..stores import Address


@handler("late.never")
async def never() -> None:
    """Do nothing; it is not begun."""


@pytest.mark.parametrize("steps", range(4))
def test_a_job_that_is_submitted_while_the_scheduler_is_closed_is_waited_for_in_vain(
    durable: Address, steps: int
) -> None:
    """The store has it, and whoever waits is told that it will not end here."""

    async def main() -> None:
        async with asyncio.timeout(20):
            async with Scheduler(durable) as scheduler:
                submitting = [asyncio.ensure_future(scheduler.submit(never, delay=1000.0)) for _ in range(5)]
                for _ in range(1 + steps):
                    await asyncio.sleep(0)
            for one in submitting:
                try:
                    job = await one
                except StoreError:
                    continue
                outcome = await job.wait()
                assert outcome.status.value == "interrupted"
                assert outcome.error == "the scheduler was closed before the job ended"

    asyncio.run(main())
