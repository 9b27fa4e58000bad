"""Handlers that fork: one outcome, by the parent; the child ends where the handler's code does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer

from ..tools import wait_until
from .handlers import Make

pytestmark = [pytest.mark.asyncio, pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]


async def code_of(child: int) -> int:
    """Return the exit code of a child, which must not outlive its handler."""
    for _ in range(1_000):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        await asyncio.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child lives on")


@handler("fork.returns in both")
def returns_in_both(directory: str) -> int:
    """Come back in two processes."""
    child = os.fork()
    (Path(directory) / str(os.getpid())).touch()
    return child


@handler("fork.raises in the child")
def raises_in_the_child(directory: str) -> int:
    """Fail in one of two processes."""
    if child := os.fork():
        return child
    raise ValueError("the child's")


@handler("fork.exits in the child")
def exits_in_the_child(directory: str) -> int:
    """Leave one of two processes by the door."""
    if child := os.fork():
        return child
    sys.exit(3)


@handler("fork.async, returns in both")
async def async_returns_in_both(directory: str) -> int:
    """Come back in two processes that have one loop between them."""
    return os.fork()


@handler("fork.async, awaits in the child")
async def async_awaits_in_the_child(directory: str) -> int:
    """Wait in both: the loop and all that is in it are the parent's."""
    child = os.fork()
    await asyncio.sleep(0.05)
    (Path(directory) / str(os.getpid())).touch()
    return child


FORKS = {returns_in_both: 0, raises_in_the_child: 70, exits_in_the_child: 3, async_returns_in_both: 0,
         async_awaits_in_the_child: 70}  # fmt: skip


@pytest.mark.parametrize("forks", FORKS, ids=lambda forks: str(forks.__name__))
async def test_the_parent_records_one_outcome_and_the_child_ends(
    make: Make, forks: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing else of the service runs in the child: no other job, no recording, no clean-up."""
    ticks = tmp_path / "ticks"

    async def tick() -> None:
        for _ in range(20):
            with ticks.open("a", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    async with make(workers=2) as scheduler:
        job = await scheduler.submit(forks, str(tmp_path))
        outcome = await job.wait()
        assert outcome.succeeded, outcome
        assert await code_of(outcome.result) == FORKS[forks]
        await ticking
        assert scheduler.statistics().ended["succeeded"] == 1
    assert set(ticks.read_text(encoding="ascii").split()) == {str(os.getpid())}
    written = {path.name for path in tmp_path.iterdir()} - {"ticks"}
    if forks is returns_in_both:
        assert written >= {str(os.getpid()), str(outcome.result)}
    elif forks is async_awaits_in_the_child:
        assert str(outcome.result) not in written
    assert ("the child's" in capfd.readouterr().err) == (forks is raises_in_the_child)


@handler("fork.stays")
def stays() -> int:
    """Leave a child that outlives the service."""
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    return child


def open_in(process: int) -> set[str]:
    """Return what a process has open, which may just be closing some of it."""
    found = set()
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(file))
    return found


async def test_a_child_that_stays_keeps_no_port() -> None:
    """The service can be started again at once, on the same port: what listens there is not open in the child."""
    async with Scheduler() as scheduler, ControlServer(scheduler, port=0) as control:
        listening = {f"socket:[{os.fstat(sock.fileno()).st_ino}]" for sock in control.server.sockets}
        outcome = await (await scheduler.submit(stays)).wait()
    try:
        assert listening
        wait_until(lambda: not listening & open_in(outcome.result), 20.0)  # once it runs
    finally:
        os.kill(outcome.result, 9)
        os.waitpid(outcome.result, 0)
