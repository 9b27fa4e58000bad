"""What these tests need: who only submits, jobs that wait for the test, and a look at the server's side."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lifecycle.scheduler import Context, Job, Scheduler, handler

from ...postgres import ask
from ...tracked import ROOT
from ..storms.fleet import worker as worker  # registers its handler
from ..storms.fleet.history import Ledger

PATIENCE = 30.0
"""So many seconds until something that has to happen has to have happened, on the slowest machine."""

_numbers = itertools.count(1)
_gates: dict[str, asyncio.Event] = {}
begun: Counter[str] = Counter()
"""How often each named job was begun in this process."""


@handler("pg.value")
async def value(it: Any) -> Any:
    """Return what it is given."""
    return it


@handler("pg.named")
async def named(name: str) -> str:
    """Note that it was begun."""
    begun[name] += 1
    return name


@handler("pg.gated")
async def gated(name: str) -> str:
    """Take until the test opens its gate."""
    begun[name] += 1
    await _gates[name].wait()
    return name


@handler("pg.failing")
async def failing(text: str) -> None:
    """Fail with this text."""
    raise ValueError(text)


@handler("pg.logging")
async def logging_(text: str, context: Context) -> None:
    """Log this."""
    context.log(text)


@handler("pg.blocks")
async def blocks(name: str, seconds: float) -> str:
    """Let nothing else run in the loop for so long."""
    begun[name] += 1
    time.sleep(seconds)
    return name


class Gate:
    """A job that waits for the test.

    Attributes:
        name: its argument.
    """

    def __init__(self) -> None:
        self.name = f"gate{next(_numbers)}"
        _gates[self.name] = asyncio.Event()

    def open(self) -> None:
        """Let the job go on, and all that come after it."""
        _gates[self.name].set()

    @property
    def begun(self) -> int:
        """How often its job was begun."""
        return begun[self.name]

    async def reached(self, times: int = 1) -> None:
        """Wait until its job was begun so often."""
        await until(lambda: self.begun >= times)


@contextlib.asynccontextmanager
async def open_sender(url: str, **settings: Any) -> AsyncIterator[Scheduler]:
    """Open a scheduler that runs nothing: its only seat is taken. Before any other, which would take that job."""
    gate = Gate()
    async with Scheduler(url, workers=1, name="sender", **settings) as scheduler:
        await scheduler.submit(gated, gate.name, priority=1_000_000)
        await gate.reached()
        try:
            yield scheduler
        finally:
            gate.open()


@contextlib.asynccontextmanager
async def open_several(url: str, count: int, **settings: Any) -> AsyncIterator[list[Scheduler]]:
    """Open several schedulers on one database."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Scheduler(url, **{"name": f"s{number}", **settings}))
            for number in range(count)
        ]


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    """Wait until something is so."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends, f"{what} did not happen"
        await asyncio.sleep(0.01)


async def ended_well(jobs: Sequence[Job]) -> list[Any]:
    """Wait for jobs, all of which have to succeed; return their results."""
    async with asyncio.timeout(PATIENCE):
        outcomes = [await job.wait() for job in jobs]
    assert {outcome.status.value for outcome in outcomes} == {"succeeded"}, outcomes
    return [outcome.result for outcome in outcomes]


# The server's side


def connections(url: str) -> list[dict[str, Any]]:
    """Return the connections to a database, but for that of the question."""
    columns = ("pid", "application_name", "state", "xmin", "query")
    rows = ask(
        url,
        "SELECT pid, application_name, state, backend_xmin IS NOT NULL, query FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def end_connections(url: str) -> int:
    """Have the server end all connections to a database; return how many there were."""
    found = ask(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    return len(found)


def name_of(url: str) -> str:
    """Return the name of the database in an address."""
    return url.partition("?")[0].rpartition("/")[2]


# Worker processes


class Program:
    """A worker process: the one of the fleet, without a fleet."""

    def __init__(self, url: str, ledger: Path, *, workers: int = 5, lease: float | None = None) -> None:
        self.tag = f"p{next(_numbers)}"
        self._ledger = ledger
        ledger.touch()
        command = [sys.executable, "-m", "tests.scheduler.storms.fleet.worker", url, str(ledger), self.tag]
        command += ["--workers", str(workers), *(() if lease is None else ("--lease", str(lease)))]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=dict(os.environ))

    def lines(self, word: str) -> list[str]:
        """Return the names of the jobs about which it has noted that."""
        return [line.name for line in Ledger.read(self._ledger).of(word) if line.tag == self.tag]

    async def up(self) -> None:
        """Wait until it works."""
        await until(lambda: bool(self.lines("up")) or self.process.poll() is not None)
        assert self.process.poll() is None

    async def running(self, count: int) -> None:
        """Wait until it has begun so many."""
        await until(lambda: len(self.lines("start")) >= count)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def program(url: str, ledger: Path, **settings: Any) -> Iterator[Program]:
    """Start a worker process, and see that it is gone afterwards."""
    started = Program(url, ledger, **settings)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
