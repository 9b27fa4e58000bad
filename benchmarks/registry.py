"""What a registry costs beside the caches that people use: hits, sets, eviction, sweeps, single flight, mass expiry.

    python -m benchmarks.registry [--rounds N] [--loop asyncio|uvloop|both]
    python -m benchmarks.registry_soak [--cycles N]

cachetools is the baseline of the synchronous rows and async-lru of the awaited one. cachebox is written in Rust, and
nothing in Python reaches its hits.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import aiocache
import async_lru
import cachebox
import cachetools
import theine

from benchmarks._measure import AsyncCase, Row, main, print_rows
from lifecycle import Registry

HOT = range(2_000)
TTL = 600.0
LARGE = 10**6

Fill = Callable[[Any], Any]


def put_item(cache: Any) -> Callable[[int], None]:
    def put(key: int) -> None:
        cache[key] = key

    return put


def caches(size: int) -> dict[str, tuple[Any, Callable[[int], None]]]:
    """Return each cache by name, with the function that sets an item in it."""
    by_item = cachetools.TTLCache(size, TTL), cachebox.TTLCache(size, TTL), theine.Cache(size)
    registry = Registry[int, int](ttl=TTL, max_size=size)
    return {
        "cachetools.TTLCache": (by_item[0], put_item(by_item[0])),
        "lifecycle.Registry": (registry, lambda key: registry.put(key, key)),
        "cachebox.TTLCache (Rust)": (by_item[1], put_item(by_item[1])),
        "theine": (by_item[2], lambda key: by_item[2].set(key, key, timedelta(seconds=TTL))),
    }


async def close(made: dict[str, tuple[Any, Any]]) -> None:
    await made["lifecycle.Registry"][0].aclose()
    made["theine"][0].close()


async def compare(cases: dict[str, AsyncCase], *, count: int, rounds: int) -> list[Row]:
    """Time every case in turn in processor time of this thread: what the neighbours on the machine do is not in it."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, case in cases.items():
            gc.collect()
            begin = time.thread_time()
            await case(count)
            times.setdefault(name, []).append((time.thread_time() - begin) / count * 1e9)
    return as_rows({name: taken[1:] for name, taken in times.items()})


