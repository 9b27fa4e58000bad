"""The command line: exit codes, outputs, and every kind of bad input."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lifecycle import __version__

from ..scheduler.tools import Cli, end_of, lines_in, wait_until
from .disks import remount, small_disk

ROOT = Path(__file__).parents[2]

GOOD = """
[params]
word = "hello"
needed = { type = "integer", default = 1 }
[blocks.a]
shell = ["echo", "${params.word}"]
[blocks.b]
needs = ["a"]
sequence = [{ sleep = 0.01 }, { shell = ["cat", "${blocks.a.output.stdout}"], ok = [0, 1] }]
"""

BAD = """
[blocks.a]
shell = "echo to stderr >&2; exit 4"
[blocks.b]
needs = ["a"]
sleep = 0
[blocks.c]
sleep = 0
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory of its own."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()


def test_a_good_flow_ends_with_zero_and_owns_nothing(cli: Cli) -> None:
    """Lines as it goes, a table of outcomes, and at the very end what is still owned."""
    ended = cli.run("run", cli.write("good.toml", GOOD), "--param", "word=bye")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d good: run 1 started with 2 jobs", lines[0])
    assert re.search(r"^a +succeeded +1 +\d+ ms$", ended.stdout, re.MULTILINE)
    assert re.match(r"good: run 1 succeeded in .* \(2 jobs: 2 succeeded\)$", lines[-2])
    assert lines[-1] == "still owned: nothing"
    assert [path.name for path in cli.directory.iterdir()] == ["good.toml"]


def test_a_run_with_a_failed_job_ends_with_one(cli: Cli) -> None:
    """The table says what failed and what was not run because of it."""
    ended = cli.run("run", cli.write("bad.toml", BAD))
    assert ended.returncode == 1
    assert "ended with exit code 4: to stderr" in ended.stdout
    assert re.search(r"^b +cancelled +0 +- +needs 'a', which failed$", ended.stdout, re.MULTILINE)
    assert "(3 jobs: 1 succeeded, 1 failed, 1 cancelled)" in ended.stdout


def test_json_prints_one_object_per_line(cli: Cli) -> None:
    """Events, then a summary, then what is owned; the shapes are those of the reference."""
    ended = cli.run("run", cli.write("bad.toml", BAD), "--json", "--db", cli.directory / "jobs.sqlite")
    assert (ended.returncode, ended.stderr) == (1, "")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [event["event"] for event in events[:1] + events[-3:]] == ["run_started", "run_finished", "summary", "owned"]
    finished = {event["job"]: event for event in events if event["event"] == "job_finished"}
    assert {name: event["status"] for name, event in finished.items()} == {
        "a": "failed", "b": "cancelled", "c": "succeeded",
    }  # fmt: skip
    summary, owned = events[-2], events[-1]
    assert (summary["flow"], summary["run"], summary["status"]) == ("bad", 1, "failed")
    assert summary["counts"] == {"failed": 1, "cancelled": 1, "succeeded": 1}
    assert [job["job"] for job in summary["jobs"]] == ["a", "b", "c"]
    assert owned == {"event": "owned", "nothing": True, "tasks": [], "threads": [], "processes": [], "files": []}
    reference = (ROOT / "docs" / "reference" / "flows.md").read_text()
    for event in events:
        assert f"`{event['event']}`" in reference, "an event that the reference does not know"


def test_validate_runs_nothing(cli: Cli) -> None:
    """It says that the flow is right, or what is wrong, and leaves no trace."""
    flow = cli.write("f.toml", "[blocks.a]\nshell = 'touch ran'\n")
    ended = cli.call("validate", flow)
    assert (ended.returncode, ended.stdout) == (0, "f.toml: flow 'f' is valid: 1 job, 0 parameters\n")
    assert cli.call("validate", flow, "--param", "x=1").returncode == 2
    assert not (cli.directory / "ran").exists()
    assert cli.call("validate", cli.write("g.toml", GOOD), "--param", "needed=x").stderr.startswith(
        "g.toml: params.needed"
    )


