"""A worker process of one queue: counts its jobs in a tally, and what is alive in it after so many.

    python -m benchmarks._postgres_worker NAME ADDRESS TALLY INDEX [--failing] [--look-at COUNT ...]

The failing mix: every fifth job raises while its frame holds 20 kB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import signal
import warnings
from collections import Counter
from pathlib import Path

from benchmarks._postgres_queues import QUEUES
from benchmarks._tally import Tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("address")
    parser.add_argument("tally", type=Path)
    parser.add_argument("index", type=int)
    parser.add_argument("--failing", action="store_true")
    parser.add_argument("--look-at", type=int, nargs="*", default=[])
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(work(options))


async def work(options: argparse.Namespace) -> None:
    """Work until SIGTERM comes."""
    tally = Tally(options.tally, options.index)
    loop = asyncio.get_running_loop()
    looks = set(options.look_at)

    async def body(number: int) -> None:
        tally.ran()
        if tally.own in looks:
            loop.call_later(0.2, look, options.tally.with_name(f"{options.tally.name}.{options.index}.{tally.own}"))
        if options.failing and number % 5 == 0:
            await fail(number)

    working = asyncio.ensure_future(QUEUES[options.name].work(options.address, body))
    loop.add_signal_handler(signal.SIGTERM, working.cancel)
    await working


async def fail(number: int) -> None:
    """Raise, with 20 kB in the frame."""
    ballast = bytearray(20_000)
    raise ValueError(f"job {number} fails with {len(ballast)} bytes in its frame")


def look(path: Path) -> None:
    """Write how many objects of which type are alive."""
    gc.collect()
    alive = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    path.with_suffix(".part").write_text(json.dumps(alive))
    path.with_suffix(".part").rename(path)


if __name__ == "__main__":
    main()
