"""``lifecycle schedules``: schedules of a database from another process."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Scheduler, handler

from ..scheduler.tools import Cli, flow_of

ran: list[str] = []


@handler("cli_schedules.note")
async def note(word: str) -> None:
    ran.append(word)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, beside a database with three schedules."""

    async def fill() -> None:
        async with Scheduler(tmp_path / "jobs.db") as scheduler:
            await scheduler.schedule("clean", "cli_schedules.note", "x", fixed_delay=3600.0, missed="drop")
            nights: dict[str, Any] = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitter": 90.0}
            nights |= {"starts": datetime(2020, 1, 1, 12, tzinfo=UTC), "misfire_grace": 60.0}
            nights |= {"max_instances": 2, "overlap": "queue"}
            await scheduler.schedule("nights", "cli_schedules.note", "y", **nights)
            flow = flow_of("name = 'naps'\n[blocks.one]\nsleep = 0\n")
            await scheduler.schedule("rounds", flow, fixed_rate=1000.0)

    asyncio.run(fill())
    cli = Cli(tmp_path)
    yield cli
    cli.close()


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    """Return the schedules as JSON, by name."""
    ended = cli.call("schedules", "list", "--db", "jobs.db", "--json")
    assert ended.returncode == 0, ended.stderr
    return {schedule["name"]: schedule for schedule in map(json.loads, ended.stdout.splitlines())}


def test_one_is_shown_with_everything(cli: Cli) -> None:
    """Also what no list has room for; one that is not there is bad input."""
    ended = cli.call("schedules", "show", "nights", "--db", "jobs.db")
    facts = dict(line.split(None, 1) for line in ended.stdout.splitlines())
    assert facts["schedule"] == "nights"
    assert facts["jitter"] == "up to 90.0 s"
    assert facts["starts"].startswith("2020-01-01")
    assert facts["missed"] == "coalesce, after 60.0 s for good"
    assert facts["overlap"] == "2 at once, else queue"
    assert facts["times"] == "0, 0 dropped, 0 skipped"
    assert "ends" not in facts
    assert (
        json.loads(cli.call("schedules", "show", "nights", "--db", "jobs.db", "--json").stdout) == listed(cli)["nights"]
    )
    ended = cli.call("schedules", "show", "night", "--db", "jobs.db")
    assert ended.returncode == 2
    assert "there is no schedule 'night'" in ended.stderr


def test_the_list_is_a_table(cli: Cli) -> None:
    """What each runs, and when."""
    lines = cli.call("schedules", "list", "--db", "jobs.db").stdout.splitlines()
    columns = [[part.strip() for part in line.split("  ") if part.strip()] for line in lines]
    assert columns[0] == ["schedule", "runs", "when", "missed", "next", "last", "times", "dropped", "overlap"]
    assert [row[:4] for row in columns[1:]] == [
        ["clean", "handler cli_schedules.note", "3600 s after each run", "drop"],
        ["nights", "handler cli_schedules.note", "cron 0 3 * * * (Europe/Berlin)", "coalesce"],
        ["rounds", "flow naps", "every 1000 s", "coalesce"],
    ]
    assert [row[5:] for row in columns[1:]] == [["-", "0", "0", of] for of in ("-", "2 at once, else queue", "-")]


def test_json_is_the_record(cli: Cli) -> None:
    """One object per line, with the fields of ScheduleRecord."""
    schedules = listed(cli)
    assert list(schedules) == ["clean", "nights", "rounds"]
    assert (schedules["rounds"]["flow"], schedules["rounds"]["handler"]) == ("naps", None)
    assert (schedules["clean"]["flow"], schedules["clean"]["handler"]) == (None, "cli_schedules.note")
    assert not schedules["clean"]["paused"]


def test_pause_and_resume(cli: Cli) -> None:
    """Several at once, and twice is as good as once."""
    for _ in range(2):
        ended = cli.call("schedules", "pause", "clean", "rounds", "--db", "jobs.db")
        assert (ended.returncode, ended.stdout) == (0, "schedule clean: paused\nschedule rounds: paused\n")
    assert {name for name, schedule in listed(cli).items() if schedule["paused"]} == {"clean", "rounds"}
    assert "  paused  " in cli.call("schedules", "list", "--db", "jobs.db").stdout
    ended = cli.call("schedules", "resume", "rounds", "--db", "jobs.db", "--json")
    assert json.loads(ended.stdout) == {"schedule": "rounds", "effect": "resumed"}
    assert {name for name, schedule in listed(cli).items() if schedule["paused"]} == {"clean"}


