"""Schedules of flows: one run for each due time, taken up by any process that serves the flow."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Event, FlowError, FlowRun, JobStatus, Scheduler, handler

from ...postgres import ServerSaidNo
from ..stores import Address, rows_at
from ..tools import Cli, flow_of

FLOW = """
name = "naps"
[params]
length = 0.0
[blocks.one]
sleep = "${params.length}"
[blocks.two]
needs = ["one"]
priority = 3
shell = ["echo", "${run.id} ${params.length}"]
"""
LONG = "name = 'naps'\n[blocks.one]\nsleep = 600\n"

pytestmark = pytest.mark.asyncio


@pytest.fixture
def db(address: Address | None) -> Address | None:
    """Each kind of store."""
    return address


class Told:
    """What a scheduler has told, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    def of(self, kind: str) -> list[Event]:
        """Return what was told of this kind."""
        return [event for event in self.events if event.kind == kind]

    async def until(self, kind: str, times: int = 1) -> list[Event]:
        """Wait until something was told so often."""
        with anyio.fail_after(30):
            while len(self.of(kind)) < times:
                self._more.clear()
                await self._more.wait()
        return self.of(kind)


def due_now(db: Address, name: str = "naps") -> None:
    """Let a schedule be due at this moment, as if its time had come while nobody looked."""
    rows_at(db, f"UPDATE schedules SET next_due = {time.time()} WHERE name = '{name}'")


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something that the store's thread does has happened."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.01)


async def test_each_due_time_is_a_run_of_the_flow(db: Address | None) -> None:
    """Its jobs need each other, have its parameters and the schedule's priority on top of their own."""
    told = Told()
    async with Scheduler(db, on_event=told) as scheduler:
        schedule = await scheduler.schedule(
            "often", flow_of(FLOW), params={"length": 0.01}, priority=2, fixed_rate=0.05
        )
        await told.until("run_finished", 3)
        await schedule.pause()
        record = await schedule.record()
        assert (record.flow, record.last_job) == ("naps", None)
        assert record.last_run is not None
        assert record.last_run >= record.runs >= 3
        assert [job.priority for job in await scheduler.jobs(run=1)] in ([2, 5], [])  # memory forgets
    finished = told.of("run_finished")
    assert {event.data["status"] for event in finished[:3]} == {"succeeded"}
    assert [event.data["resumed"] for event in told.of("run_started")[:3]] == [False] * 3
    kinds = [event.kind for event in told.events if event.run_id == 1]
    assert kinds == ["run_started", *["job_started", "job_finished"] * 2, "run_finished"]


async def test_the_next_run_of_a_delay_waits_for_the_end_of_the_last_run(db: Address | None) -> None:
    """Of all its jobs, also when the run was cancelled."""
    told = Told()
    async with Scheduler(db, drain_timeout=0.0, on_event=told) as scheduler:
        schedule = await scheduler.schedule("after", flow_of(LONG), fixed_delay=0.05)
        (first,) = await told.until("job_started")
        assert (await schedule.record()).next_due is None
        assert first.job_id is not None
        await scheduler.cancel(first.job_id)
        _, second = await told.until("run_started", 2)
        assert second.run_id != first.run_id
        (finished,) = told.of("run_finished")
        assert finished.data["jobs"] == {"cancelled": 1}


async def test_a_trigger_returns_the_run(db: Address | None) -> None:
    """It can be waited for, and a pause does not hold it up."""
    async with Scheduler(db) as scheduler:
        schedule = await scheduler.schedule("yearly", flow_of(FLOW), fixed_rate=1e7)
        await schedule.pause()
        for _ in range(5):
            run = await schedule.trigger()
            assert isinstance(run, FlowRun)
            with anyio.fail_after(30):
                outcome = await run.wait()
            assert (outcome.status, len(outcome.jobs)) == (JobStatus.SUCCEEDED, 2)
        assert (await schedule.record()).runs == 0


async def test_what_is_not_right_is_told_before_anything_is_written(db: Address | None) -> None:
    """A parameter that the flow does not have, a setting that flows do not take, arguments."""
    async with Scheduler(db) as scheduler:
        flow = flow_of(FLOW)
        with pytest.raises(FlowError, match="unknown parameter"):
            await scheduler.schedule("s", flow, params={"width": 3}, fixed_rate=1.0)
        with pytest.raises(TypeError, match="takes params and no arguments"):
            await scheduler.schedule("s", flow, 1, fixed_rate=1.0)
        with pytest.raises(TypeError, match="retries"):
            await scheduler.schedule("s", flow, retries=3, fixed_rate=1.0)
        with pytest.raises(TypeError, match="priority must be an integer"):
            await scheduler.schedule("s", flow, priority=0.5, fixed_rate=1.0)
        assert not await scheduler.schedules()


async def test_a_scheduler_that_does_not_serve_the_flow_leaves_its_schedule_alone(durable: Address) -> None:
    """Neither by its time nor by a trigger; who serves it finds it due."""
    db = durable
    async with Scheduler(db) as scheduler:
        await scheduler.schedule("naps", flow_of(FLOW), fixed_rate=1e7)
    due_now(db)
    async with Scheduler(db) as scheduler:
        await scheduler.submit(flow_of(LONG.replace("600", "0").replace("naps", "other")))
        with pytest.raises(LookupError, match="not served here"):
            await scheduler.schedule_named("naps").trigger()
        (record,) = await scheduler.schedules()
        assert record.runs == 0
    told = Told()
    async with Scheduler(db, on_event=told) as scheduler:
        await scheduler.serve_flow(flow_of(FLOW))
        await told.until("run_finished")


