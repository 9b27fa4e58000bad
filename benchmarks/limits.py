"""What a limiter costs beside the semaphores and limiters that people use.

    python -m benchmarks.limits [--rounds N] [--loop asyncio|uvloop|both]

Alone: one task enters and leaves, over and over. Contended: 1,000 tasks, ten at once, each of which suspends once. By
key: the same with 100 keys, two of each at once, beside a dict of semaphores, which keeps every key for ever. In a
time: a rate so high that nobody waits for it.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from benchmarks._measure import AsyncCase, compare, main, print_rows
from benchmarks._peers import peer
from benchmarks._sizes import sized
from lifecycle import Limiter, Rate, limit_by

aiolimiter = peer("aiolimiter")

TASKS = sized(1_000, 20)
AT_ONCE = 10
PER_SECOND = 10_000_000

Enter = Callable[[int], AbstractAsyncContextManager[Any]]


def alone(make: Callable[[], Enter]) -> AsyncCase:
    async def run(count: int) -> None:
        enter = make()
        for number in range(count):
            async with enter(number % 100):
                pass

    return run


def contended(make: Callable[[], Enter]) -> AsyncCase:
    async def run(count: int) -> None:
        enter = make()

        async def comes(number: int) -> None:
            for _ in range(max(1, count // TASKS)):
                async with enter(number % 100):
                    await asyncio.sleep(0)

        await asyncio.gather(*map(comes, range(TASKS)))

    return run


def by_limit() -> dict[str, Callable[[], Enter]]:
    def semaphore() -> Enter:
        entered = asyncio.Semaphore(AT_ONCE)
        return lambda _: entered

    def capacity() -> Enter:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        return lambda _: limiter

    def ours() -> Enter:
        limiter = Limiter(AT_ONCE)
        return lambda _: limiter.hold()

    return {"asyncio.Semaphore": semaphore, "anyio.CapacityLimiter": capacity, "lifecycle.Limiter": ours}


def by_key() -> dict[str, Callable[[], Enter]]:
    def semaphores() -> Enter:
        entered: dict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(2))
        return lambda key: entered[key]

    def ours() -> Enter:
        limiter = Limiter(limit_by=limit_by(lambda key: key, limit=2))
        return lambda key: limiter.hold(key)

    return {"dict of asyncio.Semaphore": semaphores, "lifecycle.Limiter, by key": ours}


def by_rate() -> dict[str, Callable[[], Enter]]:
    def theirs() -> Enter:
        limiter = aiolimiter.AsyncLimiter(PER_SECOND, 1.0)
        return lambda _: limiter  # type: ignore[no-any-return]

    def ours() -> Enter:
        limiter = Limiter(rate=Rate(PER_SECOND, burst=PER_SECOND))
        return lambda _: limiter.hold()

    return {"lifecycle.Limiter, rate": ours, "aiolimiter.AsyncLimiter": theirs}


async def benchmark(options: argparse.Namespace) -> None:
    for title, make in (("limit", by_limit), ("by key", by_key), ("in a time", by_rate)):
        cases = {name: alone(each) for name, each in make().items()}
        print_rows(f"{title}, alone", await compare(cases, count=5_000, rounds=options.rounds))
        if make is not by_rate:
            cases = {name: contended(each) for name, each in make().items()}
            print_rows(f"{title}, {TASKS:,} tasks", await compare(cases, count=10_000, rounds=options.rounds))


if __name__ == "__main__":
    main(__doc__, benchmark)
