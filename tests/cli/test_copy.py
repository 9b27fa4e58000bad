"""``lifecycle store copy``: what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.cli import _copy
from lifecycle.scheduler._store import copying

from ..scheduler.tools import Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command line, in a directory with a store in which a run has succeeded, and a job waits."""
    monkeypatch.delenv("LIFECYCLE_DB", raising=False)
    cli = Cli(tmp_path)
    cli.write("naps.toml", "[blocks.one]\nsleep = 0\n[blocks.two]\nsleep = 0\n")
    assert cli.call("run", "naps.toml", "--db", "jobs.db").returncode == 0
    assert cli.call("jobs", "submit", "wait", "--db", "jobs.db").returncode == 0
    yield cli
    cli.close()


def test_a_store_goes_to_a_server_and_back(cli: Cli, database: str) -> None:
    """With what was copied, and a warning while there is something that would run twice."""
    there = cli.call("store", "copy", "jobs.db", database)
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout.splitlines() == [
        f"jobs.db: 1 run, 3 jobs, 0 schedules, 0 limits copied to {database}",
        "jobs.db: let no scheduler work on it any more; what has not ended, or is due, would run twice",
    ]
    back = cli.call("store", "copy", database, "back.db", "--json")
    assert json.loads(back.stdout) == {
        "from": database,
        "to": "back.db",
        "runs": 1,
        "jobs": 3,
        "needs": 0,
        "schedules": 0,
        "limits": 0,
        "unfinished": 1,
    }
    exports = [cli.call("store", "export", "--db", db).stdout for db in ("jobs.db", database, "back.db")]
    assert exports[0] == exports[1] == exports[2]
    assert cli.call("jobs", "cancel", "wait", "--db", "back.db").returncode == 0
    assert len(cli.call("store", "copy", "back.db", "again.db").stdout.splitlines()) == 1
    assert len(cli.call("store", "copy", "jobs.db", "live.db", "--live").stdout.splitlines()) == 1


def test_the_database_of_the_environment_is_written_as_a_dash(
    cli: Cli, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an address with a password need not be written; the copy is told without it."""
    assert "variable LIFECYCLE_DB, which is not set" in cli.call("store", "copy", "jobs.db", "-").stderr
    secret = database.replace("postgres@", "postgres:s3cret@")
    refused = cli.call("store", "copy", "jobs.db", secret)
    assert (refused.returncode, "with ps" in refused.stderr, "s3cret" in refused.stderr) == (2, True, False)
    monkeypatch.setenv("LIFECYCLE_DB", secret)
    assert cli.call("store", "copy", "jobs.db", "-").stdout.startswith(
        f"jobs.db: 1 run, 3 jobs, 0 schedules, 0 limits copied to {database}\n"
    )
    assert cli.call("jobs", "show", "wait").returncode == 0


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("none.db", "new.db", "none.db: there is no such file"),
        ("jobs.db", "jobs.db", "jobs.db: is not empty, there is 1 run, 3 jobs; nothing was copied"),
        ("jobs.db", "none/new.db", "none/new.db: the copy cannot be written: there is no directory"),
        ("jobs.db", "naps.toml", "naps.toml: is not an SQLite database"),
        ("jobs.db", "postgresql://me@127.0.0.1:1/none", "postgresql://me@127.0.0.1:1/none: "),
        ("jobs.db", "mysql://me@h/none", "a database is an SQLite file or postgresql://"),
    ],
)
def test_what_cannot_be_copied_is_refused(cli: Cli, source: str, target: str, why: str) -> None:
    """With exit code 2 and the reason, and no file is made."""
    before = sorted(path.name for path in cli.directory.iterdir())
    refused = cli.call("store", "copy", source, target)
    assert refused.returncode == 2
    assert why in refused.stderr
    assert sorted(path.name for path in cli.directory.iterdir()) == before


def test_how_far_it_is_is_told_now_and_then(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error."""
    monkeypatch.setattr(_copy, "INTERVAL", 0.0)
    monkeypatch.setattr(copying._Counting, "STEP", 2)
    assert cli.call("store", "copy", "jobs.db", "new.db").stderr.splitlines() == [
        "2 of 4 rows copied",
        "4 of 4 rows copied",
    ]
    monkeypatch.setattr(_copy, "INTERVAL", 60.0)
    assert cli.call("store", "copy", "jobs.db", "other.db").stderr == ""
