"""The schedules in flow files: checked with the file, put into the store at each start of a service."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from lifecycle import TaskGroup
from lifecycle.cli import cli
from lifecycle.cli._service import Service
from lifecycle.cli._timetable import put_schedules
from lifecycle.scheduler import Event, FlowError, Scheduler, handler, load_flow

from ..scheduler.tools import Cli, flow_of, problems_of, wait_until
from .service import serving as serving_process

WORK = "[blocks.one]\nsleep = 0\n"


def flow_text(schedule: str, work: str = WORK, params: str = "") -> str:
    """Return a flow with a schedule."""
    return f"name = 'naps'\n[params]\n{params}\n[schedule]\n{schedule}\n{work}"


@handler("timetable.nothing")
async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("", "schedule: expected one of cron, fixed_rate and fixed_delay, got none"),
        ("fixed_rate = 1\nfixed_delay = 1", "schedule: expected one of cron, fixed_rate and fixed_delay, got 'fixed_"),
        ("cron = '* * * *'", "schedule.cron: cron expression '* * * *' cannot be read"),
        ("cron = 3", "schedule.cron: expected a string, got 3"),
        ("cron = '* * * * *'\ntimezone = 'Mars/Base'", "schedule.timezone: time zone 'Mars/Base' is not known"),
        ("fixed_rate = 1\ntimezone = 'UTC'", "schedule.timezone: is for cron, and for starts and ends"),
        ("fixed_rate = 0.001", "schedule.fixed_rate: expected at least 0.01 seconds, got 0.001"),
        ("fixed_delay = true", "schedule.fixed_delay: expected a number of seconds, got True"),
        ("fixed_rate = 1\nmissed = 'all'", "schedule.missed: expected one of 'burst', 'coalesce', 'drop', got 'all'"),
        ("fixed_rate = 1\nmisfire_grace = -1", "schedule.misfire_grace: expected 0 or more"),
        ("fixed_rate = 1\npriority = 'high'", "schedule.priority: expected an integer"),
        ("fixed_rate = 1\nevery = 1", "schedule.every: unknown key"),
        ("fixed_rate = 1\nparams = { width = 1 }", "schedule.params.width: unknown parameter; there are 'day'"),
        ("fixed_rate = 1\nparams = { day = 1 }", "schedule.params.day: expected a string, got 1"),
        ("fixed_rate = 1", "schedule.params.day: a value is required"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told_with_its_place(schedule: str, problem: str) -> None:
    """One line for each problem, and each only once."""
    problems = problems_of(flow_text(schedule, params="day = { type = 'string' }"))
    if "params" not in problem:
        problems.remove("flow.toml: schedule.params.day: a value is required")
    assert [line for line in problems if line.startswith(f"flow.toml: {problem}")] == problems[:1]
    assert len(problems) == len({line.split(": ")[1] for line in problems})


def test_a_schedule_that_is_no_table_is_told() -> None:
    """And nothing else about it is looked at that is not there."""
    assert problems_of(f"schedule = 'daily'\n{WORK}")[0] == "flow.toml: schedule: expected a table, got 'daily'"


def test_the_schedule_does_not_make_another_version_of_the_flow() -> None:
    """What a flow does is the same whenever it runs: an unfinished run may go on."""
    assert flow_of(flow_text("fixed_rate = 1")).digest == flow_of(flow_text("cron = '0 3 * * *'")).digest


@asynccontextmanager
async def serving(service: Service, scheduler: Scheduler) -> AsyncIterator[None]:
    """Run a service until the block is left."""
    listening = anyio.Event()

    def tell(event: Event) -> None:
        listening.set()

    async with TaskGroup() as group:
        group.start_soon(service.run, scheduler, tell)
        await listening.wait()
        yield
        group.cancel("the test is over")


def written(directory: Path, name: str, text: str) -> Path:
    """Write a file and return its path."""
    (directory / name).write_text(text)
    return directory / name


def served(*flows: Path) -> Service:
    """Return a service with these flows, on any port."""
    return Service.read(flows, (), "127.0.0.1:0", None)


async def timetable(db: Path, *flows: Path) -> dict[str, dict[str, Any]]:
    """Put the schedules of these flows into a store, as a service does at its start; return all schedules."""
    async with Scheduler(db) as scheduler:
        await put_schedules(scheduler, [load_flow(path) for path in flows])
        return {record.name: record.to_dict() for record in await scheduler.schedules()}


@pytest.mark.asyncio
async def test_a_service_runs_a_flow_by_its_schedule(tmp_path: Path) -> None:
    """With the parameters that the schedule gives, and those that it does not at their defaults."""
    runs: list[Event] = []
    finished = anyio.Event()

    def heard(event: Event) -> None:
        if event.kind == "run_finished":
            runs.append(event)
            finished.set()

    work = "[blocks.one]\nshell = ['sh', '-c', 'echo $0 >> done', '${params.day} ${params.size}']\n"
    params = "day = { type = 'string' }\nsize = 3"
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 0.05\nparams = { day = 'monday' }", work, params))
    async with serving(served(flow), Scheduler(tmp_path / "jobs.sqlite", on_event=heard)):
        with anyio.fail_after(30):
            await finished.wait()
    assert runs[0].data == {"flow": "naps", "status": "succeeded", "jobs": {"succeeded": 1}}
    assert set((tmp_path / "done").read_text().splitlines()) == {"monday 3"}


@pytest.mark.asyncio
async def test_a_restart_changes_nothing_and_another_file_changes_the_schedule(tmp_path: Path) -> None:
    """Due times stay as they are unless the timing has changed; a schedule that is gone from the file is removed."""
    db = tmp_path / "jobs.sqlite"
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000"))
    first = await timetable(db, flow)
    assert first["naps"]["flow"] == "naps"
    assert await timetable(db, flow) == first
    written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000\nmissed = 'drop'", "[blocks.two]\nsleep = 0\n"))
    assert await timetable(db, flow) == {"naps": {**first["naps"], "missed": "drop"}}
    written(tmp_path, "naps.toml", flow_text("cron = '0 3 * * *'\ntimezone = 'Europe/Berlin'"))
    changed = (await timetable(db, flow))["naps"]
    assert (changed["kind"], changed["rule"], changed["timezone"]) == ("cron", "0 3 * * *", "Europe/Berlin")
    written(tmp_path, "naps.toml", f"name = 'naps'\n{WORK}")
    assert await timetable(db, flow) == {}


@pytest.mark.asyncio
async def test_a_pause_outlives_a_restart(tmp_path: Path) -> None:
    """Who has paused a schedule does not want it resumed by a deployment."""
    db = tmp_path / "jobs.sqlite"
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000"))
    await timetable(db, flow)
    async with Scheduler(db) as scheduler:
        await scheduler.schedule_named("naps").pause()
    assert (await timetable(db, flow))["naps"]["paused"]


@pytest.mark.asyncio
async def test_the_schedule_of_a_flow_that_is_not_served_stays_and_is_not_fired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so; when the flow is served again, what is due is run as its policy says."""
    db = tmp_path / "jobs.sqlite"
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000"))
    other = written(tmp_path, "other.toml", WORK)
    before = await timetable(db, flow)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("UPDATE schedules SET next_due = ?", (time.time(),))
    with caplog.at_level(logging.INFO, "lifecycle.scheduler"):
        after = await timetable(db, other)
    assert after["naps"]["runs"] == before["naps"]["runs"] == 0
    records = [record for record in caplog.records if record.message.startswith("schedule left alone")]
    assert [(vars(record)["schedule"], vars(record)["flow"]) for record in records] == [("naps", "naps")]
    async with Scheduler(db) as scheduler:
        await put_schedules(scheduler, [load_flow(flow)])
        with anyio.fail_after(30):
            while not (await scheduler.schedules())[0].runs:
                await anyio.sleep(0.01)


