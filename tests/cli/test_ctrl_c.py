"""Ctrl-C in every command: one line, exit code 130, nothing left behind; and through a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import psutil
import pytest
from click.testing import CliRunner

from lifecycle.cli import cli

from ..scheduler.tools import Cli, wait_until

HANGING = """
import time
from lifecycle.scheduler import handler
open("begun", "w").close()
time.sleep(60)
"""
FLOW = "handlers = 'hanging.py'\n[blocks.a]\ncall = 'a'\n"

ARGUMENTS = {
    "run": ["flow.toml"],
    "serve": [],
    "worker": ["flow.toml", "--db", "jobs.sqlite"],
    "validate": ["flow.toml"],
    "jobs list": ["--db", "jobs.sqlite"],
    "jobs show": ["1", "--db", "jobs.sqlite"],
    "jobs cancel": ["1", "--db", "jobs.sqlite"],
    "flow show": ["flow.toml"],
    "jobs log": ["1", "--db", "jobs.sqlite"],
    "jobs set": ["1", "--priority", "1", "--db", "jobs.sqlite"],
    "jobs submit": ["handler", "--db", "jobs.sqlite"],
    "jobs retry": ["1", "--db", "jobs.sqlite"],
    "jobs wait": ["1", "--db", "jobs.sqlite"],
    "runs list": ["--db", "jobs.sqlite"],
    "runs show": ["1", "--db", "jobs.sqlite"],
    "runs cancel": ["1", "--db", "jobs.sqlite"],
    "runs retry": ["1", "--db", "jobs.sqlite"],
    "runs resume": ["1", "--db", "jobs.sqlite"],
    "runs wait": ["1", "--db", "jobs.sqlite"],
    "schedules list": ["--db", "jobs.sqlite"],
    "schedules pause": ["one", "--db", "jobs.sqlite"],
    "schedules resume": ["one", "--db", "jobs.sqlite"],
    "schedules trigger": ["one", "--db", "jobs.sqlite"],
    "schedules remove": ["one", "--db", "jobs.sqlite"],
    "schedules show": ["one", "--db", "jobs.sqlite"],
    "schedules set": ["one", "--max-instances", "1", "--db", "jobs.sqlite"],
    "kubernetes check": [],
    "limits list": ["--db", "jobs.sqlite"],
    "limits set": ["--limit", "1", "--db", "jobs.sqlite"],
    "limits pause": ["--db", "jobs.sqlite"],
    "limits resume": ["--db", "jobs.sqlite"],
    "store show": ["--db", "jobs.sqlite"],
    "store check": ["--db", "jobs.sqlite"],
    "store purge": ["--all", "--db", "jobs.sqlite"],
    "store vacuum": ["--db", "jobs.sqlite"],
    "store backup": ["copy.sqlite", "--db", "jobs.sqlite"],
    "store export": ["--db", "jobs.sqlite"],
    "store copy": ["jobs.sqlite", "copy.sqlite"],
}


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Return every command below *group*, under the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


EVERY = dict(commands(cli))


@pytest.mark.parametrize("name", EVERY)
def test_ctrl_c_in_every_command_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes, in whatever the command does that does not expect it."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EVERY[name], "callback", interrupted)
    ended = CliRunner().invoke(cli, [*name.split(), *ARGUMENTS[name]])
    assert (ended.exit_code, ended.output) == (130, "lifecycle: interrupted\n")


def test_ctrl_c_while_the_command_line_is_loaded_is_the_same_line(tmp_path: Path) -> None:
    """The import of what it needs takes most of the time of most commands."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-m", "lifecycle", "validate", "flow.toml"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "lifecycle: interrupted\n")


class Terminal:
    """A command that is the foreground process group of a terminal of its own, as in a shell."""

    def __init__(self, directory: Path, *args: str) -> None:
        self._here, there = pty.openpty()
        script = Path(sys.executable).with_name("lifecycle")
        command = [str(script)] if script.exists() else [sys.executable, "-m", "lifecycle"]
        self.process = subprocess.Popen(
            [*command, *args],
            cwd=directory,
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(there)

    def press_ctrl_c(self) -> None:
        """Type it; the terminal makes a signal of it for the whole foreground group."""
        os.write(self._here, b"\x03")

    def end(self) -> tuple[int, str]:
        """Return the exit code and what the terminal has shown."""
        shown = b""
        while True:
            try:
                shown += os.read(self._here, 65_536)
            except OSError:  # nobody has the terminal any more
                break
        os.close(self._here)
        return self.process.wait(60), shown.decode().replace("\r\n", "\n")

    def has_open(self, path: Path) -> bool:
        """Return whether the command has a file open."""
        return str(path) in {file.path for file in psutil.Process(self.process.pid).open_files()}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory of its own."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "run", "serve"])
def test_ctrl_c_on_a_terminal_while_handlers_are_loaded(shell: Cli, command: str) -> None:
    """User's code runs then, and may take for ever."""
    shell.write("hanging.py", HANGING)
    terminal = Terminal(shell.directory, command, str(shell.write("flow.toml", FLOW)))
    wait_until((shell.directory / "begun").exists)
    terminal.press_ctrl_c()
    assert terminal.end() == (130, "^Clifecycle: interrupted\n")


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_while_the_database_is_locked(shell: Cli) -> None:
    """At once, not when SQLite has waited in vain; the database is as it was."""
    db = shell.directory / "jobs.sqlite"
    assert shell.run("run", shell.write("flow.toml", "[blocks.a]\nsleep = 0"), "--db", db).returncode == 0
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        terminal = Terminal(shell.directory, "jobs", "cancel", "a", "--db", str(db))
        wait_until(lambda: terminal.has_open(db))
        time.sleep(0.2)  # it has come to the transaction, in all likelihood; the result is the same if it has not
        terminal.press_ctrl_c()
        pressed = time.monotonic()
        assert terminal.end() == (130, "^Clifecycle: interrupted\n")
        assert time.monotonic() - pressed < 5
    assert sorted(path.name for path in shell.directory.iterdir()) == ["flow.toml", "jobs.sqlite"]
    assert shell.jobs(db)["a"]["status"] == "succeeded"


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_ends_a_run_and_what_it_runs(shell: Cli) -> None:
    """Its shell is no part of the terminal's group: it is the run that ends it, and the cursor comes back."""
    text = "[blocks.a]\nshell = 'trap \"echo hit > hit\" INT; echo $$ > begun; sleep 61 & wait'"
    terminal = Terminal(shell.directory, "run", str(shell.write("flow.toml", text)), "--drain-timeout", "0")
    begun = shell.directory / "begun"
    wait_until(lambda: begun.exists() and begun.read_text().strip() != "")
    number = int(begun.read_text())
    terminal.press_ctrl_c()
    code, shown = terminal.end()
    assert code == 130
    assert "Traceback" not in shown
    assert "still owned: nothing" in shown.splitlines()[-1]
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is hidden"
    assert not psutil.pid_exists(number)
    assert not (shell.directory / "hit").exists()
