"""What comes from outside cannot drive a terminal, and an output that cannot be written is a line and an exit code."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import lifecycle.cli
from lifecycle.cli import cli
from lifecycle.cli._streams import Outlet
from lifecycle.cli.show._live import LiveDisplay
from lifecycle.scheduler._ground.events import Event
from lifecycle.scheduler._ground.text import harmless, one_line

EVIL = "A\x1b[2J\x1b]0;PWNED\x07B\x9b31mC\u202eD\nE\rF\x08G\u2028H\x7fI\u2066J\x00"

HANDLERS = f"""
from lifecycle.scheduler import handler

EVIL = {EVIL!r}

class Odd(Exception):
    pass

Odd.__name__ = Odd.__qualname__ = EVIL[:-1]

@handler("terminal.returns")
async def returns():
    return {{EVIL: [EVIL]}}

@handler("terminal.raises")
async def raises():
    raise ValueError(EVIL)

@handler("terminal.tells")
async def tells(context):
    context.log(EVIL)

@handler("terminal.notes")
async def notes():
    error = ValueError("x")
    error.add_note(EVIL)
    raise error

@handler("terminal.odd")
async def odd():
    raise Odd("odd")

@handler("terminal.source")
async def source():
    raise KeyError("see \x1b]0;TITLE\x07 here")  # \x9b31m
"""
KINDS = ("returns", "raises", "tells", "notes", "odd", "source")
SHELL = r"import sys; sys.stdout.write('\x1b[2J\x9b31m\u202e'); sys.stderr.write('\x1b[2J\x9b31m'); sys.exit(3)"
FLOW = "\n".join(
    [
        'handlers = "handlers.py"',
        *(f'[blocks.{kind}]\ncall = "terminal.{kind}"' for kind in KINDS),
        f"[blocks.shell]\nshell = {json.dumps([sys.executable, '-c', SHELL])}",
    ]
)


def assert_clean(text: str) -> None:
    """Nothing is in it that is neither printable nor the end of a line."""
    bad = sorted({hex(ord(one)) for one in text if one != "\n" and unicodedata.category(one) in BAD})
    assert not bad, (bad, text)


BAD = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters()))
def test_every_text_becomes_harmless(text: str) -> None:
    """Its lines stay lines; as one line it has none."""
    assert_clean(harmless(text))
    assert harmless(text).count("\n") == text.count("\n")
    assert_clean(one_line(text))
    assert "\n" not in one_line(text)
    harmless(text).encode()
    assert harmless(harmless(text)) == harmless(text)


def test_nothing_of_the_command_line_writes_past_the_way_out() -> None:
    """But for the live display, which makes its texts harmless one by one."""
    for path in Path(lifecycle.cli.__file__).parent.rglob("*.py"):
        if path.name in ("_lines.py", "_live.py", "_streams.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "click.echo", "click.secho"), path
                assert not re.search(r"\bstd(out|err)\.write", called), path


def test_no_command_writes_raw_what_jobs_errors_and_names_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lines, tables, details, refusals, and the errors of the command line itself."""
    monkeypatch.chdir(tmp_path)
    Path("handlers.py").write_text(HANDLERS)
    Path("flow.toml").write_text(FLOW)
    named = "x\x1b[2J\u202e.toml"
    Path(named).write_text(FLOW)
    Path("broken.toml").write_text(
        '[blocks."a\\u001b[2J"]\nsleep = 0\n[blocks.b]\nneeds = ["\\u009b"]\nsleep = "\\u202e"\n'
    )
    Path("unread.toml").write_text("a = \x1b[2J\n")
    run = CliRunner().invoke(cli, ["run", "flow.toml"])
    assert not [line for line in run.output.splitlines() if line.startswith("E")]  # what comes after a line end of it
    commands = [
        ["run", "flow.toml", "--db", "jobs.db"],
        ["jobs", "list", "--db", "jobs.db"],
        *(["jobs", "show", kind, "--db", "jobs.db"] for kind in (*KINDS, "shell")),
        ["jobs", "show", "raises", "--json", "--db", "jobs.db"],
        ["jobs", "cancel", "raises", "--reason", EVIL, "--db", "jobs.db"],
        ["jobs", "show", EVIL, "--db", "jobs.db"],
        ["jobs", "list", "--db", "no\x1b[2J\x9b\u202e.db"],
        ["jobs", "list", "--db", "jobs.db", "--status", EVIL],
        ["jobs", "list", f"--x{EVIL}"],
        [EVIL],
        ["validate", named],
        ["validate", "broken.toml"],
        ["validate", "unread.toml"],
        ["run", "flow.toml", "--param", f"{EVIL}={EVIL}"],
        ["serve", "--control", EVIL],
        ["serve", "--handlers", "x\x1b[2J"],
        ["schedules", "pause", EVIL, "--db", "jobs.db"],
    ]
    for command in commands:
        result = CliRunner().invoke(cli, command)
        assert result.output, command
        assert_clean(result.output)
        if "--json" in command:
            json.loads(result.stdout)