async def test_another_version_of_the_flow_is_not_run_in_its_place(durable: Address) -> None:
    """A schedule is of one version; scheduling it again makes it one of the other."""
    db = durable
    told = Told()
    async with Scheduler(db, on_event=told) as scheduler:
        await scheduler.schedule("naps", flow_of(FLOW), fixed_rate=1e7)
    due_now(db)
    changed = flow_of(FLOW.replace("0.0", "0.001"))
    async with Scheduler(db, on_event=told) as scheduler:
        await scheduler.serve_flow(changed)
        with pytest.raises(LookupError, match="not served here"):
            await scheduler.schedule_named("naps").trigger()
        assert (await scheduler.schedules())[0].runs == 0
        await scheduler.schedule("naps", changed, fixed_rate=1e7)
        await told.until("run_finished")
        assert (await scheduler.schedules())[0].runs == 1


async def test_a_run_goes_on_after_a_restart(durable: Address) -> None:
    """It was interrupted by the drain; the schedule has no second run for the same due time."""
    db, told = durable, Told()
    flow = flow_of(FLOW.replace("length = 0.0", "length = 600.0"))
    async with Scheduler(db, drain_timeout=0.0, on_event=told) as scheduler:
        await scheduler.schedule("naps", flow, fixed_rate=1e7)
        due_now(db)
        await told.until("job_started")
    assert told.of("run_finished")[0].data["status"] == "interrupted"
    again = Told()
    async with Scheduler(db, drain_timeout=0.0, on_event=again) as scheduler:
        await scheduler.schedule("naps", flow, fixed_rate=1e7)
        (started,) = await again.until("job_started")
        assert (started.run_id, started.attempt) == (1, 2)
        (run_started,) = again.of("run_started")
        assert run_started.data["resumed"]
        assert (await scheduler.schedules())[0].runs == 1


async def test_an_unfinished_run_of_another_version_is_named_and_left(
    durable: Address, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how to get rid of it, and that ends the waiting of a fixed delay."""
    db, told = durable, Told()
    async with Scheduler(db, drain_timeout=0.0, on_event=told) as scheduler:
        await scheduler.schedule("naps", flow_of(LONG), fixed_delay=0.01)
        await told.until("job_started")
    changed, again = flow_of(LONG.replace("600", "0")), Told()
    async with Scheduler(db, on_event=again) as scheduler:
        with caplog.at_level(logging.WARNING, "lifecycle.scheduler"):
            await scheduler.schedule("naps", changed, fixed_delay=0.01)
        (warning,) = caplog.records
        assert warning.getMessage() == "unfinished run of another version of the flow left alone"
        assert vars(warning)["owner"] == "scheduler"
        assert (vars(warning)["run"], vars(warning)["flow"]) == (1, "naps")
        assert "cancel its jobs" in vars(warning)["advice"]
        assert (await scheduler.schedules())[0].next_due is None
        assert not again.events
        ended = Cli(tmp_path).call("jobs", "cancel", "--run", 1, "--reason", "of another version", "--db", db)
        assert ended.stdout == "run 1: 1 job cancelled, 0 being stopped\n"
        await again.until("run_finished")
    assert again.of("run_started")[0].run_id == 2


@handler("scheduled_flows.sleep")
async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


@pytest.mark.parametrize("of_a_flow", [True, False])
async def test_what_a_schedule_put_in_is_cancelled_from_another_process(
    durable: Address, tmp_path: Path, of_a_flow: bool
) -> None:
    """Also when nothing was ever submitted here."""
    db, told = durable, Told()
    async with Scheduler(db, drain_timeout=0.0, on_event=told) as scheduler:
        if of_a_flow:
            await scheduler.schedule("naps", flow_of(LONG), fixed_rate=1e7)
        else:
            await scheduler.schedule("naps", "scheduled_flows.sleep", 600.0, fixed_rate=1e7)
        due_now(db)
        await told.until("job_started")
        ended = Cli(tmp_path).call("jobs", "cancel", "1", "--reason", "enough", "--db", db)
        assert ended.stdout == "job 1: runs and is being stopped\n"
        (finished,) = await told.until("job_finished")
    assert (finished.data["status"], finished.data["error"]) == ("cancelled", "enough")


async def test_the_database_refuses_a_second_run_for_one_due_time(durable: Address) -> None:
    """Whatever a scheduler thinks."""
    db = durable
    async with Scheduler(db) as scheduler:
        flow = flow_of(FLOW)
        await scheduler.schedule("naps", flow, fixed_rate=1e7)
        ((due, doing),) = rows_at(db, "SELECT next_due, handler FROM schedules")
        assert doing == f"flow:naps@{flow.digest}"
        insert = (
            f"INSERT INTO runs (flow, source, digest, params, jobs, unfinished, created, schedule, scheduled"
            f"{', doer' if isinstance(db, str) else ''}) VALUES ('naps', '', '', '{{}}', 0, 0, 0, 1, {due}"
            f"{', 0' if isinstance(db, str) else ''})"
        )
        rows_at(db, insert)
        with pytest.raises((sqlite3.IntegrityError, ServerSaidNo), match=r"(?i)unique"):
            rows_at(db, insert)
