"""``lifecycle jobs submit``: jobs from outside, for whichever scheduler knows the handler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import pytest

from lifecycle.scheduler import Scheduler, handler

from ..scheduler.tools import Cli

DB = ("--db", "jobs.sqlite")


@handler("cli_submit.echo")
async def echo(*values: object) -> list[object]:
    """Return what it was given."""
    return list(values)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory with an empty store."""
    cli = Cli(tmp_path)
    assert cli.call("run", cli.write("flow.toml", "[blocks.a]\nsleep = 0\n"), *DB).returncode == 0
    assert cli.call("store", "purge", "--all", *DB).returncode == 0
    yield cli
    cli.close()


@pytest.mark.asyncio
async def test_a_scheduler_that_works_on_the_store_runs_it(cli: Cli) -> None:
    """At once, though nothing else happens; words are JSON where they can be."""
    async with Scheduler(cli.directory / "jobs.sqlite") as scheduler:
        words = ("jobs", "submit", "cli_submit.echo", "5", '{"a": null}', "some text", *DB, "--json")
        submitted = await anyio.to_thread.run_sync(lambda: cli.call(*words))
        said = json.loads(submitted.stdout)
        assert (submitted.returncode, said["effect"]) == (0, "taken")
        with anyio.fail_after(20):
            outcome = await (await scheduler.find(said["job_id"])).wait()
        assert outcome.result == [5, {"a": None}, "some text"]


def test_it_waits_for_a_scheduler_that_knows_it(cli: Cli) -> None:
    """And says so."""
    said = cli.call("jobs", "submit", "nobody", "--priority", "5", "--delay", "1h", "--queue", "slow", *DB)
    assert said.returncode == 0
    assert "submitted; it waits for" in said.stdout
    job = cli.jobs(cli.directory / "jobs.sqlite")["nobody"]
    assert (job["status"], job["priority"], job["queue"]) == ("pending", 5, "slow")


def test_a_key_that_another_has(cli: Cli) -> None:
    """Refused, or the other is named, or it takes its place."""
    keyed = ("jobs", "submit", "nobody", "--key", "k", *DB, "--json")
    first = json.loads(cli.call(*keyed).stdout)
    again = cli.call(*keyed)
    assert (again.returncode, json.loads(again.stdout)["job_id"]) == (1, first["job_id"])
    assert cli.call(*keyed, "--on-twin", "return").returncode == 0
    replaced = json.loads(cli.call(*keyed, "--on-twin", "replace").stdout)
    assert replaced["job_id"] != first["job_id"]
    assert cli.call("jobs", "list", "--status", "cancelled", "--json", *DB).stdout.count("\n") == 1


def test_a_job_that_cleans_up_after_others(cli: Cli) -> None:
    """It waits for them, or has nothing to do because they have succeeded."""
    first = json.loads(cli.call("jobs", "submit", "nobody", *DB, "--json").stdout)["job_id"]
    waits = cli.call("jobs", "submit", "clean", "--need", str(first), "--when", "always", *DB)
    assert waits.returncode == 0
    assert cli.call("run", "flow.toml", *DB).returncode == 0
    ended = str(cli.jobs(cli.directory / "jobs.sqlite")["a"]["id"])
    skipped = cli.call("jobs", "submit", "repair", "--need", ended, "--when", "failure", *DB)
    assert (skipped.returncode, skipped.stdout.partition(": ")[2]) == (0, "skipped: nothing that it needs has failed\n")
    assert cli.call("jobs", "cancel", str(first), *DB).returncode == 0
    states = {name: job["status"] for name, job in cli.jobs(cli.directory / "jobs.sqlite").items()}
    assert states == {"nobody": "cancelled", "clean": "pending", "a": "succeeded", "repair": "skipped"}


@pytest.mark.parametrize(
    "words",
    [
        ["", "1"],
        ["h", "--need", "99"],
        ["h", "--at", "tomorrow"],
        ["h", "--at", "2026-01-01T00:00:00Z[UTC]"],
        ["h", "--metadata", "[1]"],
        ["h", "--metadata", "{"],
        ["h", "--on-twin", "return"],
        ["h", "--when", "always"],
        ["h", "--need", "1", "--when", "never"],
        ["h", "--retries", "-1"],
        ["h", "--queue", ""],
        ["h", "--delay", "1h", "--at", "2026-01-01T00:00:00Z"],
    ],
    ids=" ".join,
)
def test_what_is_not_right_is_not_submitted(cli: Cli, words: list[str]) -> None:
    """Exit code 2, and nothing in the store."""
    assert cli.call("jobs", "submit", *words, *DB).returncode == 2
    assert cli.jobs(cli.directory / "jobs.sqlite") == {}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--at", "2026-11-30T25:00+01:00", "'--at': expected a time such as 2026-11-30T17:00, got "),
        ("--metadata", "[" * 100_000, "'--metadata': expected a JSON object such as "),
        ("--metadata", "{", "'--metadata': expected a JSON object such as "),
    ],
)
def test_a_value_that_cannot_be_read_is_told_with_its_option(cli: Cli, option: str, value: str, said: str) -> None:
    """In a line, whatever is wrong with it."""
    ended = cli.call("jobs", "submit", "x", option, value, *DB)
    assert ended.returncode == 2
    assert f"Error: Invalid value for {said}" in ended.stderr
    assert "Traceback" not in ended.stderr
