"""``--db``: a file or an address, on the command line or in the environment; no password where others read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lifecycle.cli import _database, cli
from lifecycle.cli._database import for_scheduler, option_for
from lifecycle.scheduler._store.postgres.address import Address
from lifecycle.scheduler._store.sqlite.outside import StoreFile

from .test_odd_input import EVERY

WITH_DATABASE = [words for words, command in EVERY.items() if any(one.name == "db" for one in command.params)]
FLOW = "[blocks.a]\nsleep = 0\n"


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIFECYCLE_DB", raising=False)
    Path("flow.toml").write_text(FLOW)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What commands have looked at, each in place of a store in a file."""
    assert invoke("run", "flow.toml", "--db", "jobs.db").exit_code == 0
    seen: list[object] = []

    def open_outside(db: object) -> StoreFile:
        seen.append(db)
        return StoreFile("jobs.db")

    monkeypatch.setattr(_database, "open_outside", open_outside)
    return seen


def invoke(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize("words", WITH_DATABASE, ids=" ".join)
def test_every_command_takes_its_database_from_the_environment(words: tuple[str, ...]) -> None:
    """So that an address with a password need not stand where everybody can read it; the help says so."""
    option = next(param for param in EVERY[words].params if param.name == "db")
    assert option.type is _database.DATABASE
    assert option.envvar == "LIFECYCLE_DB"
    shown = invoke(*words, "--help").output
    assert "env var: LIFECYCLE_DB" in " ".join(shown.split())
    assert "postgresql://USER@HOST/NAME" in shown


def test_a_file_from_the_environment_is_the_database_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a command that needs one, and of one that does without."""
    monkeypatch.setenv("LIFECYCLE_DB", "one.db")
    assert invoke("run", "flow.toml").exit_code == 0
    assert invoke("run", "flow.toml", "--db", "two.db").exit_code == 0
    assert invoke("run", "flow.toml", "--db", "two.db").exit_code == 0
    assert [len(invoke("runs", "list", *more, "--json").output.splitlines()) for more in ([], ["--db", "two.db"])] == [
        1,
        2,
    ]
    monkeypatch.setenv("LIFECYCLE_DB", "")
    assert "Missing option '--db'" in invoke("runs", "list").output


@pytest.mark.parametrize("query", ["postgresql://me:s3cret@h/db", "postgresql://me@h/db?sslpassword=s3cret"])
@pytest.mark.parametrize("words", [("jobs", "list"), ("run", "flow.toml"), ("serve",), ("store", "show")])
def test_a_password_on_the_command_line_is_refused(query: str, words: tuple[str, ...]) -> None:
    """Before anything happens, with what to do instead; it is not printed either."""
    refused = invoke(*words, "--db", query)
    assert refused.exit_code == 2
    for part in ("postgresql://me@h/db", "with ps", "PGPASSWORD", "~/.pgpass", "LIFECYCLE_DB"):
        assert part in refused.output
    assert "s3cret" not in refused.output


def test_a_password_in_the_environment_is_not_in_what_is_printed(
    opened: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that a message names has the database from there as well."""
    monkeypatch.setenv("LIFECYCLE_DB", "postgresql://me:s3cret@h/db")
    missing = invoke("jobs", "show", "77")
    assert opened == [Address.parse("postgresql://me:s3cret@h/db")]
    assert missing.output == ("postgresql://me@h/db: there is no job '77'; `lifecycle jobs list` shows what there is\n")


def test_an_address_is_named_in_messages_as_a_shell_takes_it(opened: list[object]) -> None:
    """With its parameters."""
    missing = invoke("runs", "show", "77", "--db", "postgresql://me@h/db?sslmode=require&options=-c%20a%3Db")
    assert opened == [Address.parse("postgresql://me@h/db?options=-c%20a%3Db&sslmode=require")]
    assert (
        "`lifecycle runs list --db 'postgresql://me@h/db?options=-c%20a%3Db&sslmode=require'` shows" in missing.output
    )


@pytest.mark.parametrize(
    ("db", "why"),
    [
        ("postgresql://me@h:s3cret/db", "a port is a number"),
        ("postgresql:/me@h/db", "it has to begin with postgresql://"),
        ("mysql://me:s3cret@h/db", "an SQLite file or postgresql://..., not mysql://..."),
        ("sqlite:///s3cret.db", "an SQLite file or postgresql://..., not sqlite://..."),
    ],
)
def test_what_is_no_database_is_refused(db: str, why: str) -> None:
    """And makes no strange file."""
    for words in (("jobs", "list"), ("run", "flow.toml")):
        refused = invoke(*words, "--db", db)
        assert refused.exit_code == 2
        assert why in refused.output
        assert "s3cret" not in refused.output
    assert os.listdir() == ["flow.toml"]


def test_a_file_that_is_not_there_is_told_with_what_makes_it() -> None:
    """A database on a server is made by no command line."""
    told = invoke("jobs", "list", "--db", "none.db")
    assert told.exit_code == 2
    assert "none.db: there is no such file; `lifecycle run FLOW --db none.db`" in told.output


def test_a_scheduler_gets_the_address_with_its_password() -> None:
    """Which nobody else does."""
    address = Address.parse("postgresql://me:s3cret@h/db")
    assert for_scheduler(address) == "postgresql://me:s3cret@h/db"
    assert (for_scheduler(Path("jobs.db")), for_scheduler(None)) == (Path("jobs.db"), None)
    assert (option_for(None), option_for(address), option_for(Path("a.db"))) == ("", "", " --db a.db")
