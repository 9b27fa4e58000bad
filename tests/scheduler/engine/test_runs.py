"""Runs of flows, embedded: in order, failed, cancelled, interrupted and resumed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Event, JobStatus, RunConflict, Scheduler

from ..stores import Address
from ..tools import flow_of
from .handlers import Make, calls

pytestmark = pytest.mark.asyncio


FLOW = """
[params]
n = 3
[blocks.a]
call = "test.add"
args = { x = "${params.n}" }
[blocks.b]
needs = ["a"]
foreach = [1, 2, 3]
each = { call = "test.add_async", args = ["${item}", "${blocks.a.output}"] }
[blocks.c]
needs = ["b"]
call = "test.note"
args = ["${blocks.b.output[2]} of run ${run.flow} attempt ${run.attempt}"]
"""


async def test_a_flow_is_run_in_the_order_of_its_needs(make: Make) -> None:
    """Outputs flow from block to block; the outcome lists every job."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        run = await scheduler.submit(flow_of(FLOW), params={"n": 4})
        outcome = await run.wait()
        assert scheduler.statistics().runs == 0
    assert outcome.succeeded
    assert [job.name for job in outcome.jobs] == ["a", "b", "c"]
    assert calls == ["8 of run flow attempt 1"]
    assert [events[0].kind, events[-1].kind] == ["run_started", "run_finished"]
    assert dict(outcome.counts()) == {"succeeded": 3}


async def test_a_failed_job_cancels_what_needs_it_and_the_run_fails(make: Make) -> None:
    """The other branches go on to their end."""
    text = """
    [blocks.a]
    call = "test.fail"
    args = ["broken"]
    [blocks.b]
    needs = ["a"]
    sleep = 0
    [blocks.c]
    sleep = 0
    """
    async with make() as scheduler:
        outcome = await (await scheduler.submit(flow_of(text))).wait()
    assert outcome.status is JobStatus.FAILED
    by_name = {job.name: job for job in outcome.jobs}
    assert by_name["a"].error == "blocks.a: ValueError: broken"
    assert by_name["b"].error == "needs 'a', which failed"
    assert by_name["c"].status is JobStatus.SUCCEEDED


async def test_a_run_can_be_cancelled_as_a_whole(make: Make) -> None:
    """What runs is stopped, what waits is not started."""
    async with make(workers=1) as scheduler:
        run = await scheduler.submit(
            flow_of("[blocks.a]\nsleep = 60\n[blocks.b]\nsleep = 60\n[blocks.c]\nneeds=['b']\nsleep=0")
        )
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        assert await run.cancel("enough")
        outcome = await run.wait()
        assert not await run.cancel()
    assert outcome.status is JobStatus.CANCELLED
    assert {job.error for job in outcome.jobs} <= {"enough", "needs 'b', which was cancelled"}
    assert {job.status for job in outcome.jobs} == {JobStatus.CANCELLED}


async def test_an_interrupted_run_goes_on_where_it_was(durable: Address) -> None:
    """The same flow and parameters resume it; what had succeeded is not done again, and no retry is burnt."""
    store = durable
    text = """
    [params]
    n = 1
    [blocks.first]
    call = "test.note"
    args = ["first"]
    [blocks.second]
    needs = ["first"]
    sequence = [{ call = "test.note", args = ["second"] }, { sleep = "${params.n}" }]
    [blocks.third]
    needs = ["second"]
    call = "test.note"
    args = ["third"]
    """
    flow = flow_of(text)
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        run = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert not run.resumed
        while "second" not in calls:
            await anyio.sleep(0.001)
    outcome = await run.wait()
    assert [job.status.value for job in outcome.jobs] == ["succeeded", "interrupted", "pending"]
    assert outcome.status is JobStatus.INTERRUPTED
    calls.clear()
    async with Scheduler(store, adopt=False) as scheduler:
        other = await scheduler.submit(flow, params={"n": 0}, resume=True)
        assert not other.resumed
        await other.wait()
        again = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert (again.resumed, again.id, again.jobs, again.unfinished) == (True, run.id, 3, 2)
        outcome = await again.wait()
        assert outcome.succeeded
        assert [(job.attempts, job.failures) for job in outcome.jobs] == [(1, 0), (2, 0), (1, 0)]
        new = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert (new.resumed, new.id > run.id) == (False, True)
        await new.wait()
    assert calls == ["first", "second", "third", "second", "third", "first", "second", "third"]


async def test_a_changed_flow_does_not_continue_an_unfinished_run(durable: Address) -> None:
    """The error says what to do; `fresh` cancels what is left and begins anew."""
    store = durable
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        old = await scheduler.submit(flow_of("[blocks.a]\nsleep = 60"))
    changed = flow_of("[blocks.a]\nsleep = 0")
    async with Scheduler(store) as scheduler:
        with pytest.raises(RunConflict, match=r"the flow has changed since its unfinished run 1 began.*fresh=True"):
            await scheduler.submit(changed, resume=True)
        run = await scheduler.submit(changed, resume=True, fresh=True)
        assert not run.resumed
        assert (await run.wait()).succeeded
        records = await scheduler._store.jobs_of(old.id)
    assert [(job.status, job.error) for job in records] == [(JobStatus.CANCELLED, "a fresh run was begun")]


async def test_a_table_of_handlers_can_be_given_with_a_flow(make: Make) -> None:
    """A flow that a program makes brings its handlers along."""

    async def local(value: Any) -> Any:
        return [value]

    flow = flow_of("[blocks.a]\ncall = 'local'\nargs = ['x']", local=local)
    async with make() as scheduler:
        if not scheduler._store.shared:  # else others may know it
            with pytest.raises(LookupError, match="unknown handler 'local'"):
                await scheduler.submit("local", "x")
        run = await scheduler.submit(flow)
        assert (await run.wait()).succeeded
