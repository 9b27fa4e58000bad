"""The context of an attempt: bounded, told in time, and emptied."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import CurrentJob, Event, JobLogFilter, Scheduler, current_job, handler
from lifecycle.scheduler._ground.limits import LOG_CHARACTERS, LOG_LINES
from lifecycle.scheduler._work.context import JobContext

from ..stores import Address
from ..tools import flow_of

pytestmark = pytest.mark.asyncio


async def test_a_flood_of_lines_from_a_thread_stays_bounded() -> None:
    """A thread that logs without a pause floods neither the loop nor the memory; the last lines are told."""
    told: list[str] = []

    def report(kind: str, data: Mapping[str, Any]) -> None:
        told.append(data["message"])

    context = JobContext("job", 1, {}, report)

    def flood() -> None:
        for number in range(20_000):
            context.log(f"{number} " + "x" * 2_000)

    thread = threading.Thread(target=flood)
    thread.start()
    while thread.is_alive():
        assert len(context._unreported) <= LOG_LINES
        await anyio.sleep(0)
    context.clear()
    assert told[-1].startswith("19999 ")
    assert len(told[-1]) <= LOG_CHARACTERS
    assert len(told) < 20_000


async def test_progress_is_told_ten_times_a_second_and_at_the_end() -> None:
    """A loop that reports every step costs next to nothing."""
    told: list[Any] = []
    context = JobContext("job", 1, {}, lambda kind, data: told.append((kind, data["done"])))
    for number in range(1_000):
        context.progress(number, 1_000)
        if number % 100 == 0:
            await anyio.sleep(0)
    context.clear()
    assert told[0] == ("job_progress", 0)
    assert told[-1] == ("job_progress", 999)
    assert len(told) <= 4


async def test_a_cleared_context_holds_nothing_and_tells_nothing() -> None:
    """Names, lines and the way to the scheduler are let go of (casebook C5)."""
    told: list[str] = []
    context = JobContext("job", 1, {"blocks": {"a": "x" * 1_000}}, lambda kind, data: told.append(kind))
    context.log("line")
    assert context.tail() == "line"
    context.clear()
    context.log("late")
    context.progress(1, 2)
    await anyio.sleep(0.01)
    assert told == ["job_log"]
    assert (context.names, context.tail(), context._report) == ({}, "late", None)


@handler("context.where")
async def where() -> list[object]:
    """Say what job runs in every place that a job has."""

    def here() -> list[object]:
        job = current_job()
        assert job is not None
        job.log(f"line of {job.name}")
        job.progress(1, 2)
        return [job.id, job.name, job.run_id, job.attempt]

    places = [here(), await asyncio.to_thread(here), await asyncio.create_task(asyncio.to_thread(here))]
    assert places[0] == places[1] == places[2]
    return places[0]


@handler("context.where in a thread")
def where_in_a_thread() -> object:
    """Say it in a worker thread."""
    job = current_job()
    return job and [job.id, job.name, job.run_id, job.attempt]


async def test_every_task_and_thread_of_a_job_knows_it(durable: Address) -> None:
    """And nothing outside of it; what is kept of it stays, and does nothing."""
    told: list[Event] = []
    kept: list[CurrentJob | None] = []

    async def keep() -> None:
        kept.append(current_job())

    async with Scheduler(durable, on_event=told.append) as scheduler:
        for function in (where, where_in_a_thread):
            job = await scheduler.submit(function, name="mine")
            assert (await job.wait()).result == [job.id, "mine", None, 1]
        run = await scheduler.submit(flow_of('[blocks.a]\nforeach = [1, 2]\neach = { call = "where" }', where=where))
        await run.wait()
        assert [event.data["message"] for event in told if event.kind == "job_log"] == ["line of mine"] * 3 + [
            "line of a"
        ] * 6
        outputs = await scheduler._store.outputs(run.id, ["a"])
        assert outputs == {} or outputs["a"] == [[3, "a", run.id, 1]] * 2
        assert current_job() is None
    async with Scheduler() as scheduler:
        await (await scheduler.submit(keep)).wait()
    (job_after,) = kept
    assert job_after is not None
    job_after.log("too late")
    job_after.progress(1)
    assert repr(job_after).startswith("<CurrentJob 1 ")


class Records(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []
        self.addFilter(JobLogFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, and the line that it makes."""
        self.records.append(record)
        self.lines.append(self.format(record))


async def test_what_libraries_log_has_the_jobs_numbers_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the message, its arguments, the error, its notes and causes, the stack and the extra fields."""
    monkeypatch.setenv("TOKEN", "very-s3cret-value")
    records = Records()
    vendor = logging.getLogger("vendor")
    vendor.addHandler(records)

    async def login(token: str) -> None:
        vendor.warning("POST auth=%s", token, extra={"url": f"https://{token}@host", "job": "theirs"})
        try:
            try:
                raise KeyError(token)
            except KeyError as cause:
                error = ValueError("refused")
                error.add_note(f"with {token}")
                raise error from cause
        except ValueError:
            vendor.exception("failed", stack_info=True)
        vendor.warning("%d broken", token)

    def login_in_a_thread(token: str) -> None:
        vendor.warning(base64.b64encode(f"user:{token}".encode()).decode())

    text = "".join(f'[blocks.{name}]\ncall = "{name}"\nargs = ["${{env:TOKEN}}"]\n' for name in ("login", "thread"))
    try:
        vendor.warning("outside")
        flow = flow_of(text, login=login, thread=login_in_a_thread)
        async with Scheduler(workers=1) as scheduler:
            run = await scheduler.submit(flow)
            assert (await run.wait()).succeeded
    finally:
        vendor.removeHandler(records)
    outside, first, second, _, thread = records.records
    assert (outside.job_id, outside.job, outside.run_id, outside.attempt) == (None, None, None, None)  # type: ignore[attr-defined]
    assert (first.job, first.attempt, second.job, thread.job) == ("theirs", 1, "login", "thread")  # type: ignore[attr-defined]
    assert {record.run_id for record in records.records[1:]} == {run.id}  # type: ignore[attr-defined]
    assert "s3cret" not in str([vars(record) for record in records.records])
    assert "s3cret" not in "".join(records.lines)
    assert records.lines[1] == "POST auth=***"
    assert "***" in records.lines[-1]
