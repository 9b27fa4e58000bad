"""A worker of the fleet: takes jobs from the database until SIGTERM comes, and notes in the ledger what it does.

    python -m tests.scheduler.storms.fleet.worker ADDRESS LEDGER TAG [--workers N] [--lease SECONDS]

Lines of the ledger are a word, the job's name, the attempt, who runs it, and when, by the clock of the machine:

========= ===================================================================
start     an attempt begins
end       it has come to its end, and returns its name, attempt and worker
cancelled it was cancelled while it ran
left      something else has ended it
up, down  the worker is ready; it ends as it should. The name is a dash.
========= ===================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from typing import Any

from lifecycle.scheduler import Context, Scheduler, handler

from .stores import store_for

_ledger = -1
_tag = ""


def note(word: str, name: str = "-", attempt: int = 0) -> None:
    """Write a line into the ledger, in one piece, after those of all processes so far."""
    os.write(_ledger, f"{word} {name} {attempt} {_tag} {time.monotonic():.6f}\n".encode())


@handler("fleet.work")
async def work(name: str, seconds: float, context: Context) -> list[Any]:
    """Take so long."""
    note("start", name, context.attempt)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note("cancelled", name, context.attempt)
        raise
    except BaseException:
        note("left", name, context.attempt)
        raise
    note("end", name, context.attempt)
    return [name, context.attempt, _tag]


async def main() -> None:
    """Work until SIGTERM comes, then drain."""
    global _ledger, _tag
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("ledger")
    parser.add_argument("tag")
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--lease", type=float, default=None)
    options = parser.parse_args()
    _ledger, _tag = os.open(options.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND), options.tag
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    store = store_for(options.address, options.tag, options.lease)
    async with Scheduler(store, name=options.tag, workers=options.workers, drain_timeout=30.0, stall_threshold=None):
        note("up")
        await over.wait()
    note("down")


if __name__ == "__main__":
    asyncio.run(main())
