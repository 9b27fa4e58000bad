"""What the tests of work that outlives its attempt run: here and, as a program, in a process to be stopped or killed.

As a program it takes the address of a store and the file to note in, and works until it is ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from lifecycle.scheduler import Context, Scheduler, handler
from lifecycle.scheduler._work.beyond import Beyond

LEDGER = "LEDGER"
"""The variable that says where to note what happens."""

OPEN = "open"
"""The file beside it: once that is there, jobs come to their end."""


def ledger() -> Path:
    """Return the file that is noted in."""
    return Path(os.environ[LEDGER])


def note(line: str) -> None:
    """Note a line, whoever else does."""
    with ledger().open("a") as file:
        file.write(f"{os.getpid()} {line}\n")


def beyond_of(context: Context) -> Beyond:
    """Return what of the attempt reaches beyond it."""
    beyond = context._job.beyond
    assert beyond is not None
    return beyond


def noting(line: str) -> Callable[[], Awaitable[None]]:
    """Return what notes a line afterwards."""

    async def after() -> None:
        note(line)

    return after


@handler("beyond.work")
async def work(name: str, context: Context) -> str:
    """Note what the attempt is, have something done afterwards, and take until the file is there."""
    beyond = beyond_of(context)
    note(f"begin {name} {beyond.attempt} {beyond.first} {beyond.store}")
    beyond.afterwards(noting(f"after {name} {beyond.attempt}"))
    context.scope.callback(partial(_note_end, name, beyond))
    while not (ledger().parent / OPEN).exists():
        await anyio.sleep(0.005)
    return name


def _note_end(name: str, beyond: Beyond) -> None:
    note(f"end {name} {beyond.attempt} {beyond.resumes()}")


def noted(word: str) -> list[str]:
    """Return what was noted under a word, without who it was."""
    lines = ledger().read_text().splitlines() if ledger().exists() else []
    found = [line.split(" ", 2)[1:] for line in lines]
    return [rest for what, rest in found if what == word]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that happens elsewhere."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.005)


async def serve(address: str, lease: float) -> None:
    """Work until the process is ended."""
    async with Scheduler(address, lease=lease, max_crashes=None):
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, sys.argv[1], float(sys.argv[2]))