def test_the_overlap_is_set_from_outside(cli: Cli) -> None:
    """In place of what it was; a word alone, without a number, is told."""
    ended = cli.call("schedules", "set", "clean", "--max-instances", "1", "--overlap", "queue", "--db", "jobs.db")
    assert (ended.returncode, ended.stdout) == (0, "schedule clean: 1 at once, else queue\n")
    assert (listed(cli)["clean"]["max_instances"], listed(cli)["clean"]["overlap"]) == (1, "queue")
    assert cli.call("schedules", "set", "clean", "--overlap", "queue", "--db", "jobs.db").returncode == 2
    ended = cli.call("schedules", "set", "clean", "--db", "jobs.db")
    assert (ended.returncode, ended.stdout) == (0, "schedule clean: any number at once\n")
    assert (listed(cli)["clean"]["max_instances"], listed(cli)["clean"]["overlap"]) == (None, "skip")


@pytest.mark.parametrize("command", ["pause", "resume", "trigger", "set"])
def test_a_schedule_that_is_not_there_is_told(cli: Cli, command: str) -> None:
    """With exit code 2, and how to see which there are."""
    ended = cli.call("schedules", command, "cleen", "--db", "jobs.db")
    assert ended.returncode == 2
    assert ended.stderr == (
        "jobs.db: there is no schedule 'cleen'; `lifecycle schedules list --db jobs.db` shows what there is\n"
    )
    assert cli.call("schedules", command, "--db", "jobs.db").returncode == 2
    assert cli.call("schedules", command, "x", "--db", "missing.db").returncode == 2


def test_a_trigger_is_run_once_by_the_scheduler_that_comes(cli: Cli) -> None:
    """So often as it was asked for, also while it is paused, and not again by the next scheduler."""
    cli.call("schedules", "pause", "clean", "--db", "jobs.db")
    for _ in range(2):
        ended = cli.call("schedules", "trigger", "clean", "--db", "jobs.db")
        assert (ended.returncode, ended.stdout) == (0, "schedule clean: a run will be started\n")
    assert listed(cli)["clean"]["runs"] == 0
    ran.clear()

    async def serve(times: int) -> None:
        async with Scheduler(cli.directory / "jobs.db") as scheduler:
            with anyio.fail_after(30):
                while len(ran) < times:
                    await anyio.sleep(0.01)
            assert (await scheduler.schedule_named("clean").record()).paused

    asyncio.run(serve(2))
    asyncio.run(serve(2))
    assert ran == ["x", "x"]
    with closing(sqlite3.connect(cli.directory / "jobs.db")) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (2,)


def test_a_scheduler_that_idles_hears_a_trigger(cli: Cli) -> None:
    """Within about a second, although nothing else happens."""
    ran.clear()

    async def serve() -> None:
        async with Scheduler(cli.directory / "jobs.db"):
            await anyio.sleep(0.2)
            assert cli.call("schedules", "trigger", "nights", "--db", "jobs.db").returncode == 0
            with anyio.fail_after(20):
                while not ran:
                    await anyio.sleep(0.01)

    asyncio.run(serve())
    assert ran == ["y"]


def test_a_schedule_that_this_machine_cannot_read_is_not_resumed(cli: Cli) -> None:
    """It says why, and leaves it as it is."""
    with closing(sqlite3.connect(cli.directory / "jobs.db")) as db, db:
        db.execute("UPDATE schedules SET timezone = 'Europe/Newtown', next_due = 1 WHERE name = 'nights'")
    assert cli.call("schedules", "pause", "nights", "--db", "jobs.db").returncode == 0
    ended = cli.call("schedules", "resume", "nights", "--db", "jobs.db")
    assert ended.returncode == 2
    assert ended.stderr.startswith("schedule nights: time zone 'Europe/Newtown' is not known")
    assert "Traceback" not in ended.stderr
    assert listed(cli)["nights"]["paused"]
