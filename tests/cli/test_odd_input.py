"""Odd input of every command: numbers without end, what is no text, addresses that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.cli import cli
from lifecycle.cli._careful import Command, Group, problem_of
from lifecycle.cli._service import _read_address

NUMBERS = ["9" * 20, "9" * 400, "9" * 5_000, "-1", "nan", "inf", "1e999", "-nan", "٣", "1_0"]
ODD = [*NUMBERS, "", " ", "\udcff", "\ufeff1", "x" * 70_000]


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command, with the words that lead to it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


EVERY = dict(commands(cli))


def test_every_command_looks_at_its_values() -> None:
    """So that nobody has to think of it."""
    for words, command in EVERY.items():
        assert isinstance(command, Command), words
    assert all(isinstance(group, Group) for group in cli.commands.values() if isinstance(group, click.Group))


@pytest.mark.parametrize("words", [words for words in EVERY if words != ("serve",)], ids=" ".join)
def test_odd_values_of_options_are_told_in_a_line(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the option: it is taken, or refused with exit code 1 or 2; never a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("flow.toml").write_text("[params]\nn = { type = 'integer', default = 1 }\n[blocks.a]\nsleep = 0\n")
    assert CliRunner().invoke(cli, ["run", "flow.toml", "--db", "jobs.db"]).exit_code == 0
    command = EVERY[words]
    for param in command.params:
        if isinstance(param, click.Option) and (param.is_flag or param.name == "output"):
            continue
        for odd in ODD:
            given_ = [f"{param.opts[0]}={odd}"] if isinstance(param, click.Option) else ["--", odd]
            has_db = param.name != "db" and any(one.name == "db" for one in command.params)
            db = ["--db", "jobs.db"] if has_db else []
            file = ["flow.toml"] if any(one.name == "flow" for one in command.params) and given_[0] != "--" else []
            if file and param.name == "workers" and odd.strip().isdigit():
                continue  # a pool of that size is tried where it is checked
            result = CliRunner().invoke(cli, [*words, *db, *file, *given_])
            assert result.exit_code in (0, 1, 2), (words, given_, result.output)
            if not isinstance(result.exception, SystemExit | None):
                raise result.exception


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        ":1",
        "x",
        "x:",
        "x:99999",
        "x:" + "9" * 5_000,
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[[::1]]:80",
        "x:٣",
        "x:-1",
    ],
)
def test_an_address_that_is_none_is_told(address: str) -> None:
    """With what was given, shortened."""
    problems: list[str] = []
    _read_address("--web", address, "password", problems)
    assert len(problems) == 1
    assert problems[0].startswith("--web: expected HOST:PORT, got")
    assert len(problems[0]) < 100


@pytest.mark.parametrize(
    ("address", "read"),
    [("localhost:1", ("localhost", 1)), ("[::1]:65535", ("::1", 65_535)), ("::1:80", ("::1", 80))],
)
def test_an_address_is_read(address: str, read: tuple[str, int]) -> None:
    """With or without the brackets of IPv6."""
    problems: list[str] = []
    assert _read_address("--web", address, None, problems) == read
    assert not problems


@given(st.one_of(st.text(st.characters()), st.integers(), st.floats(), st.lists(st.text(st.characters()))))
def test_what_passes_can_be_stored_and_told(value: object) -> None:
    """As a text in UTF-8, or a number that SQLite and JSON have."""
    if problem_of(value) is None:
        for one in value if isinstance(value, list) else [value]:
            assert one == one
            if isinstance(one, str):
                one.encode()
                assert "\0" not in one
            elif isinstance(one, int):
                assert float(one) == one
