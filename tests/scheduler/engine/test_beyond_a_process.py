"""Work that outlives its attempt, when the process of that is killed, or stands still for longer than its lease."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lifecycle.scheduler import Scheduler

from ...tracked import ROOT
from ..stores import Address, NewAddress
from . import beyond as program
from .beyond import LEDGER, OPEN, noted, until

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

LEASE = 1.5
"""Seconds."""


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with nothing noted, and closed."""
    monkeypatch.setenv(LEDGER, str(tmp_path / "ledger"))


@contextlib.asynccontextmanager
async def worker(address: Address) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A process that works on a store; killed at the end."""
    command = [sys.executable, "-m", "tests.scheduler.engine.beyond", str(address), str(LEASE)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, env=dict(os.environ))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_after_a_kill_the_next_attempt_knows_which_was_the_first(durable: Address, tmp_path: Path) -> None:
    """However often; what only the killed ones have asked for is not done."""
    async with Scheduler(durable, workers=1) as scheduler:
        await scheduler.submit(program.work, "a", delay=0.5)
    for attempt in (1, 2):
        async with worker(durable):
            await until(lambda attempt=attempt: len(noted("begin")) == attempt)  # type: ignore[misc]
    (tmp_path / OPEN).touch()
    async with Scheduler(durable, lease=LEASE) as scheduler:
        await until(lambda: bool(noted("after")))
        store = scheduler._store.identity
    assert noted("begin") == [f"a {attempt} 1 {store}" for attempt in (1, 2, 3)]
    assert noted("end") == ["a 3 False"]
    assert noted("after") == ["a 3"]


async def test_who_has_lost_its_lease_leaves_the_work_to_its_heir(new_address: NewAddress, tmp_path: Path) -> None:
    """A process that was stopped for too long goes on: its attempt ends without taking anything away."""
    database = new_address("postgres")
    assert database is not None
    async with Scheduler(database, workers=1, lease=LEASE) as scheduler:
        ours = await scheduler.submit(program.work, "ours")
        await until(lambda: len(noted("begin")) == 1)  # now it has no worker left
        async with worker(database) as process:
            theirs = await scheduler.submit(program.work, "theirs")
            await until(lambda: len(noted("begin")) == 2)
            process.send_signal(signal.SIGSTOP)
            await ours.cancel()
            await until(lambda: len(noted("begin")) == 3)
            process.send_signal(signal.SIGCONT)
            await until(lambda: "theirs 1 True" in noted("end"))
            await until(lambda: bool(noted("after")))
            (tmp_path / OPEN).touch()
            assert (await theirs.wait()).attempts == 2
    store = scheduler._store.identity
    assert noted("begin") == [f"{what} {store}" for what in ("ours 1 1", "theirs 1 1", "theirs 2 1")]
    assert noted("end") == ["ours 1 False", "theirs 1 True", "theirs 2 False"]
    assert noted("after") == ["ours 1", "theirs 2"]
