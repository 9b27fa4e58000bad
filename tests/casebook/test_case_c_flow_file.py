"""Case C's flow file, unchanged, on each kind of store: the same results, and the same events."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler import Event, Scheduler, load_flow

from ..scheduler.conftest import new_address  # noqa: F401
from ..scheduler.stores import STORES, NewAddress

FLOW = Path(__file__).with_name("warehouse.toml")


def shown(event: Event) -> tuple[Any, ...]:
    """Return what an event says, without its times."""
    told = {name: value for name, value in event.data.items() if name not in ("seconds", "delay", "unfinished")}
    return event.kind, event.job, event.attempt, repr(sorted(told.items()))


async def run_on(store: Path | str | None) -> tuple[dict[str, Any], Counter[Any]]:
    """Run the flow, and return what became of its jobs, and what was told."""
    events: Counter[Any] = Counter()

    def note(event: Event) -> None:
        if event.kind != "job_progress":  # what comes in one moment is told once
            events[shown(event)] += 1

    async with Scheduler(store, workers=4, on_event=note) as scheduler:
        flow = load_flow(FLOW)
        from .warehouse_handlers import asked

        asked.clear()
        outcome = await (await scheduler.submit(flow, params={"order": 7})).wait()
        jobs = {
            job.name: (job.status.value, job.attempts, job.failures, job.error, job.may_fail) for job in outcome.jobs
        }
        records = [await scheduler.job(job.id) for job in outcome.jobs] if store is not None else []
        results = {record.name: (record.result, record.needs) for record in records}
    return {"status": outcome.status.value, "jobs": jobs, "results": results}, events


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", STORES)
async def test_the_flow_of_the_warehouse_is_the_same_everywhere(
    kind: str,
    new_address: NewAddress,  # noqa: F811
) -> None:
    """A plan, moves two at a time, retries, a timeout that is allowed, one that is not, and steps that run anyway."""
    facts, events = await run_on(new_address(kind))
    usual, usual_events = await run_on(None)
    assert facts["status"] == usual["status"] == "failed"
    assert facts["jobs"] == usual["jobs"]
    assert events == usual_events
    assert facts["jobs"]["site"][:3] == ("succeeded", 3, 2)
    assert facts["jobs"]["label"][0] == "timed_out"
    assert {name: facts["jobs"][name][0] for name in ("dispatch", "recover", "celebrate", "release")} == {
        "dispatch": "cancelled",
        "recover": "succeeded",
        "celebrate": "skipped",
        "release": "succeeded",
    }
    if kind != "memory":
        assert facts["results"]["weigh"][0] == 4, facts
        assert facts["results"]["move"][0] == ["7:BOLTS", "7:NUTS", "7:WASHERS", "7:SCREWS"]
