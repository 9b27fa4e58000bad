"""Every command that looks at a database or changes it does the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Scheduler, handler

from ..scheduler.tools import Cli

GOOD = """
name = "good"
[params]
n = 1
[blocks.one]
sleep = 0
[blocks.two]
needs = ["one"]
shell = ["sh", "-c", "echo two ${params.n} \u00fc"]
"""
BAD = """
name = "bad"
[blocks.one]
shell = ["false"]
[blocks.two]
needs = ["one"]
sleep = 0
[finally.clean]
sleep = 0
"""

STORY = [
    "run good.toml",
    "run good.toml --param n=2",
    "run bad.toml",
    "jobs submit report 1 text [2] --priority 3 --name later --delay 1h --retries 2 --timeout 5 --queue slow",
    "jobs submit report --key k --expires 1h",
    "jobs submit report --key k",
    "jobs submit report --key k --on-twin return",
    "jobs submit report --key k --on-twin replace",
    "jobs submit report --need 9 --name below",
    "jobs submit report --need 99",
    'jobs submit report --name {"a" --metadata {"a":1}',
    "jobs list --json",
    "jobs list --json --status pending --status failed",
    "jobs list --json --flow good --limit 2",
    "jobs list --json --run 3",
    "jobs list --json --name report --since 1h",
    "jobs list --json --until 2020-01-01",
    "jobs show two --json",
    "jobs show 8 --json",
    "jobs show 77",
    "jobs show 999999999999999999",
    "jobs log two",
    "jobs set later --priority 7 --json",
    "jobs set two --priority 7 --json",
    "jobs cancel later --reason no --json",
    "jobs cancel later --json",
    "jobs cancel 77",
    "jobs cancel --run 3 --json",
    "jobs retry later --json",
    "jobs retry two --json",
    "jobs retry 1 --force --json",
    "jobs wait 2 two later --timeout 0.5 --json",
    "runs list --json",
    "runs list --json --status failed --flow bad",
    "runs show 3 --json",
    "runs show 77",
    "runs retry 3 --json",
    "runs retry 2 --json",
    "runs cancel 3 --json",
    "runs wait 2 3 --timeout 0.5 --json",
    "runs list --json",
    "jobs list --json",
    "limits set --queue slow --limit 1 --rate 5 --per 1m --burst 2 --weight 2 --json",
    "limits set --handler report --limit 0 --json",
    "limits pause --json",
    "limits pause --json",
    "limits pause --queue slow --json",
    "limits resume --json",
    "limits resume --json",
    "limits list --json",
    "limits set --handler report --json",
    "jobs show later --json",
    "schedules list --json",
    "schedules pause nightly --json",
    "schedules show nightly --json",
    "schedules resume nightly --json",
    "schedules trigger nightly hourly --json",
    "schedules set hourly --max-instances 2 --overlap queue --json",
    "schedules list --json",
    "schedules remove nightly --json",
    "schedules pause nightly",
    "schedules list --json",
    "store show --json",
    "store check --json",
    "store export",
    "store purge --older-than 1h --json",
    "store purge --all --name good --dry-run --json",
    "store purge --all --name good --succeeded --json",
    "store purge --keep 3 --json",
    "store purge --all --json",
    "store export",
    "store check --json",
    "store vacuum --json",
]
"""What is called, one after the other; each answer has to be the same."""

TIMES = {
    *("created", "started", "finished", "due", "expires", "seconds", "at", "next_due", "last_due", "anchor"),
    *("digest", "source", "log", "pid"),
}
STORES = {"store", "identity", "path", "size", "free", "version", "before", "after"}


@handler("both.nothing")
async def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory with two flows."""
    cli = Cli(tmp_path)
    cli.write("good.toml", GOOD)
    cli.write("bad.toml", BAD)
    yield cli
    cli.close()


def told(cli: Cli, db: str) -> list[Any]:
    """Return what each command of the story prints, without times and what the database is called."""
    anyio.run(_with_schedules, db if db.startswith("postgresql:") else cli.directory / db)
    return [(words, _answer(cli, words, db)) for words in STORY]


async def _with_schedules(store: Any) -> None:
    async with Scheduler(store) as scheduler:
        await scheduler.schedule("nightly", nothing, cron="30 2 * * *", timezone="Europe/Berlin", jitter=60)
        await scheduler.schedule("hourly", nothing, fixed_rate=3600.0, max_instances=1)


def _answer(cli: Cli, words: str, db: str) -> Any:
    done = cli.call(*words.split(), "--db", db)
    lines = [_without_times(line.replace(db, "DB")) for line in done.stdout.splitlines()]
    errors = re.sub(r" --db '?DB'?", "", done.stderr.replace(db, "DB"))
    return done.returncode, [line for line in lines if line is not None], errors


def _without_times(line: str) -> Any:
    if not line.startswith("{"):
        text = re.sub(r" +", " ", re.sub(r"^[0-9]{2}:[0-9]{2}:[0-9]{2} ", "", line))
        return None if re.search(r"[0-9] (ms|s)\b|seconds", text) else text
    return _stripped(json.loads(line))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(one) for key, one in value.items() if key not in TIMES | STORES}
    if isinstance(value, list):
        return [_stripped(one) for one in value]
    return re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T?[ 0-9:+.]*", "TIME", value) if isinstance(value, str) else value


@pytest.mark.slow
def test_every_command_says_the_same_of_both_stores(cli: Cli, database: str) -> None:
    """The same story, with the same numbers, states, texts and exit codes."""
    here, there = told(cli, "jobs.db"), told(cli, database)
    assert [one for one in zip(here, there, strict=True) if one[0] != one[1]] == []
