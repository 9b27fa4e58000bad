"""What several tests of the scheduler need: flows from text, real processes, and a ledger on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
from click.testing import CliRunner

from lifecycle.cli import cli as main
from lifecycle.scheduler import Event, Flow, FlowError, JobRecord, Scheduler, flow_of_table
from lifecycle.scheduler._work.handlers import HandlerTable, make_handler

T = TypeVar("T")


def table_of(**handlers: Callable[..., Any]) -> HandlerTable:
    """Return a table of handlers, given by keyword, with ``__`` for a dot in the name."""
    table = HandlerTable()
    for name, function in handlers.items():
        table.add(make_handler(function, name.replace("__", ".")))
    return table


def flow_of(text: str, *, directory: Path | None = None, **handlers: Callable[..., Any]) -> Flow:
    """Return the flow in a TOML text; handlers are given by keyword, with ``__`` for a dot in the name."""
    return flow_of_table(tomllib.loads(text), source="flow.toml", directory=directory, handlers=table_of(**handlers))


def problems_of(text: str, **handlers: Callable[..., Any]) -> list[str]:
    """Return the problems of the flow in a TOML text, none when it is right."""
    problems: list[str] = []
    try:
        flow_of(text, **handlers)
    except FlowError as error:
        problems = list(error.problems)
    assert all("\n" not in line for line in problems), "a problem is one line"
    return problems


@dataclass
class Ran:
    """What a run of a flow has left."""

    jobs: dict[str, JobRecord]
    outputs: dict[str, Any]
    events: list[Event]

    def error(self, job: str) -> str:
        """Return the error of a job that did not succeed."""
        return self.jobs[job].error or ""

    def log(self, job: str) -> list[str]:
        """Return the lines that a job logged."""
        return [event.data["message"] for event in self.events if event.kind == "job_log" and event.job == job]


async def run_flow(flow: Flow, params: Mapping[str, Any] | None = None, **settings: Any) -> Ran:
    """Run a flow; return record and output of each of its jobs, and what was told meanwhile."""
    events: list[Event] = []
    async with Scheduler(on_event=events.append, **settings) as scheduler:
        run = await scheduler.submit(flow, params=params)
        forget, scheduler._store.forget = scheduler._store.forget, lambda _run_id: None  # type: ignore[method-assign]
        outcome = await run.wait()
        outputs = dict(await scheduler._store.outputs(run.id, list(flow.jobs)))
        forget(run.id)
    return Ran({job.name: job for job in outcome.jobs}, outputs, events)


class Cli:
    """Runs the command line in real processes, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """Kill what a failed test has left running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def write(self, name: str, text: str) -> Path:
        """Write a file and return its path."""
        path = self.directory / name
        path.write_text(text)
        return path

    def start(self, *args: object) -> subprocess.Popen[str]:
        """Start a command."""
        process = subprocess.Popen(
            [sys.executable, "-m", "lifecycle", *map(str, args)],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "", "COLUMNS": "200"},
        )
        self._started.append(process)
        return process

    def run(self, *args: object, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return end_of(self.start(*args), timeout)

    def call(self, *args: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in this process, which is faster where a process of its own does not matter."""
        command = partial(CliRunner().invoke, main, [str(arg) for arg in args], prog_name="lifecycle")
        with contextlib.chdir(self.directory):
            result = in_a_thread(command) if asyncio._get_running_loop() else command()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(args, result.exit_code, result.stdout, result.stderr)

    def jobs(self, db: Path | str) -> dict[str, dict[str, Any]]:
        """Return the jobs in a store by name, as another process sees them."""
        listed = self.call("jobs", "list", "--db", db, "--json")
        assert listed.returncode == 0, listed.stderr
        return {job["name"]: job for job in map(json.loads, listed.stdout.splitlines())}


def in_a_thread(function: Callable[..., T], *args: Any, **more: Any) -> T:
    """Return what a function returns that runs a loop of its own, to somebody in a loop that runs: that is held up."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *args, **more).result()


def end_of(process: subprocess.Popen[str], timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Return how a process ended; one that does not end in time is killed and the test fails."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"did not end within {timeout} s\n{stdout}\n{stderr}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until something that another process does has happened."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def group_lives(group: int) -> bool:
    """Return whether a process of the group still runs; one that has ended and was not reaped does not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def lines_in(path: Path) -> list[str]:
    """Return the lines of a file, none when it is not there."""
    return path.read_text().splitlines() if path.exists() else []
