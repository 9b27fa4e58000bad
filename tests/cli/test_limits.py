"""``lifecycle limits``: the commands, and what they change for a scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..scheduler.tools import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory with a store."""
    cli = Cli(tmp_path)
    flow = cli.write("flow.toml", '[blocks.a]\nsleep = 0\nqueue = "naps"\n')
    assert cli.call("run", flow, "--db", "jobs.sqlite").returncode == 0
    yield cli
    cli.close()


def limits(cli: Cli) -> list[dict[str, object]]:
    """Return what is listed, for machines."""
    return list(map(json.loads, cli.call("limits", "list", "--db", "jobs.sqlite", "--json").stdout.splitlines()))


def test_set_list_pause_resume(cli: Cli) -> None:
    """For people and for machines."""
    db = ("--db", "jobs.sqlite")
    assert cli.call("limits", "set", "--queue", "naps", "--limit", "2", "--rate", "9", "--per", "1m", *db).stdout == (
        "queue 'naps': set\n"
    )
    assert cli.call("limits", "pause", *db).stdout == "everything: paused\n"
    assert cli.call("limits", "pause", *db).stdout == "everything: was paused\n"
    assert cli.call("limits", "pause", "--handler", "h", "--json", *db).stdout == (
        '{"kind": "handler", "name": "h", "effect": "paused"}\n'
    )
    assert [(it["kind"], it["paused"], it["limit"]) for it in limits(cli)] == [
        ("all", True, None),
        ("handler", True, None),
        ("queue", False, 2),
    ]
    listed = cli.call("limits", "list", *db).stdout.splitlines()
    assert listed[0].split() == ["of", "name", "state", "running", "limit", "rate", "weight", "ready"]
    assert listed[3].split() == ["queue", "naps", "open", "0", "2", "9", "per", "60.0", "s", "1", "0"]
    assert cli.call("limits", "resume", *db).stdout == "everything: resumed\n"
    assert cli.call("limits", "resume", "--handler", "h", *db).returncode == 0
    assert cli.call("limits", "resume", *db).stdout == "everything: was not paused\n"
    assert cli.call("limits", "set", "--queue", "naps", *db).stdout == "queue 'naps': unlimited\n"
    assert limits(cli) == []


@pytest.mark.parametrize(
    "words",
    [
        ("set", "--queue", "a", "--handler", "b", "--limit", "1"),
        ("set", "--weight", "2"),
        ("set", "--queue", "a", "--weight", "nan"),
        ("set", "--rate", "1", "--per", "0"),
        ("set", "--limit", "-1"),
        ("pause", "--queue", ""),
    ],
    ids=" ".join,
)
def test_wrong_options_change_nothing(cli: Cli, words: tuple[str, ...]) -> None:
    """Exit code 2."""
    assert cli.call("limits", *words, "--db", "jobs.sqlite").returncode == 2
    assert limits(cli) == []


def test_a_paused_store_runs_nothing_until_it_is_resumed(cli: Cli) -> None:
    """`lifecycle run` waits for it."""
    db = ("--db", "jobs.sqlite")
    cli.call("limits", "pause", "--queue", "naps", *db)
    running = cli.start("run", "flow.toml", *db)
    try:
        while cli.jobs(cli.directory / "jobs.sqlite")["a"]["run_id"] != 2:
            assert running.poll() is None
        assert cli.jobs(cli.directory / "jobs.sqlite")["a"]["status"] == "pending"
        cli.call("limits", "resume", "--queue", "naps", *db)
        assert running.wait(30) == 0
    finally:
        running.kill()
