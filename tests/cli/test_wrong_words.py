"""Words that are wrong, alone or among right ones: what is told, and that nothing has happened before."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lifecycle.cli import cli
from lifecycle.scheduler import Scheduler, handler


@handler("wrong_words.nothing")
async def nothing() -> None:
    pass


async def _fill(path: Path) -> None:
    async with Scheduler(path) as scheduler:
        await (await scheduler.submit(nothing, name="done")).wait()
        await scheduler.submit(nothing, name="later", delay=1e6)
        await scheduler.schedule("nights", nothing, cron="0 3 * * *")


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database with a job that has ended, one that waits, and a schedule; in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("jobs.db")
    asyncio.run(_fill(path))
    return path


def call(*words: str) -> Result:
    """Call the command line with words."""
    return CliRunner().invoke(cli, words)


def refused(*words: str) -> str:
    """Call the command line with words of which some are wrong; return what is told."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def states() -> str:
    """Return everything that the database says of its jobs, runs and schedules."""
    return "".join(call(what, "list", "--db", "jobs.db", "--json").stdout for what in ("jobs", "schedules", "limits"))


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "cancel", "later", "nobody"),
        ("jobs", "cancel", "later", "--run", "9"),
        ("jobs", "set", "later", "nobody", "--priority", "3"),
        ("jobs", "retry", "done", "nobody", "--force"),
        ("schedules", "pause", "nights", "nobody"),
        ("schedules", "remove", "nights", "nobody"),
    ],
    ids=" ".join,
)
def test_of_several_none_is_touched_when_one_is_not_there(words: tuple[str, ...]) -> None:
    """A typo in the last name would have left half of it done."""
    before = states()
    assert "there is no " in refused(*words, "--db", "jobs.db")
    assert states() == before


@pytest.mark.parametrize("words", [("--per", "60"), ("--burst", "3")], ids=" ".join)
def test_a_rate_is_needed_for_its_parts(words: tuple[str, str]) -> None:
    """Without one the limit that was there would have been taken away."""
    assert call("limits", "set", "--queue", "q", "--limit", "2", "--db", "jobs.db").exit_code == 0
    before = states()
    assert "--per and --burst are of a --rate" in refused("limits", "set", "--queue", "q", *words, "--db", "jobs.db")
    assert states() == before


@pytest.mark.parametrize("words", [("--keep", "0"), ("--older-than", "0")], ids=" ".join)
def test_all_that_has_ended_is_not_a_part_of_it(words: tuple[str, str]) -> None:
    """The two contradict each other, and nothing is deleted."""
    assert "--all is everything" in refused("store", "purge", "--all", *words, "--db", "jobs.db")
    assert call("store", "purge", "--all", "--dry-run", "--db", "jobs.db").stdout == "jobs.db: 1 job would be deleted\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--at", "tomorrow"), "'--at': expected a time such as 2026-11-30T17:00, got 'tomorrow'"),
        (("--metadata", "a=1"), "'--metadata': expected a JSON object such as"),
        (("--metadata", "[1]"), "'--metadata': expected a JSON object such as"),
        (("--backoff", "1,x"), "'--backoff': expected seconds, or a number with s, m, h, d or w, got 'x'"),
        (("--backoff", "5,1"), "backoff: the first pause is longer than the longest"),
        (("--name", ""), "name must not be empty"),
    ],
)
def test_what_is_submitted_is_told_by_its_option(words: tuple[str, str], told: str) -> None:
    """Not in the words of a library."""
    assert told in refused("jobs", "submit", "h", *words, "--db", "jobs.db")


@pytest.fixture
def three_hours_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of the process, for a test."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC+3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("three_hours_west")
def test_a_time_without_an_offset_is_local() -> None:
    """As for lists."""
    for at in ("2100-01-01T00:00", "2100-01-01T03:00Z"):
        assert call("jobs", "submit", "h", "--at", at, "--name", "x", "--db", "jobs.db").exit_code == 0
        due = json.loads(call("jobs", "show", "x", "--db", "jobs.db", "--json").stdout)["due"]
        assert datetime.fromtimestamp(due, UTC).isoformat() == "2100-01-01T03:00:00+00:00"


@pytest.mark.parametrize("command", ["show", "cancel", "retry", "wait"])
def test_a_run_has_a_number_and_no_name(command: str) -> None:
    """It says where the number is."""
    assert "`lifecycle runs list` has it, got 'nightly'" in refused("runs", command, "nightly", "--db", "jobs.db")


def test_a_module_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    """And a file whose name does not end as that of a module."""
    Path("flow.toml").write_text("[blocks.a]\nsleep = 0\n")
    assert refused("run", "flow.toml", "--handlers", "no_such_module") == (
        "flow.toml: there is no module no_such_module; is it installed?"
    )
    assert "a file's name ends in .py" in refused("run", "flow.toml", "--handlers", "flow.toml")


def test_durations_are_written_alike() -> None:
    """Also how long it may take to drain."""
    Path("flow.toml").write_text("[blocks.a]\nsleep = 0\n")
    assert call("run", "flow.toml", "--drain-timeout", "1m", "--cancel-timeout", "2s").exit_code == 0


def test_a_copy_does_not_replace_the_database_itself(database: Path) -> None:
    """And it is not said that --overwrite would."""
    for words in ((), ("--overwrite",)):
        told = refused("store", "backup", "jobs.db", *words, "--db", "jobs.db")
        assert told == "jobs.db: is the store itself, or belongs to it; give another file"


@pytest.mark.parametrize("option", ["--control", "--web"])
def test_an_address_that_is_taken_is_told_with_its_option(option: str) -> None:
    """Without the number of the error."""
    other = ("--control", "127.0.0.1:0") if option == "--web" else ()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = refused("serve", option, address, *other)
    assert f"{option} {address}: cannot listen there: Address already in use" in told
    assert "Errno" not in told


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "cancel", "--run", "1", "--run", "2", "--db", "jobs.db"),
        ("jobs", "list", "--name", "a", "--name=b", "--db", "jobs.db"),
        ("jobs", "list", "--db", "jobs.db", "--db", "jobs.db"),
        ("serve", "--workers", "1", "--workers", "2"),
    ],
    ids=" ".join,
)
def test_an_option_with_one_value_is_given_once(words: tuple[str, ...]) -> None:
    """One of them would be dropped, and nobody told."""
    assert "is given twice" in refused(*words)


def test_options_that_may_be_repeated_are_and_flags_as_well() -> None:
    """Several states, and --json by a habit of the fingers."""
    words = ("--status", "pending", "--status", "succeeded", "--json", "--json", "--db", "jobs.db")
    assert len(call("jobs", "list", *words).stdout.splitlines()) == 2


@pytest.mark.parametrize("what", ["jobs", "runs"])
def test_a_time_that_ends_before_it_begins_is_told(what: str) -> None:
    """Hours ago are easily mixed up, and an empty list would look like an answer."""
    assert "until comes before since" in refused(what, "list", "--since", "1h", "--until", "2h", "--db", "jobs.db")