def test_the_live_display_writes_nothing_raw() -> None:
    """Neither markup nor escape sequences of a job's name, log and error get through."""
    console = Console(file=io.StringIO(), width=500, highlight=False)
    with LiveDisplay(console) as display:
        name = f"[bold]{EVIL}"
        display.event(Event("job_log", job=name, job_id=1, data={"message": EVIL}))
        display.event(
            Event("job_finished", job=name, job_id=1, data={"status": "failed", "seconds": 1.0, "error": EVIL})
        )
    file = console.file
    assert isinstance(file, io.StringIO)
    assert_clean(file.getvalue())
    assert "[bold]A\\x1b[2J" in file.getvalue()


def test_json_is_json_whatever_a_text_has_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """ASCII without control characters, and what was meant comes back."""
    everything = "".join(map(chr, [*range(0x300), 0x2028, 0x202E, 0xD800, 0x1F600]))
    lifecycle.cli.show._lines.say_json({everything: everything})
    line = capsys.readouterr().out
    assert_clean(line)
    assert json.loads(line) == {everything: everything}


def ended(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell with the command ``lifecycle``, and return what became of it."""
    python = f"{sys.executable} -m lifecycle"
    settings = {**os.environ, "PYTHONWARNINGS": "", **environment}
    line = command.replace("lifecycle", python)
    return subprocess.run(["sh", "-c", line], cwd=directory, capture_output=True, env=settings, timeout=60, check=False)


PRINTS = """
import os, subprocess
from lifecycle.scheduler import handler

print("on import")

@handler("terminal.prints")
def prints(context):
    context.log("\\xfcnd\\u202e")
    print("from python")
    os.write(1, b"from a library in C\\n")
    subprocess.run(["echo", "from a child"])
    return 1
"""
PRINTING = 'handlers = "prints.py"\n[blocks.a]\ncall = "terminal.prints"\n'


@pytest.fixture
def printing(tmp_path: Path) -> Path:
    (tmp_path / "prints.py").write_text(PRINTS)
    (tmp_path / "flow.toml").write_text(PRINTING, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_json_is_json_whatever_a_handler_prints(printing: Path) -> None:
    """What it prints, and what its libraries and children print, is on standard error."""
    result = ended("lifecycle run flow.toml --json", printing)
    assert result.returncode == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[-1]["event"] == "owned"
    for text in (b"on import", b"from python", b"from a library in C", b"from a child"):
        assert text in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_an_output_of_few_characters_gets_escapes(printing: Path, encoding: str) -> None:
    """Never an error of encoding."""
    result = ended("lifecycle run flow.toml", printing, LC_ALL="C", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert result.returncode == 0, result.stderr
    assert b"Traceback" not in result.stderr
    assert (b"\xfcnd\\u202e" if encoding == "latin-1" else b"\\xfcnd\\u202e") in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("lifecycle run flow.toml > /dev/full", 1),
        ("lifecycle run flow.toml --json > /dev/full", 1),
        ("lifecycle --help >&-", 1),
        ("lifecycle run flow.toml | true", 0),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(printing: Path, command: str, code: int) -> None:
    """And the exit code says so; a reader that goes away is no error. The run goes on to its end all the same."""
    result = ended(command, printing)
    assert result.returncode == code
    told = [line for line in result.stderr.splitlines() if b"lifecycle:" in line]
    assert len(told) == (1 if "|" not in command and code == 1 else 0), result.stderr
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2> /dev/full", "<&- >&- 2>&-"])
def test_without_standard_error_a_command_does_its_work(printing: Path, where: str) -> None:
    """What is opened meanwhile gets none of the three numbers, so that nothing that is printed gets into a file."""
    result = ended(f"lifecycle run flow.toml --db jobs.db {where}", printing)
    assert result.returncode == (1 if ">&- 2" in where else 0)
    shown = ended("lifecycle jobs list --db jobs.db", printing)
    assert b"succeeded" in shown.stdout
    assert b"from python" not in (printing / "jobs.db").read_bytes()


def test_an_outlet_waits_for_a_pipe_that_does_not(tmp_path: Path) -> None:
    """Somebody else has told it not to block: nothing is lost."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    outlet = Outlet(writing)
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 1_000):
            received.append(data)

    reader = threading.Thread(target=read)
    with outlet.text("utf-8") as text:
        reader.start()
        text.write("x" * 1_000_000)
    os.close(writing)
    reader.join()
    os.close(reading)
    assert sum(map(len, received)) == 1_000_000
    assert outlet.failure is None


def test_an_error_of_ours_is_told_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With its traceback, and exit code 1."""

    @click.command()
    def fails() -> None:
        raise RuntimeError(EVIL)

    monkeypatch.setitem(cli.commands, "fails", fails)
    monkeypatch.setattr(sys, "argv", ["lifecycle", "fails"])
    before = sys.stdout, sys.stderr
    try:
        with pytest.raises(SystemExit, match="1"):
            lifecycle.cli.main()
    finally:
        sys.stdout, sys.stderr = before
    told = capfd.readouterr().err
    assert "RuntimeError: A\\x1b[2J" in told
    assert_clean(told)