def test_version_and_help(cli: Cli) -> None:
    """They need no flow."""
    assert cli.call("--version").stdout == f"lifecycle, version {__version__}\n"
    for command in ([], ["run"], ["serve"], ["validate"], ["jobs"], ["jobs", "show"], ["schedules", "list"]):
        ended = cli.call(*command, "--help")
        assert ended.returncode == 0
        assert ended.stdout.startswith("Usage: lifecycle")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """One line, and exit code 2; the package itself works without it."""
    code = (
        "import sys\nfor name in ('click', 'rich'):\n    sys.modules[name] = None\n"
        "import lifecycle\nfrom lifecycle.scheduler import Scheduler\n"
        "from lifecycle.__main__ import main\nmain()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert ended.stderr == ("lifecycle: the command line needs click: pip install 'asyncio-lifecycle[scheduler]'\n")


# Bad input: one line that names the place, exit code 2, and nothing written

FLOWS = {
    "empty": ("", "flow.toml: is empty"),
    "cycle": ("[blocks.a]\nsleep = 0\nneeds = ['b']\n[blocks.b]\nsleep = 0\nneeds = ['a']", "a cycle: a -> b -> a"),
    "unknown block": ("[blocks.a]\nslep = 0", "flow.toml: blocks.a: unknown block 'slep'; did you mean 'sleep'?"),
    "unknown need": ("[blocks.a]\nsleep = 0\nneeds = ['zz']", "flow.toml: blocks.a.needs: unknown block 'zz'"),
    "missing handler": ("[blocks.a]\ncall = 'no.such'", "flow.toml: blocks.a.call: unknown handler 'no.such'"),
    "negative number": ("[blocks.a]\nsleep = -3", "flow.toml: blocks.a.sleep: expected 0 or more"),
    "10 MB string": (f"[blocks.a]\nshell = '{'x' * 10_000_000}'", "flow.toml: blocks.a.shell: a string of 10,000,000"),
    "no TOML": ("{ this is no TOML", "flow.toml: is not valid TOML: "),
    "missing parameter": ("[params]\nx = {type='string'}\n[blocks.a]\nsleep = 0", "params.x: a value is required"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_bad_flow_is_one_line_and_nothing_is_written(cli: Cli, name: str) -> None:
    """The line has the file and the place; there is no database afterwards."""
    text, message = FLOWS[name]
    ended = cli.call("run", cli.write("flow.toml", text), "--db", cli.directory / "jobs.sqlite")
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 500
    assert ended.stdout == ""
    assert [path.name for path in cli.directory.iterdir()] == ["flow.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "missing.toml"), "missing.toml: cannot be read: No such file or directory"),
        (("run", "."), "cannot be read: it is a directory"),
        (("run", "/dev/zero"), "zero: cannot be read: it is a device"),
        (("run", "good.toml", "--db", "/dev/null"), "/dev/null: the database cannot be opened: it is a device"),
        (("store", "check", "--db", "/dev/null"), "/dev/null: the database cannot be opened: it is a device"),
        (("run", "good.toml", "--param", "zzz=1"), "good.toml: params.zzz: unknown parameter; there are"),
        (("run", "good.toml", "--param", "wrd=1"), "good.toml: params.wrd: unknown parameter; did you mean 'word'?"),
        (("run", "good.toml", "--param", "needed=x"), "good.toml: params.needed: expected an integer, got 'x'"),
        (("run", "good.toml", "--param", "needed"), "good.toml: --param 'needed': expected NAME=VALUE"),
        (("run", "good.toml", "--workers", "0"), "Invalid value for '--workers'"),
        (("run", "good.toml", "--drain-timeout", "-1"), "Invalid value for '--drain-timeout'"),
        (("run", "good.toml", "--handlers", "no.such"), "good.toml: there is no module no.such; is it installed?"),
        (("run", "good.toml", "--db", "no/where/jobs.sqlite"), "the database cannot be opened: there is no directory"),
        (("run", "good.toml", "--db", "."), "the database cannot be opened: it is a directory"),
        (("run", "good.toml", "--db", "good.toml"), "good.toml: is not an SQLite database; give another file"),
        (("jobs", "list", "--db", "missing.sqlite"), "missing.sqlite: there is no such file"),
        (("jobs", "list", "--db", "good.toml"), "good.toml: is not an SQLite database"),
        (("jobs", "show", "a", "--db", "good.toml"), "good.toml: is not an SQLite database"),
        (("jobs", "cancel", "a", "--db", "missing.sqlite"), "missing.sqlite: there is no such file"),
        (("jobs", "cancel", "--db", "missing.sqlite"), "name a JOB or give --run"),
        (("jobs", "list"), "Missing option '--db'"),
    ],
)  # fmt: skip
def test_bad_arguments_end_with_two(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    """Each is told in a line; nothing is written."""
    cli.write("good.toml", GOOD)
    ended = cli.call(*arguments)
    assert ended.returncode == 2, ended.stdout
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in cli.directory.iterdir()] == ["good.toml"]


def test_jobs_that_are_not_there_end_with_two(cli: Cli) -> None:
    """An unknown number, name or run."""
    db = cli.directory / "jobs.sqlite"
    assert cli.run("run", cli.write("good.toml", GOOD), "--db", db).returncode == 0
    for arguments in (("show", "99"), ("show", "zzz"), ("cancel", "99"), ("cancel", "--run", "9"), ("show", "9" * 30)):
        ended = cli.call("jobs", *arguments, "--db", db)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "there is no" in ended.stderr
    assert cli.call("jobs", "cancel", "a", "--db", db).returncode == 1
    assert cli.call("jobs", "cancel", "--run", "1", "--db", db).returncode == 1


def test_jobs_are_listed_and_shown_after_the_run(cli: Cli) -> None:
    """Filters, tables and JSON."""
    db = cli.directory / "jobs.sqlite"
    assert cli.run("run", cli.write("bad.toml", BAD), "--db", db).returncode == 1
    assert list(cli.jobs(db)) == ["a", "b", "c"]
    table = cli.call("jobs", "list", "--db", db).stdout.splitlines()
    assert table[0].split()[:5] == ["id", "run", "flow", "job", "state"]
    assert len(table) == 4
    assert "failed" in cli.call("jobs", "list", "--db", db, "--status", "failed").stdout
    assert len(cli.call("jobs", "list", "--db", db, "--status", "succeeded").stdout.splitlines()) == 2
    assert len(cli.call("jobs", "list", "--db", db, "--run", "7").stdout.splitlines()) == 1
    assert "c" in cli.call("jobs", "list", "--db", db, "--limit", "1").stdout.splitlines()[1]
    for options, found in (
        (("--name", "a"), 1),
        (("--flow", "no such flow"), 0),
        (("--since", "1h"), 3),
        (("--since", "2100-01-01"), 0),
        (("--until", "2100-01-01T00:00:00+02:00", "--status", "failed", "--status", "cancelled"), 2),
    ):
        assert len(cli.call("jobs", "list", "--db", db, *options).stdout.splitlines()) == 1 + found, options
    refused = cli.call("jobs", "list", "--db", db, "--since", "yesterday").stderr
    assert "expected a time such as 2026-11-30T17:00, or how long ago, such as 90m, got 'yesterday'" in refused
    shown = json.loads(cli.call("jobs", "show", "b", "--db", db, "--json").stdout)
    assert (shown["name"], shown["status"], shown["needs"]) == ("b", "cancelled", ["a"])
    assert "traceback  " in cli.call("jobs", "show", "a", "--db", db).stdout
    assert sorted(path.name for path in cli.directory.iterdir()) == ["bad.toml", "jobs.sqlite"]


def test_a_finished_run_is_followed_by_a_new_one(cli: Cli) -> None:
    """Same flow, same parameters, same database: another run."""
    flow, db = cli.write("good.toml", GOOD), cli.directory / "jobs.sqlite"
    for number in (1, 2):
        assert f"run {number} succeeded" in cli.run("run", flow, "--db", db).stdout


def test_a_changed_flow_is_refused_with_the_option_that_begins_anew(cli: Cli) -> None:
    """The library names its argument, the command line its option."""
    db = cli.directory / "jobs.sqlite"
    flow = cli.write("flow.toml", "[blocks.a]\nshell = 'touch begun; sleep 60'")
    process = cli.start("run", flow, "--db", db, "--drain-timeout", "0")
    wait_until((cli.directory / "begun").exists)
    process.send_signal(signal.SIGINT)
    assert end_of(process).returncode == 130
    cli.write("flow.toml", "[blocks.a]\nsleep = 0")
    refused = cli.run("run", flow, "--db", db)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "has changed since its unfinished run 1 began" in refused.stderr
    assert refused.stderr.endswith("; `lifecycle run --fresh` does that\n")
    assert cli.run("run", flow, "--db", db, "--fresh").returncode == 0


# An environment in which nothing can be done


def fill(cli: Cli) -> Path:
    """Write a flow that needs more room than there is; return it."""
    cli.write(
        "fill.py",
        "from lifecycle.scheduler import handler\n@handler('fill')\nasync def fill(number):\n"
        "    open('ledger', 'a').write(f'{number}\\n')\n    return 'x' * 3000\n",
    )
    blocks = "".join(f"[blocks.job{number}]\ncall = 'fill'\nargs = [{number}]\n" for number in range(200))
    return cli.write("fill.toml", f"handlers = 'fill.py'\n{blocks}")


def check_nothing_lost(cli: Cli, flow: Path, db: Path) -> None:
    """Start the run again, with room: it goes on, and what was committed before is not done again."""
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        done = connection.execute("SELECT count(*) FROM jobs WHERE state = 'succeeded'").fetchone()[0]
    assert 0 < done < 200
    before = len(lines_in(cli.directory / "ledger"))
    assert done <= before <= 200  # what ended while the last commits failed is run again
    ended = cli.run("run", flow, "--db", db)
    assert ended.returncode == 0, ended.stderr
    assert f"run 1 resumed, {200 - done} of 200 jobs left" in ended.stdout
    assert len(lines_in(cli.directory / "ledger")) == before + 200 - done


def test_a_disk_that_fills_up_stops_the_run_cleanly(cli: Cli) -> None:
    """A small file system: one line, exit code 2, nothing owned, and nothing that was committed is lost."""
    flow = fill(cli)
    with small_disk("600k") as disk:
        ended = cli.run("run", flow, "--db", disk / "jobs.sqlite", "--store-patience", "0.5")
        assert ended.returncode == 2, ended.stdout
        assert ended.stderr.splitlines()[-1] == (
            f"{disk}/jobs.sqlite: the disk is full; make room and start again, what was committed is kept"
        )
        assert ended.stdout.splitlines()[-1] == "still owned: nothing"
        remount(disk, "size=20m")
        check_nothing_lost(cli, flow, disk / "jobs.sqlite")


def test_a_file_that_may_not_grow_stops_the_run_cleanly(cli: Cli) -> None:
    """The same with a limit on the size of files, which needs no rights: the write itself fails."""
    flow, db = fill(cli), cli.directory / "jobs.sqlite"
    limited = subprocess.run(
        ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", sys.executable, "-m", "lifecycle", "run", flow, "--db", db,
         "--store-patience", "0.5"],
        capture_output=True, text=True, cwd=cli.directory, check=False, timeout=60,
    )  # fmt: skip
    assert limited.returncode == 2, limited.stdout
    said = limited.stderr.splitlines()[-1]
    assert said.startswith(f"{db}: the disk refused (I/O error)") or "disk is full" in said
    assert limited.stdout.splitlines()[-1] == "still owned: nothing"
    check_nothing_lost(cli, flow, db)


def test_a_disk_without_room_for_the_first_job_is_told(cli: Cli) -> None:
    """Nothing is begun."""
    with small_disk("8k") as disk:
        ended = cli.run("run", fill(cli), "--db", disk / "jobs.sqlite")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "full" in ended.stderr
    assert lines_in(cli.directory / "ledger") == []


def test_a_read_only_directory_is_told(cli: Cli) -> None:
    """Also to root, whom mode bits do not stop."""
    with small_disk("8m") as disk:
        remount(disk, "ro")
        ended = cli.run("run", cli.write("good.toml", GOOD), "--db", disk / "jobs.sqlite")
        assert ended.returncode == 2
        assert ended.stderr == (
            f"{disk}/jobs.sqlite: the database cannot be opened: the directory {disk} is read-only\n"
        )


def test_a_read_only_database_is_told_and_can_be_read(cli: Cli) -> None:
    """`jobs list` still works where nothing can be written."""
    flow = cli.write("good.toml", GOOD)
    with small_disk("8m") as disk:
        db = disk / "jobs.sqlite"
        assert cli.run("run", flow, "--db", db).returncode == 0
        remount(disk, "ro")
        ended = cli.run("run", flow, "--db", db)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "read-only" in ended.stderr
        cancelled = cli.call("jobs", "cancel", "a", "--db", db)
        assert (cancelled.returncode, cancelled.stderr.count("\n")) == (2, 1)


def test_a_database_below_a_file_is_told(cli: Cli) -> None:
    """An obstacle that stops everybody, where nothing can be mounted."""
    flow = cli.write("good.toml", GOOD)
    ended = cli.run("run", flow, "--db", flow / "jobs.sqlite")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{flow} is not a directory" in ended.stderr


def test_a_database_from_a_newer_version_is_refused(cli: Cli) -> None:
    """By every command, without touching it."""
    flow, db = cli.write("good.toml", GOOD), cli.directory / "jobs.sqlite"
    assert cli.run("run", flow, "--db", db).returncode == 0
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA user_version = 99")
    content = db.read_bytes()
    for arguments in (("run", flow), ("jobs", "list"), ("jobs", "show", "a"), ("jobs", "cancel", "a")):
        ended = cli.call(*arguments, "--db", db)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "the database is of version 99, this lifecycle knows up to" in ended.stderr
    assert db.read_bytes() == content


@pytest.mark.slow
def test_a_database_that_stays_locked_is_told(cli: Cli) -> None:
    """After ten seconds of waiting."""
    flow, db = cli.write("good.toml", GOOD), cli.directory / "jobs.sqlite"
    assert cli.run("run", flow, "--db", db).returncode == 0
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = cli.run("run", flow, "--db", db)
    *waiting, refused = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert all(line.startswith("store cannot be written") for line in waiting)
    assert "is locked by another process" in refused


def test_the_demo_archives_a_directory(cli: Cli) -> None:
    """The example of the repository on some real files: every block succeeds, one of them at its third attempt.

    One is a link that leads out of the directory, as Debian's standard library has.
    """
    source = cli.directory / "source"
    source.mkdir()
    for number in range(30):
        (source / f"file{number}.py").write_text(f"# file {number % 25}\n" * 50)
    (source / "file7.py").replace(cli.directory / "elsewhere.py")
    (source / "file7.py").symlink_to(cli.directory / "elsewhere.py")
    flow = ROOT / "docs" / "examples" / "archive.toml"
    out = cli.directory / "out"
    ended = cli.run("run", flow, "--param", f"directory={source}", "--param", f"out={out}", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-2])
    assert {job["job"]: job["attempts"] for job in summary["jobs"]}["publish"] == 3
    report = (out / "report.md").read_text()
    assert "- files: 30," in report
    assert "- verified by reading back: 30 files" in report
    assert "- duplicates: 10 files in 5 groups" in report
    assert f"the archive goes to {out}" in ended.stdout
    assert len(lines_in(out / "publish-attempts.txt")) == 3
    with closing(sqlite3.connect(out / "index.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM files").fetchone() == (30,)
