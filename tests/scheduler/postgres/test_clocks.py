"""Times are by the clock of the database: that of a scheduler may be set, and show what it likes."""

from __future__ import annotations

import time

import anyio
import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.records import Ending, NewJob
from lifecycle.scheduler._store.schedule_records import NewSchedule

from ..stores import store_at

BAD = Ending(JobStatus.FAILED, error="it failed", failed=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("hours", [3.0, -3.0])
async def test_a_scheduler_whose_clock_is_set_puts_nothing_off(
    database: str, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """Neither a delay, nor a retry, nor a schedule, and nothing begins before its time, either."""
    store = store_at(database)
    await store.open()
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + hours * 3600.0)
    job = NewJob("x", "call", delay=0.05, payload={"handler": "x", "args": []})
    number = await store.add_job(job)
    record = await store.put_schedule(NewSchedule("s", "fixed_rate", "1000.0", None, "coalesce", None, job, "x"))
    assert record.next_due is not None
    assert 900.0 < record.next_due - really() < 1_060.0
    with anyio.fail_after(20):
        (claimed,) = await store.take(lambda: 1, lambda: ["x"])
    assert await store.retry(claimed.id, 1, BAD, time.time() + 50.0)
    found = await store.job(number)
    assert found is not None
    assert found.due is not None
    assert -10.0 < found.due - really() < 60.0
    await store.aclose()