async def hits(rounds: int) -> list[Row]:
    made = caches(LARGE)
    tools, registry, box, other = (cache for cache, _ in made.values())
    plain = dict.fromkeys(HOT, 1)
    for _, put in made.values():
        for key in HOT:
            put(key)

    async def by_item(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                tools[key]

    async def ours(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                registry.get(key)

    async def rust(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                box.get(key)

    async def by_get(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                tools.get(key)

    async def theine_get(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                other.get(key)

    def look_up(key: int) -> int:
        return plain[key]

    async def floor(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                look_up(key)

    cases = {
        "cachetools.TTLCache[key]": by_item,
        "lifecycle.Registry.get": ours,
        "cachetools.TTLCache.get": by_get,
        "cachebox.TTLCache.get (Rust)": rust,
        "theine.Cache.get": theine_get,
        "a dict in a function": floor,
    }
    rows = await compare(cases, count=20_000, rounds=rounds)
    await close(made)
    return rows


async def timed(rounds: int, prepare: Callable[[], dict[str, tuple[Any, Any]]], work: str) -> list[Row]:
    """Time putting many items into caches that *prepare* makes anew for each round."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        made = prepare()
        for name, (_, put) in made.items():
            keys = list(range(LARGE, LARGE + len(HOT) * 5)) if work == "evict" else list(HOT)
            gc.collect()
            begin = time.thread_time()
            for key in keys:
                put(key)
            times.setdefault(name, []).append((time.thread_time() - begin) / len(keys) * 1e9)
        await close(made)
    return as_rows(times)


def as_rows(times: dict[str, list[float]]) -> list[Row]:
    base = next(iter(times.values()))
    return [
        Row(name, statistics.median(taken), statistics.median(a / b for a, b in zip(taken, base, strict=True)))
        for name, taken in times.items()
    ]


def full() -> dict[str, tuple[Any, Any]]:
    made = caches(len(HOT))
    for _, put in made.values():
        for key in range(2 * len(HOT)):
            put(key)
    return made


async def sweeps(rounds: int, count: int = 100_000) -> list[Row]:
    """Time the removal of many entries that are all due."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        now = [0.0]
        tools = cachetools.TTLCache(LARGE, TTL, timer=lambda now=now: now[0])
        registry = Registry[int, int](ttl=TTL, max_size=LARGE, clock=lambda now=now: now[0])
        per_entry = cachetools.TLRUCache(LARGE, lambda key, value, now: now + TTL, timer=lambda now=now: now[0])
        for key in range(count):
            tools[key] = per_entry[key] = key
            registry.put(key, key)
        now[0] = 2 * TTL
        for name, sweep in (
            ("cachetools.TTLCache.expire", tools.expire),
            ("lifecycle.Registry.sweep", registry.sweep),
            ("cachetools.TLRUCache.expire", per_entry.expire),
        ):
            gc.collect()
            begin = time.thread_time()
            sweep()
            times.setdefault(name, []).append((time.thread_time() - begin) / count * 1e9)
        await registry.aclose()
    return as_rows(times)


async def awaited(rounds: int) -> list[Row]:
    @async_lru.alru_cache(maxsize=None, ttl=TTL)
    async def with_async_lru(key: int) -> int:
        return key

    @aiocache.cached(ttl=int(TTL), key_builder=lambda function, key: str(key))
    async def with_aiocache(key: int) -> int:
        return key

    @cachebox.cached(cachebox.TTLCache(LARGE, TTL))
    async def with_cachebox(key: int) -> int:
        return key

    registry = Registry[int, int](ttl=TTL, max_size=LARGE)

    def never() -> int:
        raise AssertionError

    for key in HOT:
        registry.put(key, key)

    def repeat(function: Any) -> Any:
        async def case(count: int) -> None:
            for _ in range(max(1, count // len(HOT))):
                for key in HOT:
                    await function(key)

        return case

    async def ours(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                await registry.get_or_create(key, never)

    async def leased(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                async with registry.lease(key):
                    pass

    async def tried(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                with registry.try_lease(key):
                    pass

    rows = await compare(
        {
            "async-lru, ttl": repeat(with_async_lru),
            "lifecycle.Registry.get_or_create": ours,
            "lifecycle.Registry.lease": leased,
            "lifecycle.Registry.try_lease": tried,
            "cachebox.cached (Rust)": repeat(with_cachebox),
            "aiocache.cached": repeat(with_aiocache),
        },
        count=10_000,
        rounds=rounds,
    )
    await registry.aclose()
    await with_async_lru.cache_close()
    return rows


async def turns_of(work: Callable[[], bool]) -> tuple[list[float], list[float]]:
    """Return the lengths of the loop's turns in milliseconds, by the wall and by the processor, while there is work."""
    wall, processor = [time.perf_counter()], [time.thread_time()]
    while work():
        await asyncio.sleep(0)
        wall.append(time.perf_counter())
        processor.append(time.thread_time())
    return (
        sorted((after - before) * 1e3 for before, after in pairwise(wall)),
        sorted((after - before) * 1e3 for before, after in pairwise(processor)),
    )


async def mass_expiry(*, frozen: bool, finalizer: Any = None, count: int = LARGE) -> None:
    """Expire a million entries at once in a running loop, and look at the turns of the loop."""
    now = [0.0]
    registry = Registry[int, int](ttl=TTL, clock=lambda: now[0], finalizer=finalizer)
    for key in range(count):
        registry.put(key, key)
    gc.collect()
    if frozen:
        gc.freeze()
    now[0] = 2 * TTL
    begin = time.thread_time()
    registry._sweeper._work_for_a_moment()  # what the timer would call by now
    wall, processor = await turns_of(lambda: registry._departures.closed < count)
    seconds = time.thread_time() - begin
    gc.unfreeze()
    await registry.aclose()
    name = f"gc {'frozen' if frozen else 'on'}, {'no finalizer' if finalizer is None else 'an async finalizer each'}"
    print(
        f"  {name:36} longest turn {processor[-1]:6.2f} ms of processor, {wall[-1]:6.2f} by the wall; "
        f"99% {processor[int(len(processor) * 0.99)]:5.2f}, median {processor[len(processor) // 2]:5.2f}; "
        f"{len(wall)} turns, {seconds / count * 1e9:4.0f} ns per entry"
    )


async def nothing(value: int) -> None:
    """End nothing."""


def peers_at_mass_expiry(count: int = LARGE) -> None:
    now = [0.0]
    tools = cachetools.TTLCache(count, TTL, timer=lambda: now[0])
    for key in range(count):
        tools[key] = key
    now[0] = 2 * TTL
    begin = time.thread_time()
    tools[0] = 0
    print(f"  {'cachetools.TTLCache, the next set':36} longest turn {(time.thread_time() - begin) * 1e3:7.2f} ms")


def memory(count: int = 300_000) -> None:
    print("\nmemory per entry, integers as keys, one shared value")
    for name in caches(1):
        tracemalloc.start()
        registry, put = caches(LARGE)[name]
        before = tracemalloc.get_traced_memory()[0]
        for key in range(count):
            put(key)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        print(f"  {name:44} {(after - before) / count:10.0f} B")
        if name == "lifecycle.Registry":
            registry._sweeper.stop()


async def benchmark(options: argparse.Namespace) -> None:
    rounds = options.rounds
    print_rows("hit, exact LRU, time to live, statistics", await hits(rounds), {"lifecycle.Registry.get": 0.65})
    rows = await timed(rounds, lambda: caches(LARGE), "set")
    print_rows("set, new keys", rows, {"lifecycle.Registry": 0.6})
    rows = await timed(rounds, full, "evict")
    print_rows("set that evicts", rows, {"lifecycle.Registry": 0.4})
    rows = await sweeps(max(3, rounds // 2))
    print_rows("sweep, per entry that is due", rows, {"lifecycle.Registry.sweep": 0.6})
    rows = await awaited(rounds)
    print_rows("get or create, hit", rows, {"lifecycle.Registry.get_or_create": 0.4})
    print("\n1,000,000 entries expire at once in a running loop (goal: typically < 1 ms, never > 5 ms with gc frozen)")
    for finalizer in (None, nothing):
        for frozen in (True, False):
            await mass_expiry(frozen=frozen, finalizer=finalizer)
    peers_at_mass_expiry()
    memory()


if __name__ == "__main__":
    main(__doc__, benchmark)
