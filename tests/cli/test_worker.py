"""``lifecycle worker``: several processes that work on one database, each until it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..scheduler.tools import Cli, end_of, wait_until

HANDLERS = """
import os
from pathlib import Path

import anyio
from lifecycle.scheduler import handler

@handler("worker.meet")
async def meet(place: str, others: int) -> str:
    \"\"\"Run until so many processes are in it, and the gate is open.\"\"\"
    Path(place, str(os.getpid())).touch()
    while len(list(Path(place).iterdir())) < others or not Path("gate").exists():
        await anyio.sleep(0.01)
    return str(os.getpid())
"""
FLOW = """
name = "meeting"
handlers = "handlers.py"
[blocks.one]
call = "worker.meet"
args = ["place", 1]
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, in a directory with handlers, a flow and a database."""
    cli = Cli(tmp_path)
    cli.write("handlers.py", HANDLERS)
    cli.write("flow.toml", FLOW)
    cli.write("naps.toml", "[blocks.nap]\nsleep = 0\n")
    (tmp_path / "place").mkdir()
    assert cli.call("run", "naps.toml", "--db", "jobs.db").returncode == 0
    yield cli
    cli.close()


def met(cli: Cli, number: int) -> None:
    """Wait until so many processes are in the handler."""
    wait_until(lambda: len(list((cli.directory / "place").iterdir())) == number)


def working_of(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until a worker says what it works on, and return that; what it said before is read as well."""
    assert worker.stdout is not None
    return next(event for line in worker.stdout if (event := json.loads(line))["event"] == "working")


@pytest.mark.slow
def test_several_workers_run_what_they_know_of_one_database_and_drain(cli: Cli) -> None:
    """Jobs that were submitted without them; a signal lets what runs end, and nothing is owned then."""
    cli.write("others.py", HANDLERS.replace("worker.meet", "worker.join"))
    for name in ("worker.meet", "worker.join"):
        assert cli.call("jobs", "submit", name, "place", "2", "--db", "jobs.db").returncode == 0
    words = ("--db", "jobs.db", "--workers", "1", "--json", "--drain-timeout", "1m")
    meets = cli.start("worker", "flow.toml", "--handlers", "handlers.py", *words)
    cli.write("more.py", HANDLERS.replace("worker.meet", "worker.more"))
    joins = cli.start("worker", "--handlers", "others.py", "--handlers", "more.py", *words)
    met(cli, 2)
    owners = json.loads(cli.call("store", "show", "--db", "jobs.db", "--json").stdout)["owners"]
    assert {owner["pid"] for owner in owners} == {meets.pid, joins.pid}
    # A job begins before its worker says what it works on: one that is told to end in between never does.
    said = {worker: working_of(worker) for worker in (meets, joins)}
    for worker in (meets, joins):
        worker.send_signal(signal.SIGTERM)
    (cli.directory / "gate").touch()
    did = (
        (meets, "worker.meet", ["worker.meet"], ["meeting"]),
        (joins, "worker.join", ["worker.join", "worker.more"], []),
    )
    for worker, handler, handlers, flows in did:
        told = end_of(worker)
        events = [json.loads(line) for line in told.stdout.splitlines()]
        assert told.returncode == 0, told.stderr
        assert said[worker]["handlers"] == handlers
        assert said[worker]["flows"] == flows
        assert events[-1]["nothing"]
        assert json.loads(cli.call("jobs", "show", handler, "--db", "jobs.db", "--json").stdout)["result"] == str(
            worker.pid
        )


@pytest.mark.slow
def test_a_worker_goes_on_with_a_run_and_takes_no_clients_unless_told_to(cli: Cli) -> None:
    """What was interrupted is resumed; there is a control server only with --control."""
    begun = cli.start("run", "flow.toml", "--db", "jobs.db", "--drain-timeout", "0")
    met(cli, 1)
    begun.send_signal(signal.SIGTERM)
    assert end_of(begun).returncode == 143
    (cli.directory / "gate").touch()
    worker = cli.start("worker", "flow.toml", "--db", "jobs.db", "--json")
    assert cli.run("runs", "wait", "2", "--db", "jobs.db").stdout == "run 2: succeeded\n"
    worker.send_signal(signal.SIGINT)
    told = end_of(worker)
    assert (told.returncode, "listening" in told.stdout) == (0, False)
    listening = cli.start("worker", "flow.toml", "--db", "jobs.db", "--control", "127.0.0.1:0")
    assert listening.stderr is not None
    assert any("control server: redis-cli" in line for line in listening.stderr)
    listening.send_signal(signal.SIGTERM)
    assert end_of(listening).returncode == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--db", "jobs.db"], "it would run nothing: name FLOWS, or give --handlers"),
        (["--db", "jobs.db", "--handlers="], "it would run nothing"),
        (["flow.toml"], "Missing option '--db'"),
        (["flow.toml", "--db", "jobs.db", "--password-file", "none"], "for the clients of --control and --web"),
        (["flow.toml", "--db", "jobs.db", "--control", "nowhere"], "--control: expected HOST:PORT, got 'nowhere'"),
        (["flow.toml", "--db", "jobs.db", "--web", "0.0.0.0:1"], "only with --password-file beyond this machine"),
        (["none.toml", "--db", "jobs.db"], "none.toml"),
    ],
)
def test_bad_input_is_told_before_anything_runs(cli: Cli, words: list[str], why: str) -> None:
    """With exit code 2."""
    refused = cli.call("worker", *words)
    assert refused.returncode == 2
    assert why in refused.stdout + refused.stderr


@pytest.mark.slow
def test_workers_on_a_server_share_the_jobs_of_one_handler(cli: Cli, database: str) -> None:
    """Each has room for one, and two run at once; a signal drains both, and no connection is left."""
    for _ in range(2):
        assert cli.call("jobs", "submit", "worker.meet", "place", "2", "--db", database).returncode == 0
    words = ("worker", "--db", database, "--handlers", "handlers.py", "--workers", "1", "--json")
    workers = [cli.start(*words) for _ in range(2)]
    met(cli, 2)
    owners = json.loads(cli.call("store", "show", "--db", database, "--json").stdout)["owners"]
    assert {owner["pid"] for owner in owners} == {worker.pid for worker in workers}
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    (cli.directory / "gate").touch()
    for worker in workers:
        told = end_of(worker)
        assert (told.returncode, json.loads(told.stdout.splitlines()[-1])["nothing"]) == (0, True)
    exported = [json.loads(line) for line in cli.call("store", "export", "--db", database).stdout.splitlines()]
    assert {job["result"] for job in exported} == {str(worker.pid) for worker in workers}