def test_a_schedule_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    """One that calls a handler may have the same name; then nothing is put in."""
    db = tmp_path / "jobs.sqlite"

    async def put_in() -> None:
        async with Scheduler(db) as scheduler:
            await scheduler.schedule("naps", "timetable.nothing", fixed_rate=1000.0)

    asyncio.run(put_in())
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000"))
    with pytest.raises(FlowError, match=r"naps.toml: schedule: the database has another schedule 'naps'"):
        asyncio.run(timetable(db, flow))
    result = CliRunner().invoke(cli, ["serve", str(flow), "--db", str(db), "--control", "127.0.0.1:0"])
    assert result.exit_code == 2
    assert ": naps.toml: schedule: the database has another schedule 'naps'" in result.stderr
    assert asyncio.run(timetable(db))["naps"]["flow"] is None


def test_a_secret_that_is_not_there_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there at three in the morning to read that it is missing."""
    monkeypatch.delenv("LIFECYCLE_TEST_SECRET", raising=False)
    work = "[blocks.one]\nshell = ['echo', '${env:LIFECYCLE_TEST_SECRET}']\n"
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 1000", work))
    with pytest.raises(FlowError, match="LIFECYCLE_TEST_SECRET"):
        served(flow)


def test_run_ignores_the_schedule(tmp_path: Path) -> None:
    """It runs the flow once, now, and puts no schedule into the database; a required parameter is still required."""
    flow = written(tmp_path, "naps.toml", flow_text("fixed_rate = 0.01"))
    db = tmp_path / "jobs.sqlite"
    result = CliRunner().invoke(cli, ["run", str(flow), "--db", str(db)])
    assert result.exit_code == 0, result.output
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT count(*) FROM schedules").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.slow
def test_each_due_time_is_one_run_however_the_service_ends(tmp_path: Path) -> None:
    """It is killed in the middle of its runs: no due time is run twice or left out, and every run comes to its end."""
    db = tmp_path / "jobs.db"
    work = "[blocks.one]\nsleep = 0.05\n[blocks.two]\nneeds = ['one']\nsleep = 0.05\n"
    written(tmp_path, "naps.toml", flow_text("fixed_rate = 0.1\nmissed = 'burst'", work))
    patient = ("--max-crashes", "5")  # the same job may be hit by every kill
    for _ in range(4):
        with serving_process(tmp_path, "naps.toml", *patient) as service:  # which kills it at the end
            service.logged("succeeded")
            wait_until(lambda service=service: len(service.messages(": run ")) > 6)  # type: ignore[misc]
    with serving_process(tmp_path, "naps.toml", *patient) as service:
        assert Cli(tmp_path).call("schedules", "pause", "naps", "--db", "jobs.db").returncode == 0
        with closing(sqlite3.connect(db, isolation_level=None)) as connection:
            wait_until(lambda: connection.execute("SELECT min(unfinished = 0) FROM runs").fetchone() == (1,))
        service.process.terminate()
        assert service.ended() == 0
    with closing(sqlite3.connect(db)) as connection:
        (anchor,) = connection.execute("SELECT anchor FROM schedules").fetchone()
        due = [
            round((at - anchor) / 0.1) for (at,) in connection.execute("SELECT scheduled FROM runs ORDER BY scheduled")
        ]
        assert due == list(range(1, len(due) + 1))
        assert connection.execute("SELECT DISTINCT state FROM jobs").fetchall() == [("succeeded",)]
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2 * len(due),)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
