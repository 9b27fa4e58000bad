"""``lifecycle serve``: a process that takes jobs from clients, ends cleanly, and goes on where it was."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from lifecycle.cli import cli

FLOW = "name = 'naps'\n[blocks.one]\nsleep = 0.01\n"
HANDLERS = """
from lifecycle.scheduler import handler

@handler("serve.add")
def add(a: int, b: int) -> int:
    return a + b
"""


class Process:
    """``lifecycle serve`` in a process of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "lifecycle", "serve", "--json", "--control", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port: int = 0
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                self.port = event["port"]
                break

    def end(self, signum: int = signal.SIGTERM) -> list[dict[str, Any]]:
        """Send a signal, and return what it has told by its end."""
        self.process.send_signal(signum)
        output, _ = self.process.communicate(timeout=60)
        return [json.loads(line) for line in output.splitlines()]


def ended(client: Any, job: int) -> dict[str, Any]:
    while True:
        facts = client.execute_command("LC.STATUS", str(job))
        if facts["status"] not in ("pending", "running"):
            return dict(facts)


@pytest.mark.slow
def test_a_process_takes_jobs_and_flows_from_clients_and_ends_cleanly(tmp_path: Path) -> None:
    """SIGTERM drains it, it owns nothing afterwards, and its exit code says so."""
    (tmp_path / "naps.toml").write_text(FLOW)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    arguments = ["naps.toml", "--db", "jobs.db", "--handlers", "handlers.py", "--password-file", "password"]
    serving = Process(tmp_path, *arguments)
    with redis.Redis(port=serving.port, password="secret", protocol=3, decode_responses=True) as client:
        job = client.execute_command("LC.ENQUEUE", "serve.add", "ARGS", "[1, 2]")["job"]
        assert ended(client, job)["result"] == "3"
        run = client.execute_command("LC.ENQUEUE", "naps")["run"]
        (first,) = client.execute_command("LC.LIST", "RUN", str(run))
        assert ended(client, first["id"])["status"] == "succeeded"
    told = serving.end()
    assert told[-1]["event"] == "owned"
    assert told[-1]["nothing"]
    assert serving.process.returncode == 0


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["serve", *arguments])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--control", "nowhere"], "--control: expected HOST:PORT, got 'nowhere'"),
        (["--control", "127.0.0.1:99999"], "--control: expected HOST:PORT"),
        (["--control", "0.0.0.0:1"], "only with --password-file beyond this machine"),
        (["--password-file", "missing"], "--password-file: "),
        (["--password-file", "empty"], "--password-file: empty is empty"),
        (["missing.toml"], "missing.toml"),
        (["--handlers", "missing.py"], "--handlers: "),
        (["one.toml", "two.toml"], "there is another flow 'naps', in one.toml"),
    ],
)
def test_bad_input_is_told_before_anything_runs(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("\n")
    Path("empty").chmod(0o600)
    for name in ("one.toml", "two.toml"):
        Path(name).write_text(FLOW)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert problem in result.output


@pytest.mark.slow
def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    """With exit code 2, and the store is closed again. In a process of its own: what other tests own does not count."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "lifecycle", "serve", "--control", address, "--db", "jobs.db"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert f"--control {address}: cannot listen there: Address already in use" in told
    assert "still owned: nothing" in told
