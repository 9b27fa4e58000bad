"""Signals: the first drains, the second forces, and an interrupted run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ..stores import Address
from ..tools import Cli, end_of, group_lives, lines_in, wait_until

HANDLERS = """
import asyncio, os, time
from lifecycle.scheduler import Context, handler

@handler("note")
def note(text: str) -> str:
    with open("notes", "a") as file:
        file.write(text + "\\n")
    return text

@handler("stubborn")
async def stubborn() -> None:
    note("stubborn")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note("swallowed")

@handler("blocking")
def blocking() -> None:
    note("blocking")
    time.sleep(60)
"""


def note(text: str) -> str:
    """Return the block that writes a note."""
    return f"{{ call = 'note', args = ['{text}'] }}"


FLOW = f"""
handlers = "handlers.py"
[blocks.quick]
sequence = [{note("quick began")}, {{ sleep = 0.7 }}, {note("quick ended")}]
[blocks.slow]
sequence = [{note("slow began")}, {{ shell = "echo $$ > group; sleep 600 & sleep 600" }}, {note("slow ended")}]
retries = 1
[blocks.after]
needs = ["quick", "slow"]
call = "note"
args = ["after"]
"""


def events_of(stdout: str) -> list[dict[str, Any]]:
    """Return what --json printed."""
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_the_run_goes_on_later(
    cli: Cli, durable: Address, number: signal.Signals, code: int
) -> None:
    """What ends in time ends well; the rest is interrupted, keeps its retries, and is resumed by the next start."""
    cli.write("handlers.py", HANDLERS)
    flow = cli.write("flow.toml", FLOW)
    db, notes, group = durable, cli.directory / "notes", cli.directory / "group"
    process = cli.start("run", flow, "--db", db, "--drain-timeout", 1.5, "--json")
    wait_until(lambda: len(lines_in(notes)) == 2 and bool(lines_in(group)))
    process.send_signal(number)
    ended = end_of(process)
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert sorted(lines_in(notes)) == ["quick began", "quick ended", "slow began"]
    assert not group_lives(int(group.read_text()))
    events = events_of(ended.stdout)
    assert [event["event"] for event in events[-3:]] == ["run_finished", "summary", "owned"]
    assert events[-1]["nothing"]
    assert events[-2]["status"] == "interrupted"
    assert {job["job"]: job["status"] for job in events[-2]["jobs"]} == {
        "quick": "succeeded", "slow": "interrupted", "after": "pending",
    }  # fmt: skip
    assert [event["running"] for event in events if event["event"] == "draining"] == [["quick", "slow"]]
    # The flow may change what it is made of outside of its file: the handlers and the command can be mended.
    cli.directory.joinpath("bin").mkdir()
    cli.write("bin/sleep", "#!/bin/sh\nexit 0\n").chmod(0o755)
    os.environ["PATH"], before = f"{cli.directory / 'bin'}:{os.environ['PATH']}", os.environ["PATH"]
    try:
        resumed = cli.run("run", flow, "--db", db, "--json")
    finally:
        os.environ["PATH"] = before
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    events = events_of(resumed.stdout)
    assert (events[0]["resumed"], events[0]["unfinished"], events[0]["jobs"]) == (True, 2, 3)
    assert {job["job"]: job["attempts"] for job in events[-2]["jobs"]} == {"quick": 1, "slow": 2, "after": 1}
    assert lines_in(notes)[-2:] == ["slow ended", "after"]
    shown = json.loads(cli.call("jobs", "show", "slow", "--db", db, "--json").stdout)
    assert (shown["attempts"], shown["failures"]) == (2, 0)


def test_a_second_signal_does_not_wait(cli: Cli, durable: Address) -> None:
    """The drain ends at once; what ran is interrupted, and the exit code is that of the first signal."""
    cli.write("handlers.py", HANDLERS)
    flow = cli.write("flow.toml", FLOW)
    db = durable
    process = cli.start("run", flow, "--db", db, "--drain-timeout", 600)
    wait_until(lambda: bool(lines_in(cli.directory / "group")))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    ended = end_of(process)  # within a minute, where the drain would take ten
    assert ended.returncode == 143, ended.stderr
    assert "still owned: nothing" in ended.stdout
    states = {name: job["status"] for name, job in cli.jobs(db).items()}
    assert states == {"quick": "interrupted", "slow": "interrupted", "after": "pending"}


def test_a_signal_that_finds_nothing_to_interrupt_is_no_failure(cli: Cli) -> None:
    """Every job succeeded while the scheduler drained: the exit code says so."""
    cli.write("handlers.py", HANDLERS)
    text = f"handlers = 'handlers.py'\n[blocks.a]\nsequence = [{note('began')}, {{ sleep = 0.5 }}, {note('ended')}]\n"
    process = cli.start("run", cli.write("flow.toml", text))
    wait_until(lambda: bool(lines_in(cli.directory / "notes")))
    process.send_signal(signal.SIGTERM)
    ended = end_of(process)
    assert (ended.returncode, lines_in(cli.directory / "notes")) == (0, ["began", "ended"])
    assert "run 1 succeeded" in ended.stdout


@pytest.mark.slow
def test_what_is_stuck_is_named_and_does_not_hold_the_process(tmp_path: Path) -> None:
    """A handler that swallows its cancellation, or a thread that never returns: told on stderr, interrupted, left."""
    with contextlib.ExitStack() as stack:
        begun = [(handler, *begin_stuck(tmp_path / handler, handler, stack)) for handler in ("stubborn", "blocking")]
        for handler, cli, process in begun:  # at the same time: each takes a while to give up
            ended = end_of(process, timeout=60)
            assert ended.returncode == 143, ended.stdout + ended.stderr
            assert "job mule" in ended.stderr, ended.stderr
            assert handler in ended.stderr or "thread" in ended.stderr, ended.stderr
            assert cli.jobs(cli.directory / "jobs.sqlite")["mule"]["status"] == "interrupted", ended.stdout


def begin_stuck(directory: Path, handler: str, stack: contextlib.ExitStack) -> tuple[Cli, subprocess.Popen[str]]:
    """Start a process with a job that does not end, and tell it to end, twice."""
    directory.mkdir()
    cli = Cli(directory)
    stack.callback(cli.close)
    cli.write("handlers.py", HANDLERS)
    flow = cli.write("flow.toml", f"handlers = 'handlers.py'\n[blocks.mule]\ncall = '{handler}'\n")
    db = directory / "jobs.sqlite"
    process = cli.start("run", flow, "--db", db, "--drain-timeout", 0.1, "--cancel-timeout", 0.3)
    wait_until(lambda: bool(lines_in(directory / "notes")))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)  # two at once would be one
    process.send_signal(signal.SIGTERM)
    return cli, process


def test_a_reader_that_goes_away_does_not_end_the_run(cli: Cli) -> None:
    """`lifecycle run ... | head -1` does the work all the same."""
    cli.write("handlers.py", HANDLERS)
    flow = cli.write(
        "flow.toml", f"handlers = 'handlers.py'\n[blocks.a]\nsequence = [{{sleep = 0.3}}, {note('done')}]\n"
    )
    process = cli.start("run", flow)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stdout = None  # so that the end of the test does not read it
    assert lines_in(cli.directory / "notes") == ["done"]


def test_jobs_are_listed_shown_and_cancelled_from_another_process(cli: Cli, durable: Address) -> None:
    """While a scheduler works on them: a running job is stopped, a waiting one never starts, a whole run ends."""
    flow = cli.write(
        "flow.toml",
        "[blocks.runs]\nshell = 'echo $$ > group; sleep 600'\n[blocks.waits]\nneeds = ['runs']\nsleep = 0\n"
        "[blocks.later]\ndelay = 60\nsleep = 0\n[blocks.below]\nneeds = ['later']\nsleep = 0\n"
        "[blocks.long]\nsleep = 600\n",
    )
    db = durable
    process = cli.start("run", flow, "--db", db, "--json")
    wait_until(lambda: bool(lines_in(cli.directory / "group")))
    jobs = cli.jobs(db)
    assert {name: job["status"] for name, job in jobs.items()} == {
        "runs": "running", "waits": "pending", "later": "pending", "below": "pending", "long": "running",
    }  # fmt: skip
    assert "kind       shell" in cli.call("jobs", "show", jobs["runs"]["id"], "--db", db).stdout
    cancelled = cli.call("jobs", "cancel", "later", jobs["runs"]["id"], "--reason", "not today", "--db", db)
    assert cancelled.returncode == 0, cancelled.stderr
    assert "is being stopped" in cancelled.stdout
    wait_until(lambda: {job["status"] for name, job in cli.jobs(db).items() if name != "long"} == {"cancelled"})
    assert cli.call("jobs", "cancel", "runs", "--db", db).returncode == 1
    assert cli.call("jobs", "cancel", "--run", 1, "--db", db).returncode == 0
    ended = end_of(process)
    assert ended.returncode == 1
    told = {event["job"]: event for event in events_of(ended.stdout) if event["event"] == "job_finished"}
    assert {name: event["status"] for name, event in told.items()} == dict.fromkeys(jobs, "cancelled")
    assert told["runs"]["error"] == told["later"]["error"] == "not today"
    assert told["waits"]["error"] == "needs 'runs', which was cancelled"
    assert not group_lives(int((cli.directory / "group").read_text()))


def test_a_second_process_does_not_take_a_run_away(cli: Cli) -> None:
    """It says who has it, exits with 2, and changes nothing; after a SIGKILL the run can be taken over."""
    flow = cli.write("flow.toml", "[blocks.a]\nshell = 'echo x >> started; while [ ! -e go ]; do sleep 0.02; done'\n")
    db = cli.directory / "jobs.sqlite"
    process = cli.start("run", flow, "--db", db)
    wait_until(lambda: bool(lines_in(cli.directory / "started")))
    second = cli.run("run", flow, "--db", db)
    assert second.returncode == 2
    assert f"flow.toml: run 1 of 'flow' with these parameters is being run by process {process.pid}" in second.stderr
    process.send_signal(signal.SIGKILL)
    end_of(process)
    assert cli.jobs(db)["a"]["status"] == "interrupted"
    (cli.directory / "go").touch()
    third = cli.run("run", flow, "--db", db)
    assert third.returncode == 0, third.stderr
    assert lines_in(cli.directory / "started") == ["x", "x"]
    assert subprocess.run(["ls", cli.directory], capture_output=True, text=True, check=True).stdout.split() == [
        "flow.toml", "go", "jobs.sqlite", "started",
    ]  # fmt: skip
