"""``lifecycle store``: the commands, their exit codes, and durations as people write them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lifecycle.cli._common import seconds

from ..scheduler.tools import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory with a store in which two jobs have succeeded."""
    cli = Cli(tmp_path)
    flow = cli.write("flow.toml", '[blocks.a]\nsleep = 0\n[blocks.b]\nneeds = ["a"]\nsleep = 0\n')
    assert cli.call("run", flow, "--db", "jobs.sqlite").returncode == 0
    yield cli
    cli.close()


def test_show_and_check(cli: Cli) -> None:
    """For people and for machines."""
    shown = cli.call("store", "show", "--db", "jobs.sqlite")
    assert "jobs       2 succeeded" in shown.stdout
    assert json.loads(cli.call("store", "show", "--db", "jobs.sqlite", "--json").stdout)["jobs"]["succeeded"] == 2
    sound = cli.call("store", "check", "--db", "jobs.sqlite")
    assert (sound.returncode, sound.stdout) == (0, "jobs.sqlite: sound\n")


def test_check_ends_with_one_when_something_is_wrong(cli: Cli) -> None:
    """With a line for each thing."""
    db = sqlite3.connect(cli.directory / "jobs.sqlite")
    db.execute("UPDATE runs SET finished = NULL")
    db.commit()
    db.close()
    checked = cli.call("store", "check", "--db", "jobs.sqlite", "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["problems"]


def test_purge_wants_to_be_told_what_may_go(cli: Cli) -> None:
    """Nothing goes by mistake; a dry run says how much it would be."""
    assert cli.call("store", "purge", "--db", "jobs.sqlite").returncode == 2
    dry = cli.call("store", "purge", "--all", "--dry-run", "--db", "jobs.sqlite")
    assert dry.stdout == "jobs.sqlite: 2 jobs would be deleted\n"
    assert cli.call("store", "purge", "--older-than", "1h", "--db", "jobs.sqlite").stdout.endswith("0 jobs deleted\n")
    assert cli.call("store", "purge", "--all", "--db", "jobs.sqlite").stdout.endswith("2 jobs deleted\n")
    assert cli.call("store", "vacuum", "--db", "jobs.sqlite").returncode == 0


def test_backup_and_export(cli: Cli) -> None:
    """To a file that is not there yet; an export to a file or to standard output."""
    assert cli.call("store", "backup", "copy.sqlite", "--db", "jobs.sqlite").returncode == 0
    again = cli.call("store", "backup", "copy.sqlite", "--db", "jobs.sqlite")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert cli.jobs(cli.directory / "copy.sqlite").keys() == {"a", "b"}
    lines = cli.call("store", "export", "--db", "copy.sqlite").stdout.splitlines()
    assert [json.loads(line)["record"] for line in lines] == ["run", "job", "job"]
    assert cli.call("store", "export", "--db", "copy.sqlite", "--output", "out.jsonl").returncode == 0
    assert (cli.directory / "out.jsonl").read_text().splitlines() == lines
    (cli.directory / "copy.sqlite").chmod(0o600)
    assert cli.call("store", "export", "--db", "copy.sqlite", "--output", "private.jsonl").returncode == 0
    assert (cli.directory / "private.jsonl").stat().st_mode & 0o777 == 0o600
    assert cli.call("store", "export", "--db", "copy.sqlite", "--output", "no/such").returncode == 2


@pytest.mark.parametrize("command", ["show", "check", "vacuum", "export"])
def test_a_file_that_is_not_there_is_not_made(cli: Cli, command: str) -> None:
    """Exit code 2."""
    assert cli.call("store", command, "--db", "none.sqlite").returncode == 2
    assert not (cli.directory / "none.sqlite").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("0", 0.0),
        ("1.5s", 1.5),
        ("15m", 900.0),
        ("12h", 43_200.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    """Seconds, or a number with a unit."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "d", "-1", "1y", "1 d", "1e3", "nan", "inf", "999999999w", "٣d", "1.5.5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With what is expected."""
    with pytest.raises(click.BadParameter, match="expected seconds"):
        seconds(text)


def test_an_export_takes_the_place_of_no_store_and_no_device(cli: Cli) -> None:
    """It was put in the place of whatever had the name, the database itself included."""
    content = (cli.directory / "jobs.sqlite").read_bytes()
    (cli.directory / "link").symlink_to("jobs.sqlite")
    for name in ("jobs.sqlite", "link", "./jobs.sqlite-wal"):
        refused = cli.call("store", "export", "--db", "jobs.sqlite", "--output", name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"{Path(name)}: is the database, or belongs to it" in refused.stderr
    assert (cli.directory / "jobs.sqlite").read_bytes() == content
    assert not (cli.directory / "jobs.sqlite-wal").exists()
    os.mkfifo(cli.directory / "pipe")
    reader = os.open(cli.directory / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert cli.call("store", "export", "--db", "jobs.sqlite", "--output", "pipe").returncode == 0
    assert os.read(reader, 100).startswith(b'{"record": "run"')
    os.close(reader)
    assert (cli.directory / "pipe").is_fifo()
