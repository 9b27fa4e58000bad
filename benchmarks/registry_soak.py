"""Ten million put/expire cycles at constant size: resident memory, live objects and memory blocks, start to end.

    python -m benchmarks.registry_soak [--cycles N]

Values expire, go idle, are replaced, evicted, leased, discarded, and finalized by a finalizer that suspends now and
then and fails now and then.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
import time

import psutil

from benchmarks._sizes import sized
from lifecycle import Registry

SIZE = 2_000


async def end(value: int) -> None:
    if value % 1_000 == 0:
        await asyncio.sleep(0)
    if value % 100_003 == 0:
        raise OSError(value)


def key_of(number: int) -> int:
    """Return a key that comes back now and then while its value is still there."""
    return number * 7_919 % 10_007 // 2


async def soak(cycles: int) -> None:
    now = 0.0
    registry = Registry[int, int](
        "soak", ttl=100.0, idle_ttl=60.0, max_size=SIZE, finalizer=end, clock=lambda: now, failure_ttl=1.0
    )
    process = psutil.Process()
    report = max(1, cycles // 10)
    began = time.perf_counter()
    print(f"{'cycles':>12} {'RSS MB':>8} {'objects':>10} {'blocks':>10} {'live':>7} {'retired':>8}")
    for number in range(cycles + 1):
        if number % 97 == 0:
            async with registry.lease(number % SIZE, lambda number=number: number) as _:
                registry.discard(number % SIZE)
        else:
            registry.put(key_of(number), number, ttl=30.0 if number % 3 == 0 else None)
        now += 50.0 / SIZE
        registry.get(key_of(number - 2 * SIZE // 3))
        if number % 500 == 0:
            registry.sweep()
            await asyncio.sleep(0)
        if number % report == 0:
            while registry.statistics().pending_close:
                await asyncio.sleep(0)
            registry._check_invariants()
            gc.collect()
            statistics = registry.statistics()
            print(
                f"{number:>12,} {process.memory_info().rss / 1e6:>8.1f} {len(gc.get_objects()):>10,} "
                f"{sys.getallocatedblocks():>10,} "
                f"{statistics.live:>7,} {statistics.retired:>8,}",
                flush=True,
            )
    print(f"{cycles / (time.perf_counter() - began):,.0f} cycles/s; {registry.statistics()}")
    try:
        await registry.aclose()
    except OSError as error:
        print(f"closed with {error!r}, which was planned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=sized(10_000_000, 5_000), help="how many values are put")
    logging.disable(logging.ERROR)
    asyncio.run(soak(parser.parse_args().cycles))


if __name__ == "__main__":
    main()
