"""Handlers that fork, on every kind of loop: the child comes to nothing that is its parent's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.scheduler import Context, Scheduler, handler

from ...loops import on_every_loop, run_on

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

Loop = Callable[[], asyncio.AbstractEventLoop]


def code_of(child: int) -> int:
    """Wait for a child and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def who_wrote(path: Path) -> set[int]:
    """Return the processes that left their numbers in a file."""
    return {int(line) for line in path.read_text(encoding="ascii").split()}


def sign(path: str) -> None:
    """Leave the number of this process in a file."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")


@handler("fork.ticks")
async def ticks(path: str) -> None:
    """Have a step to make in every turn of the loop."""
    for _ in range(30):
        sign(path)
        await asyncio.sleep(0)


@handler("fork.among others")
async def forks_among_others() -> int:
    """Wait in both, where others wait for their turn."""
    await asyncio.sleep(0)
    child = os.fork()
    await asyncio.sleep(0)
    return child


@on_every_loop
def test_a_child_makes_no_step_of_another_job(new_loop: Loop, tmp_path: Path) -> None:
    """Also in a loop that does not show what stands in its line."""
    path = tmp_path / "ticks"

    async def main() -> None:
        async with Scheduler(workers=8) as scheduler:
            others = [await scheduler.submit(ticks, str(path)) for _ in range(5)]
            outcome = await (await scheduler.submit(forks_among_others)).wait()
            assert code_of(outcome.result) == 70
            for other in others:
                assert (await other.wait()).succeeded

    run_on(new_loop, main())
    assert who_wrote(path) == {os.getpid()}


@handler("fork.owns")
async def owns(path: str, how: str, context: Context) -> int:
    """Own something, which is its parent's to release, and come to an end in both processes."""
    context.scope.callback(sign, path)
    child = os.fork()
    if how == "raises" and not child:
        raise ValueError("the child's")
    return child


@on_every_loop
@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("raises", 70)])
def test_a_child_ends_before_the_scopes_around_the_handlers_code(
    new_loop: Loop, tmp_path: Path, how: str, code: int
) -> None:
    """What the handler owns there is released once, by its parent; the exit code is that of the handler's code."""
    path = tmp_path / "released"

    async def main() -> None:
        async with Scheduler() as scheduler:
            outcome = await (await scheduler.submit(owns, str(path), how)).wait()
            assert code_of(outcome.result) == code

    run_on(new_loop, main())
    assert who_wrote(path) == {os.getpid()}


PRINTING = """
import os
import anyio
from lifecycle.scheduler import Scheduler

def fork():
    child = os.fork()
    print("child" if not child else "parent")
    return os.waitpid(child, 0) if child else None

async def main():
    async with Scheduler() as scheduler:
        print("before")
        outcome = await (await scheduler.submit(fork)).wait()
        assert outcome.succeeded, outcome

anyio.run(main)
"""


def test_what_was_printed_before_a_fork_is_printed_once() -> None:
    """The child writes what it has printed itself, and nothing that its parent has not written yet."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRINTING],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sorted(done.stdout.split()) == ["before", "child", "parent"]
